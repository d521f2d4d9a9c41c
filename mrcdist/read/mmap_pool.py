"""Budget for memory maps whose views outlive the read, and maps shared by tasks.

Each map keeps a file descriptor open, and all its pages, needed or not, count as memory of a dask
worker, which pauses at 80 % of its limit and is killed at 95 %. When the budget is exhausted,
blocks are copied instead. ARCHITECTURE.md says when data are mapped and maps are shared;
`mrcdist.read_limits` has the size of the budget.
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
from functools import partial
from io import FileIO

import psutil

from mrcdist.read_limits import ReadLimits
from mrcdist.system_calls import ForkSafeLock, run_after_fork

_MACHINE_MEMORY: int = psutil.virtual_memory().total


class MapPool:
    """Pool of the memory maps of a process: their budget, and maps shared by tasks."""

    def __init__(self) -> None:
        self.maps = 0  # number of maps alive
        self.unused_bytes = 0  # in their pages
        self._shared: dict[tuple[int, ...], tuple[mmap.mmap, float]] = {}  # with the last use
        self._lock = ForkSafeLock()
        # Reentrant, since garbage collection may release a map while the lock is held.
        self._budget_lock = ForkSafeLock(threading.RLock)

    def mapped(
        self, make: Callable[[], mmap.mmap], unused_bytes: int, limits: ReadLimits
    ) -> mmap.mmap | None:
        """Return a map in which `unused_bytes` are not needed, or None if the budget is exhausted.

        Its share of the budget is released when it is garbage-collected.
        """
        limit = limits.mapped_memory_share * _process_memory() if unused_bytes else math.inf
        with self._budget_lock:
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
        with self._budget_lock:
            self.maps -= 1
            self.unused_bytes -= unused_bytes

    def shared(self, file: FileIO, limits: ReadLimits) -> mmap.mmap | None:
        """Return the shared map of a whole open file, or None if the budget is exhausted.

        It reserves budget for the whole file, since any page may stay mapped as long as the map
        exists.
        """
        stat = os.fstat(file.fileno())
        version = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        with self._lock:
            mapped, _ = self._shared.get(version, (None, 0.0))
            if mapped is None:
                whole = partial(mmap.mmap, file.fileno(), stat.st_size, access=mmap.ACCESS_READ)
                try:
                    mapped = self.mapped(whole, stat.st_size, limits)
                except (OSError, ValueError):  # address space limit, or truncated since the check
                    return None
                if mapped is None:
                    return None
                if not (self._shared or self._schedule_sweep(limits.map_linger)):
                    return mapped
            self._shared[version] = mapped, time.monotonic()
            return mapped

    def release_shared(self) -> None:
        """Release the shared maps; views of them remain valid."""
        with self._lock:
            self._shared.clear()

    def _schedule_sweep(self, linger: float) -> bool:
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
            for version in [key for key, (_, used) in self._shared.items() if used <= before]:
                del self._shared[version]
            if self._shared and not self._schedule_sweep(linger):
                self._shared.clear()


POOL = MapPool()

run_after_fork(POOL.release_shared)  # the thread that does this is lost in a fork


def _process_memory() -> int:
    """Return the memory limit of the dask worker, or else the memory of the machine, in bytes."""
    module = sys.modules.get("distributed.worker")  # not imported: not in a worker
    try:
        worker = module.get_worker() if module else None
    except ValueError:  # not in a task
        worker = None
    limit: int | None = worker.memory_manager.memory_limit if worker else None
    return limit or _MACHINE_MEMORY
