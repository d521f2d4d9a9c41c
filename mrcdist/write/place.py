"""Checks that a new file can have its name, and whether it exists already."""

from __future__ import annotations

import os
from pathlib import Path

from mrcdist.errors import ArgumentError
from mrcdist.storage.location import Location
from mrcdist.write.errors import exists
from mrcdist.write.s3 import is_s3
from mrcdist.write.s3_upload import S3Upload


def is_there(location: Location) -> bool:
    """Whether there is such a file; of S3, by one request, as names of folders do not count."""
    if location.is_local:
        return os.path.lexists(location.url)
    return S3Upload(location).exists() if is_s3(location) else location.exists()


def check_place(location: Location, *, overwrite: bool) -> None:
    """Raise an `ArgumentError` if a new file cannot have this name, whoever may write there."""
    path = Path(location.url)
    if location.is_local:
        check_folder(path)
    if location.is_local and path.exists() and not path.is_file():
        folder = path.is_dir()
        raise ArgumentError(
            f"{path} is {'a folder' if folder else 'no regular file'}",
            code="destination-invalid",
            argument="url",
            cause=f"{'a folder' if folder else 'a device or a pipe'} is not replaced by a file",
            remedy="choose another name",
        )
    if not overwrite and is_there(location):
        raise exists(location.shown)


def check_folder(path: Path) -> None:
    """Raise an `ArgumentError` if a path is in no folder."""
    if not path.parent.is_dir():
        raise ArgumentError(
            f"{path}: no such folder",
            code="destination-invalid",
            argument="url",
            cause=f"{path.parent} does not exist or is not a folder",
            remedy="create it first; on a cluster, every worker needs it at the same path",
        )
