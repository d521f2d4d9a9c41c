"""Archives (``zip://``, ``tar://``): which file they were opened from, and which version of it.

fsspec opens an archive once, keeps its table of contents for ever, and reads by it whatever becomes
of the file below.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from fsspec.core import OpenFile

from mrcdist.storage.version import Version, remote_version

__all__ = ["file_below", "forget", "opened"]

# By identity and thread, as fsspec keeps its archives: the version that was there before they were
# opened.
_opened: dict[tuple[str, int], Version] = {}


def file_below(fs: Any) -> Version | None:
    """Ask which version the file of an archive has now; None if `fs` is no archive."""
    for layer in _layers(fs):
        below = getattr(layer, "of", None)
        if isinstance(below, OpenFile):
            below.fs.invalidate_cache()
            return remote_version(below.fs.info(below.path))
    return None


def opened(identity: str, version: Version) -> bool:
    """Note the version that is to be opened; say whether it was opened in this thread before."""
    key = (identity, threading.get_ident())
    before, _opened[key] = _opened.get(key), version
    return before == version


def forget(fs: Any) -> None:
    """Let fsspec open an archive anew, and the caches over it."""
    for layer in _layers(fs):
        kept = type(layer)._cache
        for token in [token for token, instance in list(kept.items()) if instance is layer]:
            kept.pop(token, None)


def _layers(fs: Any) -> Iterator[Any]:
    while fs is not None:
        yield fs
        fs = getattr(fs, "fs", None)
