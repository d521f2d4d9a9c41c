"""A source that is read from coroutines: in threads, or by awaiting nothing but its requests."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, cast

import numpy.typing as npt

from mrcdist.config import ReadSettings, read_settings
from mrcdist.read.remote import RemoteReader
from mrcdist.read.source import MrcSource

_Result = TypeVar("_Result")

# Threads that read, by event loop. asyncio's own are as few as a machine has processors and four
# more: fewer than zarr has chunks under way, and reading from a store is waiting.
_THREADS = 32
_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor]
_pools = weakref.WeakKeyDictionary()


async def in_thread(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Return what a function returns that reads; others are called meanwhile."""
    loop = asyncio.get_running_loop()
    if loop not in _pools:
        _pools[loop] = ThreadPoolExecutor(_THREADS, "mrcdist-zarr")
    return await loop.run_in_executor(_pools[loop], partial(function, *arguments))


class AwaitedSource:
    """Reads a source from any event loop, and opens its files once.

    Requests to S3 and web servers are awaited. A thread for each block, which would wait for them
    too, takes a third of the time of a block of 1 MiB.
    """

    def __init__(self, source: MrcSource) -> None:
        self._source = source
        # The readers of its files, none if it is read in threads. They are for the settings, and
        # for the process: a child of that has no event loop that its filesystems use.
        self._opened: tuple[ReadSettings, int, list[RemoteReader]] | None = None
        # By process: a lock that another thread holds during a fork is never free in the child.
        self._opening: dict[int, threading.Lock] = {}

    async def read(self, index: Any) -> npt.NDArray[Any]:
        """Read as ``source[index]`` does."""
        settings = read_settings()
        readers = self._known(settings)
        if readers is None:
            readers = await in_thread(self._open, settings)
        if readers:
            block = await self._source.read_awaited(index, settings, readers)
            if block is not None:
                return block
        return await in_thread(self._source.__getitem__, index)

    def _known(self, settings: ReadSettings) -> list[RemoteReader] | None:
        opened = self._opened
        return opened[2] if opened is not None and opened[:2] == (settings, os.getpid()) else None

    def _open(self, settings: ReadSettings) -> list[RemoteReader]:
        """Open the files, once for all who ask at the same time."""
        with self._opening.setdefault(os.getpid(), threading.Lock()):
            readers = self._known(settings)
            if readers is None:
                readers = _readers(self._source, settings)
                self._opened = settings, os.getpid(), readers
            return readers


def _readers(source: MrcSource, settings: ReadSettings) -> list[RemoteReader]:
    """Return the readers of a source's files, or none if one of them has to be read in threads."""
    readers = [part.open(settings, source.limits) for part in source.parts]
    awaitable = all(reader.can.awaitable for reader in readers)
    return cast(list[RemoteReader], readers) if awaitable else []
