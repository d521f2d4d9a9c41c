"""A source that is read from coroutines: in threads, or by awaiting nothing but its requests."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy.typing as npt

from mrcdist.config import ReadSettings, read_settings
from mrcdist.plan.reader_capabilities import Capabilities
from mrcdist.read.remote import RemoteReader
from mrcdist.read.source import MrcSource
from mrcdist.storage.scatter_buffer import ScatterBuffer

__all__ = ["AwaitedSource", "JoiningReader", "in_thread"]

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
        self._opened: tuple[ReadSettings, int, list[JoiningReader]] | None = None
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

    def _known(self, settings: ReadSettings) -> list[JoiningReader] | None:
        opened = self._opened
        return opened[2] if opened is not None and opened[:2] == (settings, os.getpid()) else None

    def _open(self, settings: ReadSettings) -> list[JoiningReader]:
        """Open the files, once for all who ask at the same time."""
        with self._opening.setdefault(os.getpid(), threading.Lock()):
            readers = self._known(settings)
            if readers is None:
                readers = _readers(self._source, settings)
                self._opened = settings, os.getpid(), readers
            return readers


def _readers(source: MrcSource, settings: ReadSettings) -> list[JoiningReader]:
    """Return the readers of a source's files; none if one of them has to be read in threads."""
    readers = []
    for part in source.parts:
        reader = part.open(settings, source.limits)
        if not isinstance(reader, RemoteReader) or not reader.is_awaited:
            return []
        readers.append(JoiningReader(reader, settings.max_gap))
    return readers


class _Wanted(NamedTuple):
    """A range that somebody waits for."""

    start: int
    into: ScatterBuffer
    arrived: asyncio.Future[None]


class JoiningReader:
    """Fetches ranges with a reader that `is_awaited`; neighbours among them with one request.

    A request costs a processor as much as receiving 1 MiB, but of a slow connection a long one
    takes longer than several short ones side by side. So neighbours are joined up to half of the
    gap that would be read with one request; `max_gap` is the setting for it, or None.
    """

    def __init__(self, reader: RemoteReader, max_gap: int | None) -> None:
        self._reader = reader
        self._max_gap = max_gap
        self._wanted: dict[asyncio.AbstractEventLoop, list[_Wanted]] = {}

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning."""
        return self._reader.can

    async def fill_awaited(self, wanted: Sequence[tuple[int, ScatterBuffer]]) -> None:
        """Fetch the range that begins at each offset to its target; see `AwaitedFiller`."""
        if len(wanted) > 1:
            await self._reader.fill_awaited(wanted)
            return
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        if loop not in self._wanted:
            self._wanted[loop] = []
            # After all that can go on now has done so, and asked for its own ranges.
            loop.call_soon(self._begin, loop)
        self._wanted[loop].append(_Wanted(*wanted[0], arrived))
        await arrived

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fetch what has been asked for."""
        gap = self.can.gap if self._max_gap is None else self._max_gap
        for group in _neighbours(self._wanted.pop(loop), gap // 2):
            into = group[0].into
            if len(group) > 1:
                into = ScatterBuffer.joined([each.into for each in group])
            fetching = loop.create_task(self._reader.fill_awaited([(group[0].start, into)]))
            _tell(group, fetching)


def _neighbours(wanted: list[_Wanted], longest: int) -> Iterator[list[_Wanted]]:
    """Yield ranges of which each begins where the one before it ends, up to a length together."""
    group: list[_Wanted] = []
    for each in sorted(wanted, key=lambda one: one.start):
        if group:
            end = group[-1].start + group[-1].into.size
            if each.start != end or each.start + each.into.size - group[0].start > longest:
                yield group
                group = []
        group.append(each)
    yield group


def _tell(group: list[_Wanted], fetching: asyncio.Task[None]) -> None:
    """Tell those who wait for a range what became of it; if none does any more, fetch it no longer.

    Each gets an error of its own, as who catches it changes it.
    """

    def finished(_: asyncio.Task[None]) -> None:
        for each in group:
            if each.arrived.done():
                continue
            if fetching.cancelled():
                each.arrived.cancel()
            elif (error := fetching.exception()) is not None:
                each.arrived.set_exception(copy.copy(error) if len(group) > 1 else error)
            else:
                each.arrived.set_result(None)
        if not fetching.cancelled():
            fetching.exception()  # was looked at, if nobody waits

    def left(_: asyncio.Future[None]) -> None:
        if all(each.arrived.cancelled() for each in group):
            fetching.cancel()

    fetching.add_done_callback(finished)
    for each in group:
        each.arrived.add_done_callback(left)
