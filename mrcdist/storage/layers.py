"""Layers over a file in a chained URL: archives (``zip://``, ``tar://``) and whole-file caches.

fsspec opens an archive once and keeps its table of contents forever, even if the archive changes.
It verifies the checksum of a member only if the member is read from start to end.

For ``simplecache::`` and ``filecache::``, fsspec also keeps the first copy forever, and another
thread can read a copy that is still incomplete. Here, a copy belongs to one version: its name is
derived from the version, and given to it once it is complete.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.callbacks import Callback
from fsspec.core import OpenFile
from fsspec.implementations.cached import SimpleCacheFileSystem, WholeFileCacheFileSystem
from fsspec.implementations.tar import TarFileSystem
from fsspec.implementations.zip import ZipFileSystem

from mrcdist.errors import ArgumentError
from mrcdist.progress import Progress
from mrcdist.remembered import Remembered
from mrcdist.storage.version import Version, remote_version
from mrcdist.system_calls import ForkSafeLock

# Members, with their versions, whose checksums this process has verified, and the number of bytes
# read so far of others.
_undamaged: Remembered[tuple[str, Version], None] = Remembered(256)
_bytes_read: Remembered[tuple[str, Version], int] = Remembered(256)

# Version of each archive when it was opened, by identity and thread, as fsspec caches archives.
_opened: Remembered[tuple[str, int], Version] = Remembered(1000)

# fsspec gives each thread its own filesystem with its own temporary folder; one copy per process is
# enough, and other threads wait for it.
_fetching = ForkSafeLock()
_copies: Remembered[str, Path] = Remembered(1000)


def archive_file(fs: Any) -> OpenFile | None:
    """Return the file of an archive, or None if `fs` is not an archive."""
    files = (getattr(layer, "of", None) for layer in _layers(fs))
    return next((file for file in files if isinstance(file, OpenFile)), None)


def archive_version(file: OpenFile) -> Version:
    """Return the current version of the file of an archive."""
    file.fs.invalidate_cache()
    return remote_version(file.fs.info(file.path))


def note_opened(identity: str, version: Version) -> bool:
    """Record the version to be opened; return whether this thread has opened it before."""
    key = (identity, threading.get_ident())
    previous = _opened.get(key)
    _opened.keep(key, version)
    return previous == version


def close(fs: Any) -> None:
    """Drop an archive, and caches over it, from fsspec's instances, so that it is reopened."""
    for layer in _layers(fs):
        instances = type(layer)._cache
        for token in [token for token, instance in list(instances.items()) if instance is layer]:
            instances.pop(token, None)


def _read_to_checksum(fs: Any, path: str) -> None:
    """Read a member of an archive to its end, or all of a compressed tar file.

    Tar files have no checksums of their members, but their compression may have one. If the archive
    is damaged, the exception of its library is raised.
    """
    file = fs.fo if isinstance(fs, TarFileSystem) else fs.open(path)
    file.seek(0)
    with Path(os.devnull).open("wb") as nowhere:
        shutil.copyfileobj(file, nowhere)


def verify_once(fs: Any, path: str, member: tuple[str, Version], nbytes: int) -> None:
    """Verify the checksum of a member of an archive, unless this process has done so.

    A compressed member is verified at its first read, like any compressed file. A stored one, parts
    of which can be read without the rest, is verified once a quarter of it has been read; `nbytes`
    is the number of bytes just read. Filesystems other than archives are ignored.
    """
    if member in _undamaged or not _has_checksum(fs):
        return
    bytes_read = _bytes_read.keep(member, (_bytes_read.get(member) or 0) + nbytes)
    info = fs.info(path)
    stored = info.get("compress_type") == zipfile.ZIP_STORED
    if stored and bytes_read < info["size"] / 4:
        return
    _read_to_checksum(fs, path)
    if member[1].kind:
        _undamaged.keep(member, None)
    _bytes_read.pop(member, None)


def _has_checksum(fs: Any) -> bool:
    """Whether a filesystem is an archive with checksums."""
    compressed = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
    return isinstance(fs, ZipFileSystem) or isinstance(getattr(fs, "fo", None), compressed)


def _layers(fs: Any) -> Iterator[Any]:
    while fs is not None:
        yield fs
        fs = getattr(fs, "fs", None)


def is_whole_file_cache(fs: Any) -> bool:
    """Whether a filesystem keeps local copies of whole files of another one."""
    return isinstance(fs, SimpleCacheFileSystem | WholeFileCacheFileSystem)


def copy_version(copy: Path) -> Version:
    """Return a version that consists of the content's hash, for stores without versions."""
    with copy.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Version(os.fstat(file.fileno()).st_size, "copy", digest)


def fresh_copy(fs: Any, path: str, name: str, identity: str) -> Version:
    """Fetch a new copy of a file from a store without versions; return the version of the copy.

    The arguments are those of `whole_copy`.
    """
    with _fetching, _partial_copy(fs, path, name) as partial:
        version = copy_version(partial)
        key = _key(identity, version)
        _copies.keep(key, partial.replace(partial.with_name(key)))
    return version


def whole_copy(
    fs: Any, path: str, name: str, identity: str, version: Version, verify: Callable[[Path], None]
) -> Path:
    """Return the local copy of one version of a file, fetching it if necessary.

    `fs` is a whole-file cache with the file at `path`; `name` is for display, and `identity`
    identifies the file. `verify` is called with the fetched copy, and raises if it is of another
    version. A cache that decompresses raises `ArgumentError`, since byte ranges are those of the
    file as stored.
    """
    key = _key(identity, version)
    with _fetching:
        copy = _copies.get(key) or Path(fs.storage[-1]) / key
        if not copy.exists():
            with _partial_copy(fs, path, name) as partial:
                verify(partial)
                copy = partial.replace(partial.with_name(key))
        return _copies.keep(key, copy)


def _key(identity: str, version: Version) -> str:
    return hashlib.sha256(f"{identity} {version}".encode(errors="surrogatepass")).hexdigest()


@contextmanager
def _partial_copy(fs: Any, path: str, name: str) -> Iterator[Path]:
    """Fetch a file under a temporary name; remove it at the end unless it was renamed."""
    if fs.compression:
        raise ArgumentError(
            f"storage option compression={fs.compression!r} of a cache",
            code="storage-options-invalid",
            argument="storage_options",
            cause="the planned byte ranges are those of the file as it is stored",
            remedy="omit it: gzip and bzip2 files are read without it",
        )
    folder = Path(fs.storage[-1])
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"unfinished.{uuid.uuid4().hex}"
    try:
        with _CopyProgress(f"copying {name}") as progress:
            fs.fs.get_file(path, str(partial), callback=progress)
        # The checksum of a member of a zip file was verified while it was copied.
        if isinstance(fs.fs, TarFileSystem) and _has_checksum(fs.fs):
            _read_to_checksum(fs.fs, path)
        yield partial
    finally:
        partial.unlink(missing_ok=True)


class _CopyProgress(Callback):  # type: ignore[misc]
    """Progress bar of a copy, for fsspec."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label
        self._progress: Progress | None = None

    def set_size(self, size: int | None) -> None:
        """Set the length of the file, once the filesystem knows it."""
        self._progress = Progress(self._label, size, in_bytes=True) if size else None

    def relative_update(self, inc: int = 1) -> None:
        """Advance by a number of bytes."""
        if self._progress is not None:
            self._progress.advance(inc)

    def close(self) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.close()
