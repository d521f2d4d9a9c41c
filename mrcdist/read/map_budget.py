"""Room for maps that stay: views of a file's pages, for as long as somebody uses them.

A view of a map is the fastest block there is. But a map keeps a file descriptor open, of which a
process has 1,024 by default; and around a small part of each frame most of the pages that it
brings in are not wanted: 16 rows of every frame of a file bring in the whole file. A dask worker
counts mapped pages as its memory, pauses at 80 % of its limit and is ended at 95 %. Where there is
no more room, blocks are copied.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
import weakref
from typing import Any

import psutil

__all__ = ["give_back", "give_back_with", "take"]

# Of a worker's memory limit, or else of the machine's memory, for pages that are not wanted: what a
# worker holds may take as much again before it spills.
_SHARE = 0.35

_MOST_MAPS = 256

# A map may go while the lock is held, when Python collects garbage.
_lock = threading.RLock()
_maps = 0
_spare = 0


def take(spare: int) -> bool:
    """Take room for a map with so many unwanted bytes; False where this process has no more."""
    global _maps, _spare
    limit = _most_spare() if spare else math.inf
    with _lock:
        if _maps >= _MOST_MAPS or _spare + spare > limit:
            return False
        _maps += 1
        _spare += spare
        return True


def give_back(spare: int) -> None:
    """Give the room of such a map back."""
    global _maps, _spare
    with _lock:
        _maps -= 1
        _spare -= spare


def give_back_with(holder: Any, spare: int) -> None:
    """Give room back when `holder` goes."""
    weakref.finalize(holder, give_back, spare).atexit = False


def _most_spare() -> float:
    """Bytes in all."""
    module = sys.modules.get("distributed.worker")  # what is not imported runs no worker
    try:
        worker = module.get_worker() if module else None
    except ValueError:  # not in a worker's task
        worker = None
    limit = worker.memory_manager.memory_limit if worker else None
    return (limit or _machine_memory()) * _SHARE


def _begin_anew() -> None:
    """In a process that was forked: the lock may have been held."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    # Before that of the maps, which give room back.
    os.register_at_fork(after_in_child=_begin_anew)


@functools.cache
def _machine_memory() -> int:
    total: int = psutil.virtual_memory().total
    return total
