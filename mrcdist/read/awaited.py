"""Reading a source from coroutines: by awaiting its requests, or in threads."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy.typing as npt

from mrcdist.config import ReadSettings, read_settings
from mrcdist.read.source import MrcSource, RangeReader
from mrcdist.read_limits import ReadLimits

_Result = TypeVar("_Result")

# Thread pools by event loop and number of threads.
_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, ThreadPoolExecutor]]
_pools = weakref.WeakKeyDictionary()


async def in_thread(
    limits: ReadLimits, function: Callable[..., _Result], *arguments: Any
) -> _Result:
    """Await a function in a thread; several run at a time."""
    loop, n_threads = asyncio.get_running_loop(), limits.waiting_threads
    pools = _pools.setdefault(loop, {})
    if n_threads not in pools:
        pools[n_threads] = ThreadPoolExecutor(n_threads, "mrcdist-zarr")
    return await loop.run_in_executor(pools[n_threads], partial(function, *arguments))


class AwaitedSource:
    """Reads a source from any event loop, and opens its files once.

    Requests to S3 and web servers are awaited, since a thread per block takes a third of the time
    of a block of 1 MiB. Other files are read in threads.
    """

    def __init__(self, source: MrcSource) -> None:
        self._source = source
        # Readers of the files, or none if they are read in threads. They depend on the settings and
        # the process, since a forked process lacks the event loop of the filesystems.
        self._opened: tuple[ReadSettings, int, list[RangeReader]] | None = None
        # By process: a lock that another thread holds during a fork is never released in the child.
        self._opening: dict[int, threading.Lock] = {}

    async def read(self, index: Any) -> npt.NDArray[Any]:
        """Return the same block as ``source[index]``."""
        settings = read_settings()
        readers = self._current_readers(settings)
        if readers is None:
            readers = await in_thread(self._source.limits, self._open, settings)
        if readers:
            block = await self._source.read_awaited(index, settings, readers)
            if block is not None:
                return block
        return await in_thread(self._source.limits, self._source.__getitem__, index)

    def _current_readers(self, settings: ReadSettings) -> list[RangeReader] | None:
        opened = self._opened
        return opened[2] if opened is not None and opened[:2] == (settings, os.getpid()) else None

    def _open(self, settings: ReadSettings) -> list[RangeReader]:
        """Open the files, once for concurrent reads."""
        with self._opening.setdefault(os.getpid(), threading.Lock()):
            readers = self._current_readers(settings)
            if readers is None:
                readers = _readers(self._source, settings)
                self._opened = settings, os.getpid(), readers
            return readers


def _readers(source: MrcSource, settings: ReadSettings) -> list[RangeReader]:
    """Return the readers of a source's files, or none if one of them has to be read in threads."""
    readers = [part.open(settings, source.limits) for part in source.parts]
    awaitable = all(reader.can.awaitable for reader in readers)
    return readers if awaitable else []
