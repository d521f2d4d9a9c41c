"""Byte ranges of a remote file: split into concurrent requests, each retried separately."""

from __future__ import annotations

import asyncio
import copy
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from mrcdist import stats
from mrcdist.config import ReadSettings
from mrcdist.errors import MrcdistError
from mrcdist.plan.coalesce import piece_bytes
from mrcdist.plan.reader_capabilities import Capabilities, Cost
from mrcdist.read_limits import DEFAULT_LIMITS
from mrcdist.storage.event_loop import result_of, wait_for
from mrcdist.storage.retry import Attempts, retried_async
from mrcdist.storage.scatter_buffer import Bytes, ScatterBuffer
from mrcdist.storage.stored_file import StoredFile
from mrcdist.storage.transport import open_transport

# Limits of requests in flight: of the process by event loop, of each store by filesystem.
_gates: weakref.WeakKeyDictionary[Any, dict[float, asyncio.Semaphore]] = weakref.WeakKeyDictionary()


class _Wanted(NamedTuple):
    """A range that somebody waits for."""

    start: int
    into: ScatterBuffer
    arrived: asyncio.Future[None]


class RemoteReader:
    """Fetches byte ranges of one version of a remote file."""

    def __init__(self, file: StoredFile, settings: ReadSettings) -> None:
        self._location = file.location
        self._settings = settings
        self._transport = open_transport(file.location, file.version, settings.consistency)
        self.ahead = settings.concurrency if self._transport.parallel else 1
        self._wanted: dict[asyncio.AbstractEventLoop, list[_Wanted]] = {}

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning, with what has been measured of the store so far."""
        transport = self._transport
        awaitable = transport.pinned and transport.parallel  # waits for nothing but responses
        gap = transport.throughput.max_gap
        return Capabilities(self._cost, gap, fills=True, awaitable=awaitable, ahead=self.ahead)

    def _cost(self, start: int, stop: int) -> Cost:
        nbytes = stop - start
        requests = -(-nbytes // self._step(nbytes))
        if not self._transport.parallel:
            # One response is released while the next one arrives.
            return Cost(requests, nbytes, held=min(nbytes, 2 * self._settings.sub_range))
        at_a_time = min(requests, self._settings.concurrency)
        # A response that arrives as a whole is held until it is copied to its place.
        progressive = self._transport.reports_progress
        each = DEFAULT_LIMITS.in_flight if progressive else self._step(nbytes)
        return Cost(requests, nbytes, held=min(nbytes, at_a_time * each))

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), in order, fetching a limited number ahead."""
        loop = self._transport.loop
        running: deque[Future[Bytes]] = deque()
        # One slot per request of this task; bound to the loop when first awaited.
        slots = asyncio.Semaphore(self.ahead)
        self._check()
        try:
            for span in ranges:
                if len(running) == self.ahead:
                    yield result_of(running.popleft(), loop)
                fetching = self._fetch(*span, slots)
                running.append(asyncio.run_coroutine_threadsafe(fetching, loop))
            while running:
                yield result_of(running.popleft(), loop)
            self._check()
        finally:
            for future in running:
                future.cancel()

    def _step(self, nbytes: int) -> int:
        """Return the length of the sub-ranges of a range; a short range is a single request."""
        longest = self._settings.sub_range
        if nbytes <= longest or not self._transport.parallel:
            return longest
        shortest = DEFAULT_LIMITS.min_piece
        return piece_bytes(nbytes, pieces=self.ahead, max_bytes=longest, shortest=shortest)

    def fill(self, wanted: Sequence[tuple[int, ScatterBuffer]]) -> None:
        """Fetch the range that begins at each offset directly to its target."""
        loop = self._transport.loop
        slots = asyncio.Semaphore(self.ahead)
        self._check()
        wait_for(self._fetch_all(wanted, slots), loop)
        self._check()

    async def fill_awaited(self, wanted: Sequence[tuple[int, ScatterBuffer]]) -> None:
        """Fetch as `fill` does, called from any event loop; of a reader that is `awaitable`.

        Of single ranges that are asked for at the same time, neighbours come with one request. It
        costs a processor as much as receiving 1 MiB, but of a slow connection a long one takes
        longer than several short ones side by side. So neighbours are joined up to half of the gap
        that would be read with one request.
        """
        if len(wanted) > 1:
            await self._fetch_in_its_loop(wanted)
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
        gap = self.can.gap if self._settings.max_gap is None else self._settings.max_gap
        for group in _neighbours(self._wanted.pop(loop), gap // 2):
            into = group[0].into
            if len(group) > 1:
                into = ScatterBuffer.joined([each.into for each in group])
            fetching = loop.create_task(self._fetch_in_its_loop([(group[0].start, into)]))
            _tell(group, fetching)

    async def _fetch_in_its_loop(self, wanted: Sequence[tuple[int, ScatterBuffer]]) -> None:
        fetching = self._fetch_all(wanted, asyncio.Semaphore(self.ahead))
        running = asyncio.run_coroutine_threadsafe(fetching, self._transport.loop)
        await asyncio.wrap_future(running)

    def _check(self) -> None:
        try:
            self._transport.check()
        except MrcdistError as error:
            raise self._location.explained(error) from None

    async def _fetch(self, start: int, stop: int, slots: asyncio.Semaphore) -> Bytes:
        """Fetch one range into a new array."""
        whole = np.empty(stop - start, np.uint8)
        await self._fetch_all([(start, ScatterBuffer([(whole.size, whole)]))], slots)
        return whole

    async def _fetch_all(
        self, wanted: Sequence[tuple[int, ScatterBuffer]], slots: asyncio.Semaphore
    ) -> None:
        """Fetch the range that begins at each offset to its target, in sub-ranges."""
        parts = [
            (start + at, target.part(at, min(at + step, target.size)))
            for start, target in wanted
            for step in (self._step(target.size),)
            for at in range(0, target.size, step)
        ]
        if len(parts) == 1:
            await self._fetch_part(*parts[0], slots)
            return
        failure = None
        try:
            # A group, so that the other sub-ranges are cancelled when one fails for good.
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(self._fetch_part(*part, slots))
        except BaseExceptionGroup as failed:
            failure = failed.exceptions[0]
        if failure is not None:
            raise failure

    async def _fetch_part(self, start: int, into: ScatterBuffer, slots: asyncio.Semaphore) -> None:
        """Retry until it succeeds, or until retries or deadline are exhausted."""

        async def fetch(attempts: Attempts) -> None:
            async with asyncio.timeout(None) as clock:
                # A thread does not report progress, and cannot be stopped.
                if self._transport.reports_progress:
                    attempts.begin(clock)
                await self._transport.get(start, into, attempts.alive)
            if self._transport.reports_progress:
                self._transport.throughput.note(*attempts.times(), into.size)
            stats.add(requests=1, bytes_fetched=into.size)

        span = start, start + into.size
        async with slots:
            await retried_async(fetch, self._location, self._settings, span, self._turn)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until the limits of this store and this process allow another request."""
        limit = self._settings.process_concurrency
        store = self._transport
        own = _gate(store.filesystem, store.connections) if store.connections < limit else None
        async with own or nullcontext(), _gate(store.loop, limit):
            yield


def _gate(owner: Any, limit: float) -> asyncio.Semaphore:
    """Return the semaphore that limits requests in flight of a process or a store."""
    return _gates.setdefault(owner, {}).setdefault(limit, asyncio.Semaphore(int(limit)))


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
