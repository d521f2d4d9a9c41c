"""Layers over a file in a chained URL: archives (``zip://``, ``tar://``), and whole copies.

fsspec opens an archive once, keeps its table of contents for ever, and reads by it whatever becomes
of the file below. It verifies no checksum unless a member is read from its start to its end.

Of ``simplecache::`` and ``filecache::`` it keeps the first copy for ever, too, and another thread
can read it before it is whole. Here a copy is of one version: it is named after that, and gets its
name when it is whole.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
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

# Bytes read at a time on the way to a checksum.
_PIECE = 2**20

# The last members, with their versions, that this process has read to their checksums, and how many
# bytes it has read of the others.
_undamaged: Remembered[tuple[str, Version], None] = Remembered(256)
_bytes_read: Remembered[tuple[str, Version], int] = Remembered(256)

# By identity and thread, as fsspec keeps its archives: the version that was there before they were
# opened.
_opened: Remembered[tuple[str, int], Version] = Remembered(1000)

# fsspec gives each thread a filesystem of its own, with a temporary folder of its own; a process
# needs one copy, and its threads wait for it.
_fetching = ForkSafeLock()
_copies: Remembered[str, Path] = Remembered(1000)


def file_below(fs: Any) -> OpenFile | None:
    """Return the file of an archive; None if `fs` is no archive."""
    for layer in _layers(fs):
        below = getattr(layer, "of", None)
        if isinstance(below, OpenFile):
            return below
    return None


def version_now(file: OpenFile) -> Version:
    """Ask which version the file of an archive has now."""
    file.fs.invalidate_cache()
    return remote_version(file.fs.info(file.path))


def opened(identity: str, version: Version) -> bool:
    """Note the version that is to be opened; say whether it was opened in this thread before."""
    key = (identity, threading.get_ident())
    before = _opened.get(key)
    _opened.keep(key, version)
    return before == version


def forget(fs: Any) -> None:
    """Let fsspec open an archive anew, and the caches over it."""
    for layer in _layers(fs):
        kept = type(layer)._cache
        for token in [token for token, instance in list(kept.items()) if instance is layer]:
            kept.pop(token, None)


def _read_to_checksum(fs: Any, path: str) -> None:
    """Read a member of an archive to its end, and a compressed tar file as a whole.

    A tar file has no checksums of its members, but its compression may have one. If the archive is
    damaged, its own exception is raised.
    """
    file = fs.fo if isinstance(fs, TarFileSystem) else fs.open(path)
    file.seek(0)
    while file.read(_PIECE):
        pass


def verify_once(fs: Any, path: str, member: tuple[str, Version], nbytes: int) -> None:
    """Read a `member` of an archive to its checksum, unless this process has done so.

    As with a compressed file, that is due at the first read of a compressed member. Of one that is
    stored as it is, whose parts cost no more than themselves, it is due once a quarter of it has
    been read; `nbytes` are those that were just read. Other filesystems are left alone.
    """
    if member in _undamaged or not _has_checksum(fs):
        return
    read = _bytes_read.keep(member, (_bytes_read.get(member) or 0) + nbytes)
    info = fs.info(path)
    stored = info.get("compress_type") == zipfile.ZIP_STORED
    if stored and read < info["size"] / 4:
        return
    _read_to_checksum(fs, path)
    if member[1].kind:
        _undamaged.keep(member, None)
    _bytes_read.forget(member)


def _has_checksum(fs: Any) -> bool:
    """Whether a filesystem is an archive with checksums."""
    packed_tar = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
    return isinstance(fs, ZipFileSystem) or isinstance(getattr(fs, "fo", None), packed_tar)


def _layers(fs: Any) -> Iterator[Any]:
    while fs is not None:
        yield fs
        fs = getattr(fs, "fs", None)


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
        if isinstance(fs.fs, TarFileSystem) and _has_checksum(fs.fs):
            _read_to_checksum(fs.fs, path)
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
