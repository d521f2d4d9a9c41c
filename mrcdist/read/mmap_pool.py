"""Budget for memory maps whose views outlive the read, and maps shared by tasks.

A view of a map is the fastest way to return a block. But each map keeps a file descriptor open, and
a view of a small part of each frame maps mostly pages that are not needed: 16 rows of every frame
map the whole file. A dask worker counts mapped pages as its memory, pauses at 80 % of its limit and
is killed at 95 %. When the budget is exhausted, blocks are copied instead. How large it is stands
in `mrcdist.plan.read_limits`.

A band of every frame maps pages that the next band needs too, and so do the points of a custom
scan, which are scattered over the file. Setting up page tables for them takes longer than reading
the pages, so all tasks share one map of the whole file.
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

from mrcdist.plan.read_limits import DEFAULT_LIMITS, ReadLimits
from mrcdist.system_calls import run_after_fork

__all__ = ["POOL", "MapPool"]


@dataclass
class _Shared:
    mapped: mmap.mmap
    used: float


class MapPool:
    """Pool of the memory maps of a process: their budget, and maps shared by tasks.

    Attributes
    ----------
    maps : int
        Number of maps alive.
    unused_bytes : int
        Bytes of their pages that are not needed.
    """

    def __init__(self) -> None:
        self.maps = 0
        self.unused_bytes = 0
        self._kept: dict[tuple[int, ...], _Shared] = {}
        self._renew_locks()

    def reserve(self, unused_bytes: int, limits: ReadLimits = DEFAULT_LIMITS) -> bool:
        """Reserve budget for a map in which `unused_bytes` are not needed; return success."""
        limit = limits.mapped_memory_share * _process_memory() if unused_bytes else math.inf
        with self._room_lock:
            if self.maps >= limits.max_maps or self.unused_bytes + unused_bytes > limit:
                return False
            self.maps += 1
            self.unused_bytes += unused_bytes
            return True

    def release(self, unused_bytes: int) -> None:
        """Release the budget of one map."""
        with self._room_lock:
            self.maps -= 1
            self.unused_bytes -= unused_bytes

    def release_with(self, holder: Any, unused_bytes: int) -> None:
        """Release the budget of one map when `holder` is garbage-collected."""
        weakref.finalize(holder, self.release, unused_bytes).atexit = False

    def shared(self, file: FileIO, limits: ReadLimits = DEFAULT_LIMITS) -> mmap.mmap | None:
        """Return the shared map of a whole open file, or None if the budget is exhausted.

        Any of its pages may stay mapped as long as the map exists, so it reserves budget for the
        whole file.
        """
        stat = os.fstat(file.fileno())
        version = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        with self._lock:
            found = self._kept.get(version)
            if found is None:
                mapped = self._map(file, stat.st_size, limits)
                if mapped is None:
                    return None
                if not (self._kept or self._look_again(limits.map_linger)):
                    return mapped
                found = self._kept[version] = _Shared(mapped, 0.0)
            found.used = time.monotonic()
            return found.mapped

    def let_go(self) -> None:
        """Release the shared maps; views of them remain valid."""
        with self._lock:
            self._kept.clear()

    def _map(self, file: FileIO, size: int, limits: ReadLimits) -> mmap.mmap | None:
        if not self.reserve(size, limits):
            return None
        try:
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # address space limit, or truncated meanwhile
            self.release(size)
            return None
        self.release_with(mapped, size)
        return mapped

    def _look_again(self, linger: float) -> bool:
        """Schedule the release of unused maps; return False if no thread can be started."""
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
        # Reentrant, since garbage collection may release a map while the lock is held.
        self._room_lock = threading.RLock()

    def _begin_anew(self) -> None:
        """Reset after a fork: the timer thread is gone, and locks may be held."""
        self._renew_locks()
        self.let_go()


POOL = MapPool()
"""The pool of this process."""

run_after_fork(POOL._begin_anew)


def _process_memory() -> int:
    """Return the memory limit of the dask worker, or else the memory of the machine, in bytes."""
    module = sys.modules.get("distributed.worker")  # not imported: not in a worker
    try:
        worker = module.get_worker() if module else None
    except ValueError:  # not in a task
        worker = None
    limit: int | None = worker.memory_manager.memory_limit if worker else None
    return limit or _machine_memory()


@functools.cache
def _machine_memory() -> int:
    total: int = psutil.virtual_memory().total
    return total
