"""Whole-file caches (``simplecache::``, ``filecache::``): a copy of one version, or none.

fsspec keeps its first copy for ever, whatever becomes of the file, and another thread can read it
before it is whole. Here a copy is named after the version, and gets its name when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.callbacks import Callback
from fsspec.implementations.cached import SimpleCacheFileSystem, WholeFileCacheFileSystem

from mrcdist.errors import ArgumentError
from mrcdist.progress import Progress

__all__ = ["is_whole_file_cache", "whole_copy"]

# fsspec gives each thread a filesystem of its own, with a temporary folder of its own; a process
# needs one copy, and its threads wait for it.
_fetching = threading.Lock()
_copies: dict[str, Path] = {}


def _renew_lock() -> None:
    """Release the lock in a forked process: the thread that held it is not there."""
    global _fetching
    _fetching = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def is_whole_file_cache(fs: Any) -> bool:
    """Whether a filesystem keeps whole local copies of another one's files."""
    return isinstance(fs, SimpleCacheFileSystem | WholeFileCacheFileSystem)


def whole_copy(fs: Any, path: str, name: str, version: str, verify: Callable[[], None]) -> Path:
    """Return the local copy of one version of a file, fetched where there is none yet.

    Parameters
    ----------
    fs : filesystem
        One that `is_whole_file_cache`.
    path, name : str
        The file's path on it, and its name as it may be shown.
    version : str
        What tells the file and its version from all others.
    verify : callable
        Called after fetching; raises if the store's file is another version by now.

    Raises
    ------
    ArgumentError
        The cache is to decompress: byte ranges are those of the file itself.
    """
    if fs.compression:
        raise ArgumentError(
            f"storage option compression={fs.compression!r} of a cache",
            code="storage-options-invalid",
            argument="storage_options",
            cause="the planned byte ranges are those of the file as it is stored",
            remedy="leave it out: gzip and bzip2 are read as they are",
        )
    key = hashlib.sha256(version.encode(errors="surrogatepass")).hexdigest()
    folder = Path(fs.storage[-1])
    with _fetching:
        copy = _copies.get(key, folder / key)
        if not copy.exists():
            copy = folder / key
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = folder / f"{key}.{uuid.uuid4().hex}"
            try:
                with _Telling(f"copying {name}") as telling:
                    fs.fs.get_file(path, str(unfinished), callback=telling)
                verify()
                unfinished.rename(copy)
            finally:
                unfinished.unlink(missing_ok=True)
        _copies[key] = copy
    return copy


class _Telling(Callback):  # type: ignore[misc]
    """Says how far a copy is, where it takes long."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label
        self._progress: Progress | None = None

    def set_size(self, size: int | None) -> None:
        """Called by the filesystem when it knows the length of the file."""
        super().set_size(size)
        self._progress = Progress(self._label, size, in_bytes=True) if size else None

    def relative_update(self, inc: int = 1) -> None:
        """Called by the filesystem when so many bytes more are there."""
        super().relative_update(inc)
        if self._progress is not None:
            self._progress.advance(inc)

    def close(self) -> None:
        """Called at the end."""
        if self._progress is not None:
            self._progress.close()
