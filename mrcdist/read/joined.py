"""Byte ranges of several blocks that are asked for at the same time, fetched with few requests."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mrcdist.plan.reader_capabilities import Capabilities
from mrcdist.read.remote import RemoteReader
from mrcdist.storage.scatter_buffer import ScatterBuffer

__all__ = ["JoiningReader"]


class _Wanted(NamedTuple):
    """A range that somebody waits for."""

    start: int
    into: ScatterBuffer
    arrived: asyncio.Future[None]


class JoiningReader:
    """Fetches ranges of one version of a file; neighbours among them with one request.

    zarr asks for several chunks at a time. Each request takes a millisecond or more of a processor,
    as long as receiving 1 MiB, so that small chunks of a fast store are limited by their number.
    Of a slow connection, a long request takes longer than several short ones side by side.
    Therefore neighbours are joined up to half of the gap that would be read with one request, which
    is what the latency is worth in bytes.

    Parameters
    ----------
    reader : RemoteReader
        One that `is_awaited`.
    max_gap : int or None
        The setting; None for what is measured.
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
