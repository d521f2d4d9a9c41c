"""Maps of whole files that the tasks of a process share for as long as they come.

A band of every frame brings in pages that the next band needs too, and so do points of a custom
scan, which are all over the file. To set up page tables for them takes longer than to read what is
in the pages; one map for all tasks does it once.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from dataclasses import dataclass
from io import FileIO

from mrcdist.read import map_budget as room

__all__ = ["let_go", "shared_map"]

# Seconds that a map stays after its last use, at least, and twice as long at most: a task is
# followed sooner by the next.
_LINGER = 1.0


@dataclass
class _Shared:
    mapped: mmap.mmap
    used: float


_lock = threading.Lock()
_kept: dict[tuple[int, ...], _Shared] = {}


def shared_map(file: FileIO) -> mmap.mmap | None:
    """Map a whole open file, or find its map; None where that takes too much memory.

    Any of its pages may come to stay for as long as the map does: it takes room (`room.take`) for
    all of the file.
    """
    stat = os.fstat(file.fileno())
    version = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    with _lock:
        found = _kept.get(version)
        if found is None:
            mapped = _map(file, stat.st_size)
            if mapped is None:
                return None
            if not (_kept or _look_again()):
                return mapped
            found = _kept[version] = _Shared(mapped, 0.0)
        found.used = time.monotonic()
        return found.mapped


def let_go() -> None:
    """Drop the maps; views of them keep what they need."""
    with _lock:
        _kept.clear()


def _map(file: FileIO, size: int) -> mmap.mmap | None:
    if not room.take(size):
        return None
    try:
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # a limit of address space; truncated meanwhile
        room.give_back(size)
        return None
    room.give_back_with(mapped, size)
    return mapped


def _look_again() -> bool:
    """Look in a while whether maps are still in use; False where no thread can be had for it."""
    timer = threading.Timer(_LINGER, _sweep)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:
        return False
    return True


def _sweep() -> None:
    before = time.monotonic() - _LINGER
    with _lock:
        for version in [version for version, shared in _kept.items() if shared.used <= before]:
            del _kept[version]
        if _kept and not _look_again():
            _kept.clear()


def _begin_anew() -> None:
    """In a process that was forked: it has no thread that looks, and locks may have been held."""
    global _lock
    _lock = threading.Lock()
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
