"""Version of a file: the metadata of a store that identify its content."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

# Keys of fsspec's info differ between stores. A version ID takes precedence over a hash of the
# content, and that over a date.
_KINDS = {
    "version_id": ("VersionId", "version_id"),
    "etag": ("ETag", "etag", "e_tag"),
    "checksum": ("sha", "CRC", "content_hash", "md5Checksum", "checksum"),
    "modified": (
        *("LastModified", "last_modified", "Last-Modified", "updated", "mtime"),  # most stores
        *("modify", "modificationTime", "modification_time"),  # FTP, WebHDFS, DBFS
        *("modifiedTime", "last_write_time", "server_modified"),  # Google Drive, SMB, Dropbox
        "created",
    ),
}

# A date with a fraction of a second.
_SUBSECOND = re.compile(r"\.\d*[1-9]")
# nginx's ETag is the date in whole seconds and the size, both hexadecimal.
_DATE_AND_SIZE = re.compile(r'(?:W/)?"?([0-9a-f]{1,8})-([0-9a-f]+)"?')


@dataclass(frozen=True)
class Version:
    """Version of a file; `size` is None if the store does not report it.

    `kind` says what identifies the version: "version_id", "etag", "checksum", "mtime_ns",
    "modified", "archive", "dated archive", "copy" (the content of a local copy) or "" (only the
    size).
    """

    size: int | None
    kind: str = ""
    value: str = ""

    @property
    def exact(self) -> bool:
        """Whether any other file written in its place would have a different version.

        False if the store reports only a size, a date in whole seconds (possibly in the form of an
        ETag), or a weak ETag.
        """
        if self.kind == "modified":
            return _SUBSECOND.search(self.value) is not None
        if self.kind == "etag":
            return not (self._dated or self.value.startswith("W/"))
        return self.kind not in ("", "dated archive")

    @property
    def _dated(self) -> re.Match[str] | None:
        """Match of an ETag that consists of date and size."""
        match = _DATE_AND_SIZE.fullmatch(self.value)
        return match if match and int(match[2], 16) == self.size else None

    @property
    def http_condition(self) -> dict[str, str]:
        """Headers that pin an HTTP request to this version; none for weak ETags and dates."""
        strong = self.kind == "etag" and not self.value.startswith("W/")
        return {"If-Match": self.value} if strong else {}

    @property
    def s3_condition(self) -> dict[str, str]:
        """Arguments that pin a request of botocore to this version."""
        argument = {"version_id": "VersionId", "etag": "IfMatch"}.get(self.kind)
        return {argument: self.value} if argument else {}

    def is_settled(self, date: str | None, age: str | None = None) -> bool:
        """Whether any later change of the file will result in a different version.

        A date in whole seconds distinguishes changes once its second is over (RFC 9110, 8.8.2.2).
        `date` is the time of the response, as in HTTP, and `age` the seconds that an intermediate
        cache has kept it.
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
        return not now <= changed <= now + 1  # a later date means that the clock is wrong

    def required(self, consistency: str) -> Version:
        """Return the part that must match when reading: all ("strict"), "size", or none."""
        if consistency == "strict":
            return self
        return Version(self.size if consistency == "size" else None)

    def reported_by(self, response: Mapping[str, Any]) -> Version | None:
        """Return the version according to the entries of a response; None if they lack its kind."""
        found = _first_value(response, _KINDS.get(self.kind, ()))
        return replace(self, value=found) if found else None

    def within(self, archive: Version | None) -> Version:
        """Return the version of a file that is a member of one version of an archive."""
        if archive is None or not (self.kind or archive.kind):
            return self
        kind = "archive" if self.exact or archive.exact else "dated archive"
        return Version(self.size, kind, f"{self.kind} {self.value} in {archive}".strip())

    def __str__(self) -> str:
        size = "unknown size" if self.size is None else f"{self.size} bytes"
        return f"{size}, {self.kind} {self.value}" if self.kind else size


UNKNOWN = Version(None)


def local_version(stat: os.stat_result) -> Version:
    """Return the version of a local file: its size and times.

    Tools that copy and restore files reset the modification time (mtime); the time of the last
    change of content or attributes (ctime) cannot be set. The inode is ignored, because some
    network filesystems number files differently on each host.
    """
    return Version(stat.st_size, "mtime_ns", f"{stat.st_mtime_ns}, ctime_ns {stat.st_ctime_ns}")


def remote_version(info: Mapping[str, Any]) -> Version:
    """Return the version in the info that fsspec reports.

    Other entries of the info (addresses, access times) may change while the file does not.
    """
    size = None if info.get("size") is None else int(info["size"])
    for kind, keys in _KINDS.items():
        if value := _first_value(info, keys):
            return Version(size, kind, value)
    return Version(size)


def _first_value(entries: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Return the first of some entries as text; "" if there is none."""
    values = (entries[key] for key in keys if key in entries)
    # S3 without versioning says "null".
    return next((str(value) for value in values if value and value != "null"), "")
