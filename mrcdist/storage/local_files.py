"""Atomic creation, replacement and removal of local files and folders."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mrcdist.errors import MrcdistError, WriteError


@contextmanager
def atomic_write(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name, or replaces it, once it is complete.

    With `sync`, its contents are on the disk before it appears.
    """
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
    try:
        with unfinished.open("xb") as file:
            yield file
            if sync:
                fsync(file)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Raise `WriteError` in place of an error of the operating system."""
    try:
        yield
    except OSError as error:
        if isinstance(error, MrcdistError):
            raise
        raise WriteError(
            f"{path} could not be written",
            code="write-failed",
            cause=error.strerror or str(error),
            remedy="free disk space or fix the permissions, then run it again",
        ) from None


def rename_file(complete: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete file its final name.

    Without `overwrite`, raise FileExistsError if another file has this name.
    """
    if overwrite:
        complete.replace(path)
        return
    try:
        os.link(complete, path)  # unlike a rename, this never replaces a file
    except FileExistsError:
        if not path.samefile(complete):  # the same if an earlier attempt got this far
            raise
    except OSError:  # a filesystem without hard links
        path.open("xb").close()  # reserves the name, or raises FileExistsError
        try:
            complete.replace(path)
        except BaseException:
            path.unlink()
            raise
    complete.unlink(missing_ok=True)


def replace_path(complete: Path, path: Path, aside: Path) -> None:
    """Give a complete file or folder its final name; on failure, an existing one keeps the name.

    An existing folder is first moved `aside`, because a rename replaces only files.
    """
    if path.is_dir():
        path.rename(aside)
    try:
        complete.replace(path)
    finally:
        restore_path(aside, path)


def restore_path(aside: Path, path: Path) -> None:
    """Move back a folder that `replace_path` moved aside, unless its replacement is in place."""
    if aside.exists() and not os.path.lexists(path):
        aside.rename(path)


def remove_folder(folder: Path) -> None:
    """Remove a folder that running tasks may still be adding files to, if it exists."""
    removed = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
    with suppress(FileNotFoundError):
        folder.rename(removed)  # tasks can no longer find it
        shutil.rmtree(removed, ignore_errors=True)


def fsync(file: IO[bytes]) -> None:
    """Wait until everything that was written to a file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Wait until the names of the files in a folder are on the disk."""
    with suppress(OSError):  # not supported by all filesystems
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
