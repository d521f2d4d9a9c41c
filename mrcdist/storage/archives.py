"""Archives (``zip://``, ``tar://``): which file they were opened from, and which version of it.

fsspec opens an archive once, keeps its table of contents for ever, and reads by it whatever becomes
of the file below. It verifies no checksum unless a member is read from its start to its end.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import threading
import zipfile
from collections.abc import Iterator
from typing import Any

from fsspec.core import OpenFile
from fsspec.implementations.tar import TarFileSystem
from fsspec.implementations.zip import ZipFileSystem

from mrcdist.remembered import Remembered
from mrcdist.storage.version import Version, remote_version

__all__ = [
    *("file_below", "forget", "has_checksum", "opened"),
    *("read_to_checksum", "verify_once", "version_now"),
]

# Bytes read at a time on the way to a checksum.
_PIECE = 2**20

# The last members, with their versions, that this process has read to their checksums, and how many
# bytes it has read of the others.
_undamaged: Remembered[tuple[str, Version], None] = Remembered(256)
_bytes_read: Remembered[tuple[str, Version], int] = Remembered(256)

# By identity and thread, as fsspec keeps its archives: the version that was there before they were
# opened.
_opened: Remembered[tuple[str, int], Version] = Remembered(1000)


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


def read_to_checksum(fs: Any, path: str) -> None:
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
    if member in _undamaged or not has_checksum(fs):
        return
    read = _bytes_read.keep(member, (_bytes_read.get(member) or 0) + nbytes)
    info = fs.info(path)
    stored = info.get("compress_type") == zipfile.ZIP_STORED
    if stored and read < info["size"] / 4:
        return
    read_to_checksum(fs, path)
    if member[1].kind:
        _undamaged.keep(member, None)
    _bytes_read.forget(member)


def has_checksum(fs: Any) -> bool:
    """Whether a filesystem is an archive with checksums."""
    packed_tar = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
    return isinstance(fs, ZipFileSystem) or isinstance(getattr(fs, "fo", None), packed_tar)


def _layers(fs: Any) -> Iterator[Any]:
    while fs is not None:
        yield fs
        fs = getattr(fs, "fs", None)
