"""Atomic creation of local files: they appear as a whole, or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mrcdist.errors import MrcdistError, WriteError


@contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name, or replaces it, once all is on the disk.

    A `WriteError` is raised if the disk is full, say.
    """
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
    with written(path):
        try:
            with unfinished.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn errors of the system, in writing a file, into ours."""
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
