"""Budget for memory maps whose views outlive the read, and maps shared by tasks.

Each map keeps a file descriptor open, and a dask worker counts mapped pages as its memory, also
those that are not needed: it pauses at 80 % of its limit and is killed at 95 %. When the budget is
exhausted, blocks are copied instead. ARCHITECTURE.md says when maps are worth it, and shared;
`mrcdist.read_limits` how large the budget is.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import cache, partial
from io import FileIO

import psutil

from mrcdist.read_limits import ReadLimits
from mrcdist.system_calls import run_after_fork


class MapPool:
    """Pool of the memory maps of a process: their budget, and maps shared by tasks."""

    def __init__(self) -> None:
        self.maps = 0  # alive
        self.unused_bytes = 0  # of their pages
        self._kept: dict[tuple[int, ...], tuple[mmap.mmap, float]] = {}  # and its last use
        self._renew_locks()

    def mapped(
        self, make: Callable[[], mmap.mmap], unused_bytes: int, limits: ReadLimits
    ) -> mmap.mmap | None:
        """Make a map in which `unused_bytes` are not needed; None if the budget is exhausted.

        Its budget is released when it is garbage-collected.
        """
        limit = limits.mapped_memory_share * _process_memory() if unused_bytes else math.inf
        with self._room_lock:
            if self.maps >= limits.max_maps or self.unused_bytes + unused_bytes > limit:
                return None
            self.maps += 1
            self.unused_bytes += unused_bytes
        try:
            mapped = make()
        except BaseException:
            self._release(unused_bytes)
            raise
        weakref.finalize(mapped, self._release, unused_bytes).atexit = False
        return mapped

    def _release(self, unused_bytes: int) -> None:
        with self._room_lock:
            self.maps -= 1
            self.unused_bytes -= unused_bytes

    def shared(self, file: FileIO, limits: ReadLimits) -> mmap.mmap | None:
        """Return the shared map of a whole open file, or None if the budget is exhausted.

        Any of its pages may stay mapped as long as the map exists, so it reserves budget for the
        whole file.
        """
        stat = os.fstat(file.fileno())
        version = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        with self._lock:
            mapped, _ = self._kept.get(version, (None, 0.0))
            if mapped is None:
                whole = partial(mmap.mmap, file.fileno(), stat.st_size, access=mmap.ACCESS_READ)
                try:
                    mapped = self.mapped(whole, stat.st_size, limits)
                except (OSError, ValueError):  # address space limit, or truncated meanwhile
                    return None
                if mapped is None:
                    return None
                if not (self._kept or self._look_again(limits.map_linger)):
                    return mapped
            self._kept[version] = mapped, time.monotonic()
            return mapped

    def let_go(self) -> None:
        """Release the shared maps; views of them remain valid."""
        with self._lock:
            self._kept.clear()

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
            for version in [key for key, (_, used) in self._kept.items() if used <= before]:
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


@cache
def _machine_memory() -> int:
    total: int = psutil.virtual_memory().total
    return total
