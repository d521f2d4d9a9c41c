"""Maps that stay: the room that they take in a process, and those that its tasks share.

A view of a map is the fastest block there is. But a map keeps a file descriptor open; and around a
small part of each frame most of the pages that it brings in are not wanted: 16 rows of every frame
of a file bring in the whole file. A dask worker counts mapped pages as its memory, pauses at 80 %
of its limit and is ended at 95 %. Where there is no more room, blocks are copied.

A band of every frame brings in pages that the next band needs too, and so do points of a custom
scan, which are all over the file. To set up page tables for them takes longer than to read what is
in the pages; one map of the whole file for all tasks does it once.
"""

from __future__ import annotations

import functools
import math
import mmap
import os
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from io import FileIO
from typing import Any

import psutil

from mrcdist.plan.tuning import DEFAULT_TUNING, Tuning

__all__ = ["POOL", "MapPool"]


@dataclass
class _Shared:
    mapped: mmap.mmap
    used: float


class MapPool:
    """The maps of a process: how many there may be, and whole files mapped for all tasks.

    Attributes
    ----------
    maps : int
        Maps that have room.
    spare : int
        Bytes of their pages that are not wanted.
    """

    def __init__(self) -> None:
        self.maps = 0
        self.spare = 0
        self._kept: dict[tuple[int, ...], _Shared] = {}
        self._renew_locks()

    def reserve(self, spare: int, tuning: Tuning = DEFAULT_TUNING) -> bool:
        """Take room for a map with so many unwanted bytes; False where there is no more."""
        limit = tuning.map_share * _process_memory() if spare else math.inf
        with self._room_lock:
            if self.maps >= tuning.most_maps or self.spare + spare > limit:
                return False
            self.maps += 1
            self.spare += spare
            return True

    def release(self, spare: int) -> None:
        """Give the room of such a map back."""
        with self._room_lock:
            self.maps -= 1
            self.spare -= spare

    def release_with(self, holder: Any, spare: int) -> None:
        """Give room back when `holder` goes."""
        weakref.finalize(holder, self.release, spare).atexit = False

    def shared(self, file: FileIO, tuning: Tuning = DEFAULT_TUNING) -> mmap.mmap | None:
        """Map a whole open file, or find its map; None where that takes too much memory.

        Any of its pages may come to stay for as long as the map does: it takes room for all of
        the file.
        """
        stat = os.fstat(file.fileno())
        version = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        with self._lock:
            found = self._kept.get(version)
            if found is None:
                mapped = self._map(file, stat.st_size, tuning)
                if mapped is None:
                    return None
                if not (self._kept or self._look_again(tuning.map_linger)):
                    return mapped
                found = self._kept[version] = _Shared(mapped, 0.0)
            found.used = time.monotonic()
            return found.mapped

    def let_go(self) -> None:
        """Drop the shared maps; views of them keep what they need."""
        with self._lock:
            self._kept.clear()

    def _map(self, file: FileIO, size: int, tuning: Tuning) -> mmap.mmap | None:
        if not self.reserve(size, tuning):
            return None
        try:
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # a limit of address space; truncated meanwhile
            self.release(size)
            return None
        self.release_with(mapped, size)
        return mapped

    def _look_again(self, linger: float) -> bool:
        """Look in a while whether maps are still in use; False where no thread can be had."""
        timer = threading.Timer(linger, self._sweep, (linger,))
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            return False
        return True

    def _sweep(self, linger: float) -> None:
        before = time.monotonic() - linger
        with self._lock:
            for version in [key for key, shared in self._kept.items() if shared.used <= before]:
                del self._kept[version]
            if self._kept and not self._look_again(linger):
                self._kept.clear()

    def _renew_locks(self) -> None:
        self._lock = threading.Lock()
        # A map may go while this one is held, when Python collects garbage.
        self._room_lock = threading.RLock()

    def _begin_anew(self) -> None:
        """In a process that was forked: it has no thread that looks, and locks may be held."""
        self._renew_locks()
        self._kept.clear()


POOL = MapPool()
"""The maps of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL._begin_anew)


def _process_memory() -> int:
    """Memory limit of the worker that runs this task, or else the machine's memory."""
    module = sys.modules.get("distributed.worker")  # what is not imported runs no worker
    try:
        worker = module.get_worker() if module else None
    except ValueError:  # not in a worker's task
        worker = None
    limit: int | None = worker.memory_manager.memory_limit if worker else None
    return limit or _machine_memory()


@functools.cache
def _machine_memory() -> int:
    total: int = psutil.virtual_memory().total
    return total
