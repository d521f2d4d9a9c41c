"""Which version of a file: what of a store's answer tells it from all others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Identity", "local_identity", "remote_identity"]

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


@dataclass(frozen=True)
class Identity:
    """Which version of a file was planned for.

    Attributes
    ----------
    size : int or None
        Bytes; None where the store does not say.
    kind : str
        What tells versions apart: "version_id", "etag", "checksum", "mtime_ns", "modified",
        "archive" or "" (nothing but the size).
    version : str
        Its value.
    """

    size: int | None
    kind: str = ""
    version: str = ""

    def required(self, consistency: str) -> Identity:
        """What of it must still hold when the file is read.

        Parameters
        ----------
        consistency : {"strict", "size", "off"}
            All of it, the size, or nothing.
        """
        if consistency == "strict":
            return self
        return Identity(self.size if consistency == "size" else None)

    def within(self, archive: Identity | None) -> Identity:
        """The same file as a member of one version of an archive."""
        if archive is None or not (self.kind or archive.kind):
            return self
        return Identity(self.size, "archive", f"{self.kind} {self.version} in {archive}".strip())

    def __str__(self) -> str:
        size = "unknown size" if self.size is None else f"{self.size} bytes"
        return f"{size}, {self.kind} {self.version}" if self.kind else size


def local_identity(stat: os.stat_result) -> Identity:
    """Size and modification time of an open or named local file."""
    return Identity(stat.st_size, "mtime_ns", str(stat.st_mtime_ns))


def remote_identity(info: Mapping[str, Any]) -> Identity:
    """Find in fsspec's info what tells versions apart.

    What else an info may hold (addresses, times of access) changes while the file does not.
    """
    size = None if info.get("size") is None else int(info["size"])
    for kind, keys in _KINDS.items():
        for key in keys:
            # S3 without versioning says "null".
            if info.get(key) and info[key] != "null":
                return Identity(size, kind, str(info[key]))
    return Identity(size)
