"""Checks before a file is written: whether it can have its name, and would replace an input."""

from __future__ import annotations

import os
from pathlib import Path

from fsspec.core import split_protocol

from mrcdist.errors import ArgumentError
from mrcdist.storage.location import Location
from mrcdist.storage.url import lies_in
from mrcdist.write.errors import exists, is_input
from mrcdist.write.s3_client import is_s3
from mrcdist.write.s3_upload import S3Upload


def file_exists(location: Location) -> bool:
    """Return whether a file exists; in S3 with a single request, ignoring common prefixes."""
    if location.is_local:
        return os.path.lexists(location.url)
    return S3Upload(location).exists() if is_s3(location) else location.exists()


def check_destination(location: Location, *, overwrite: bool) -> None:
    """Raise `ArgumentError` if a new file cannot have this name."""
    path = Path(location.url)
    if location.is_local:
        check_parent(path)
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise ArgumentError(
                f"{path} is {kind}",
                code="destination-invalid",
                argument="url",
                cause="only regular files are replaced",
                remedy="choose another name",
            )
    if not overwrite and file_exists(location):
        raise exists(location.shown)


def check_parent(path: Path) -> None:
    """Raise `ArgumentError` unless the parent of a path is a folder."""
    if not path.parent.is_dir():
        raise ArgumentError(
            f"{path}: no such folder",
            code="destination-invalid",
            argument="url",
            cause=f"{path.parent} does not exist or is not a folder",
            remedy="create it first; on a cluster, every worker needs it at the same path",
        )


def check_not_input(destination: Location, source: Location, argument: str) -> None:
    """Raise if a destination is an input, under any name, or a folder that contains it."""
    for part in source.url.split("::") if destination.is_local else ():
        protocol, name = split_protocol(part)
        if protocol in (None, "file", "local"):
            path, file = Path(destination.url), Path(name)
            if path.exists() and file.exists() and path.samefile(file):
                raise is_input(destination, argument, f"it is the same file as {source.shown}")
            if lies_in(file, path):
                raise is_input(destination, argument, f"the input {source.shown} is in this folder")
    if f"{source.url}/".startswith(f"{destination.url.rstrip('/')}/"):
        raise is_input(destination, argument, f"{source.shown} is read")
