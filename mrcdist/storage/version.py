"""Version of a file: the part of a store's answer that identifies it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

# fsspec's names differ between stores. A store's own version comes first, then what is made of the
# content, then a date.
_KINDS = {
    "version_id": ("VersionId", "version_id"),
    "etag": ("ETag", "etag", "e_tag"),
    "checksum": ("sha", "CRC", "content_hash", "md5Checksum", "checksum"),
    "modified": (
        *("LastModified", "last_modified", "Last-Modified", "updated", "mtime"),  # as most have it
        *("modify", "modificationTime", "modification_time"),  # FTP, WebHDFS, DBFS
        *("modifiedTime", "last_write_time", "server_modified"),  # Google Drive, SMB, Dropbox
        "created",
    ),
}

# A date with a fraction of a second.
_FINE = re.compile(r"\.\d*[1-9]")
# nginx's ETag is the date in whole seconds and the size, both hexadecimal.
_DATE_AND_SIZE = re.compile(r'(?:W/)?"?([0-9a-f]{1,8})-([0-9a-f]+)"?')


@dataclass(frozen=True)
class Version:
    """Version of a file that a plan was made for; `size` is None where the store does not say.

    `kind` is what tells versions apart: "version_id", "etag", "checksum", "mtime_ns", "modified",
    "archive", "dated archive", "copy" (of a whole copy, its bytes) or "" (nothing but the size).
    """

    size: int | None
    kind: str = ""
    value: str = ""

    @property
    def exact(self) -> bool:
        """Whether another file, written in its place, is sure to have another version.

        Not where the store tells nothing but the size, or a date in whole seconds, be it in the
        form of an ETag; nor where the ETag is called weak.
        """
        if self.kind == "modified":
            return _FINE.search(self.value) is not None
        if self.kind == "etag":
            return not (self._dated or self.value.startswith("W/"))
        return self.kind not in ("", "dated archive")

    @property
    def _dated(self) -> re.Match[str] | None:
        """The date and the size that an ETag consists of."""
        found = _DATE_AND_SIZE.fullmatch(self.value)
        return found if found and int(found[2], 16) == self.size else None

    def is_settled(self, date: str | None, age: str | None = None) -> bool:
        """Whether any later change of the file will have another version, by a server's clock.

        A date of whole seconds tells changes apart once its second is over (RFC 9110, 8.8.2.2).
        `date` is when the server said so, as HTTP writes it, and `age` for how many seconds a cache
        on the way has kept that.
        """
        try:
            now = parsedate_to_datetime(date or "").timestamp() + int(age or 0)
            if self.kind == "etag" and (dated := self._dated):
                changed = float(int(dated[1], 16))
            elif self.kind == "modified":
                changed = parsedate_to_datetime(self.value).timestamp()
            else:
                return True
        except ValueError:
            return True
        return not now <= changed <= now + 1  # a later date is that of a clock which is wrong

    def required(self, consistency: str) -> Version:
        """The part that must still hold when the file is read: all ("strict"), "size", or none."""
        if consistency == "strict":
            return self
        return Version(self.size if consistency == "size" else None)

    def within(self, archive: Version | None) -> Version:
        """The same file as a member of one version of an archive."""
        if archive is None or not (self.kind or archive.kind):
            return self
        kind = "archive" if self.exact or archive.exact else "dated archive"
        return Version(self.size, kind, f"{self.kind} {self.value} in {archive}".strip())

    def __str__(self) -> str:
        size = "unknown size" if self.size is None else f"{self.size} bytes"
        return f"{size}, {self.kind} {self.value}" if self.kind else size


UNKNOWN = Version(None)


def local_version(stat: os.stat_result) -> Version:
    """Size and times of an open or named local file.

    Tools that copy and restore files set the time of modification back; the time of the last change
    of the file or its attributes cannot be set. The inode is left out: some network filesystems
    number files anew on each host.
    """
    return Version(stat.st_size, "mtime_ns", f"{stat.st_mtime_ns}, ctime_ns {stat.st_ctime_ns}")


def remote_version(info: Mapping[str, Any]) -> Version:
    """Find in fsspec's info what tells versions apart.

    What else an info may hold (addresses, times of access) changes while the file does not.
    """
    size = None if info.get("size") is None else int(info["size"])
    for kind, keys in _KINDS.items():
        for key in keys:
            # S3 without versioning says "null".
            if info.get(key) and info[key] != "null":
                return Version(size, kind, str(info[key]))
    return Version(size)
