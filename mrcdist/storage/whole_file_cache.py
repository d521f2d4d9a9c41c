"""Whole-file caches (``simplecache::``, ``filecache::``): a copy of one version, or none.

fsspec keeps its first copy for ever, whatever becomes of the file, and another thread can read it
before it is whole. Here a copy is named after the version, and gets its name when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.callbacks import Callback
from fsspec.implementations.cached import SimpleCacheFileSystem, WholeFileCacheFileSystem
from fsspec.implementations.tar import TarFileSystem

from mrcdist.errors import ArgumentError
from mrcdist.progress import Progress
from mrcdist.remembered import Remembered
from mrcdist.storage.archives import has_checksum, read_to_checksum
from mrcdist.storage.version import Version
from mrcdist.system_calls import ForkSafeLock

__all__ = ["copy_version", "fresh_copy", "is_whole_file_cache", "whole_copy"]

# fsspec gives each thread a filesystem of its own, with a temporary folder of its own; a process
# needs one copy, and its threads wait for it.
_fetching = ForkSafeLock()
_copies: Remembered[str, Path] = Remembered(1000)


def is_whole_file_cache(fs: Any) -> bool:
    """Whether a filesystem keeps whole local copies of another one's files."""
    return isinstance(fs, SimpleCacheFileSystem | WholeFileCacheFileSystem)


def copy_version(copy: Path) -> Version:
    """Return what tells a copy from others where the store has no version: its bytes."""
    with copy.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Version(os.fstat(file.fileno()).st_size, "copy", digest)


def fresh_copy(fs: Any, path: str, name: str, identity: str) -> Version:
    """Copy a file of a store that has no versions, whatever copies there are; return its version.

    For the arguments see `whole_copy`.
    """
    with _fetching, _unfinished_copy(fs, path, name) as unfinished:
        version = copy_version(unfinished)
        _keep(unfinished, _key(identity, version))
    return version


def whole_copy(
    fs: Any, path: str, name: str, identity: str, version: Version, verify: Callable[[Path], None]
) -> Path:
    """Return the local copy of one version of a file, fetched where there is none yet.

    `fs` is one that `is_whole_file_cache`, with the file at `path`; `name` is shown, and `identity`
    tells the file from all others. `verify` is called with what was fetched, and raises if it is
    another version. A cache that is to decompress is an `ArgumentError`: byte ranges are those of
    the file itself.
    """
    key = _key(identity, version)
    with _fetching:
        copy = _copies.get(key) or Path(fs.storage[-1]) / key
        if copy.exists():
            return _copies.keep(key, copy)
        with _unfinished_copy(fs, path, name) as unfinished:
            verify(unfinished)
            return _keep(unfinished, key)


def _key(identity: str, version: Version) -> str:
    return hashlib.sha256(f"{identity} {version}".encode(errors="surrogatepass")).hexdigest()


def _keep(unfinished: Path, key: str) -> Path:
    """Give a whole copy its name."""
    return _copies.keep(key, unfinished.replace(unfinished.with_name(key)))


@contextmanager
def _unfinished_copy(fs: Any, path: str, name: str) -> Iterator[Path]:
    """Fetch a file to one without a name that anybody looks for; delete it if it gets no other."""
    if fs.compression:
        raise ArgumentError(
            f"storage option compression={fs.compression!r} of a cache",
            code="storage-options-invalid",
            argument="storage_options",
            cause="the planned byte ranges are those of the file as it is stored",
            remedy="leave it out: gzip and bzip2 are read as they are",
        )
    folder = Path(fs.storage[-1])
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"unfinished.{uuid.uuid4().hex}"
    try:
        with _Telling(f"copying {name}") as telling:
            fs.fs.get_file(path, str(unfinished), callback=telling)
        # Of a member of a zip file it was compared with the copy.
        if isinstance(fs.fs, TarFileSystem) and has_checksum(fs.fs):
            read_to_checksum(fs.fs, path)
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)


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
