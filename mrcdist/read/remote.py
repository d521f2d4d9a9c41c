"""Reader of remote files: byte ranges are split into concurrent requests, each retried."""

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

# Semaphores of requests in flight: of the process by event loop, of each store by filesystem.
_gates: weakref.WeakKeyDictionary[Any, dict[float, asyncio.Semaphore]] = weakref.WeakKeyDictionary()


class _Pending(NamedTuple):
    """A range requested by a coroutine, which awaits `arrived`."""

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
        self._pending: dict[asyncio.AbstractEventLoop, list[_Pending]] = {}

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning, with the throughput measured so far."""
        gap = self._transport.throughput.max_gap
        awaitable = self._transport.pinned  # since `check` does nothing
        return Capabilities(self._cost, gap, fills=True, awaitable=awaitable, ahead=self.ahead)

    def _cost(self, start: int, stop: int) -> Cost:
        nbytes = stop - start
        requests = -(-nbytes // self._step(nbytes))
        if not self._transport.parallel:
            # One response is released while the next one arrives.
            return Cost(requests, nbytes, held=min(nbytes, 2 * self._settings.sub_range))
        in_flight = min(requests, self._settings.concurrency)
        # Unless it is pinned, a transport holds a whole response until it is copied to its place.
        pinned = self._transport.pinned
        per_request = DEFAULT_LIMITS.in_flight if pinned else self._step(nbytes)
        return Cost(requests, nbytes, held=min(nbytes, in_flight * per_request))

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
                fetch = self._fetch(*span, slots)
                running.append(asyncio.run_coroutine_threadsafe(fetch, loop))
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

    def fill(self, targets: Sequence[tuple[int, ScatterBuffer]]) -> None:
        """Fetch the range that begins at each offset directly to its destination."""
        self._check()
        wait_for(self._fetch_all(targets, asyncio.Semaphore(self.ahead)), self._transport.loop)
        self._check()

    async def fill_awaited(self, targets: Sequence[tuple[int, ScatterBuffer]]) -> None:
        """Fetch as `fill` does, from a coroutine of any event loop, if the reader is `awaitable`.

        Adjacent ranges requested at the same time are joined: a request takes as much CPU time as
        receiving 1 MiB. But over a slow connection, one long request takes longer than several
        short ones in parallel, so they are joined only up to half of the largest gap that is read.
        """
        if len(targets) > 1:
            await self._fetch_in_store_loop(targets)
            return
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        if loop not in self._pending:
            self._pending[loop] = []
            # Called after all coroutines that are ready now have requested their ranges.
            loop.call_soon(self._fetch_pending, loop)
        self._pending[loop].append(_Pending(*targets[0], arrived))
        await arrived

    def _fetch_pending(self, loop: asyncio.AbstractEventLoop) -> None:
        gap = self.can.gap if self._settings.max_gap is None else self._settings.max_gap
        for group in _adjacent(self._pending.pop(loop), gap // 2):
            into = group[0].into
            if len(group) > 1:
                into = ScatterBuffer.joined([each.into for each in group])
            fetch = loop.create_task(self._fetch_in_store_loop([(group[0].start, into)]))
            _pass_on(fetch, group)

    async def _fetch_in_store_loop(self, targets: Sequence[tuple[int, ScatterBuffer]]) -> None:
        fetch = self._fetch_all(targets, asyncio.Semaphore(self.ahead))
        running = asyncio.run_coroutine_threadsafe(fetch, self._transport.loop)
        await asyncio.wrap_future(running)

    def _check(self) -> None:
        try:
            self._transport.check()
        except MrcdistError as error:
            raise self._location.explained(error) from None

    async def _fetch(self, start: int, stop: int, slots: asyncio.Semaphore) -> Bytes:
        """Fetch one range into a new array."""
        memory = np.empty(stop - start, np.uint8)
        await self._fetch_all([(start, ScatterBuffer([(memory.size, memory)]))], slots)
        return memory

    async def _fetch_all(
        self, targets: Sequence[tuple[int, ScatterBuffer]], slots: asyncio.Semaphore
    ) -> None:
        """Fetch the range that begins at each offset to its destination, in sub-ranges."""
        parts = [
            (start + offset, into.part(offset, min(offset + step, into.size)))
            for start, into in targets
            for step in (self._step(into.size),)
            for offset in range(0, into.size, step)
        ]
        if len(parts) == 1:
            await self._fetch_part(*parts[0], slots)
            return
        failure = None
        try:
            # The group cancels the other sub-ranges if one fails.
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(self._fetch_part(*part, slots))
        except BaseExceptionGroup as failed:
            failure = failed.exceptions[0]
        if failure is not None:
            raise failure

    async def _fetch_part(self, start: int, into: ScatterBuffer, slots: asyncio.Semaphore) -> None:
        """Fetch one sub-range, with retries."""

        async def fetch(attempts: Attempts) -> None:
            async with asyncio.timeout(max(self._settings.stall, self._settings.deadline)):
                await self._transport.connect()
            async with asyncio.timeout(None) as clock:
                if self._transport.pinned:
                    attempts.begin(clock)
                await self._transport.get(start, into, attempts.alive)
            if self._transport.pinned:
                self._transport.throughput.note(*attempts.times(), into.size)
            stats.add(requests=1, bytes_fetched=into.size)

        span = start, start + into.size
        async with slots:
            await retried_async(fetch, self._location, self._settings, span, self._turn)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until the limits of the store and the process allow another request."""
        limit = self._settings.process_concurrency
        store = self._transport
        limited = store.connections < limit
        gate = _gate(store.filesystem, store.connections) if limited else nullcontext()
        async with gate, _gate(store.loop, limit):
            yield


def _gate(owner: Any, limit: float) -> asyncio.Semaphore:
    """Return the semaphore for the requests in flight of an event loop or a filesystem."""
    return _gates.setdefault(owner, {}).setdefault(limit, asyncio.Semaphore(int(limit)))


def _adjacent(pending: list[_Pending], longest: int) -> Iterator[list[_Pending]]:
    """Yield groups of adjacent ranges, each up to a total length."""
    group: list[_Pending] = []
    for each in sorted(pending, key=lambda one: one.start):
        if group:
            end = group[-1].start + group[-1].into.size
            if each.start != end or each.start + each.into.size - group[0].start > longest:
                yield group
                group = []
        group.append(each)
    yield group


def _pass_on(fetch: asyncio.Task[None], group: list[_Pending]) -> None:
    """Pass the outcome of a request on to all coroutines that await a part of its range.

    The request is cancelled if none of them waits any longer. Each gets its own copy of an error,
    because handlers modify it.
    """

    def finished(_: asyncio.Task[None]) -> None:
        error = None if fetch.cancelled() else fetch.exception()
        for each in group:
            if each.arrived.done():
                continue
            if fetch.cancelled():
                each.arrived.cancel()
            elif error is not None:
                each.arrived.set_exception(copy.copy(error) if len(group) > 1 else error)
            else:
                each.arrived.set_result(None)

    def cancelled(_: asyncio.Future[None]) -> None:
        if all(each.arrived.cancelled() for each in group):
            fetch.cancel()

    fetch.add_done_callback(finished)
    for each in group:
        each.arrived.add_done_callback(cancelled)
