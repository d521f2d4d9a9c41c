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
from mrcdist.format.pixels import Bytes
from mrcdist.plan.coalesce import join_adjacent, piece_bytes
from mrcdist.plan.reader_capabilities import Capabilities, Cost, Target
from mrcdist.read_limits import ReadLimits
from mrcdist.storage.event_loop import result_of, wait_for
from mrcdist.storage.retry import Attempts, retried_async
from mrcdist.storage.scatter_buffer import ScatterBuffer
from mrcdist.storage.stored_file import StoredFile
from mrcdist.storage.transport import open_transport

# Semaphores of requests in flight: of the process by event loop, of each store by filesystem.
_gates: weakref.WeakKeyDictionary[Any, dict[float, asyncio.Semaphore]] = weakref.WeakKeyDictionary()

# Measured throughput of each store, by filesystem.
_throughputs: weakref.WeakKeyDictionary[Any, Throughput] = weakref.WeakKeyDictionary()


class Throughput:
    """Latency and bandwidth of one connection to a store while others are also in use.

    Until they are measured, those of the limits are assumed.
    """

    def __init__(self) -> None:
        self._latency: float | None = None
        self._bandwidth: float | None = None

    def note(self, before: float, during: float, nbytes: int, limits: ReadLimits) -> None:
        """Record a response: its length, the seconds until its first bytes, and since then."""
        weight = limits.response_weight
        latency, bandwidth = self._assumed(limits)
        self._latency = latency + weight * (before - latency)
        if nbytes >= limits.min_bandwidth_sample and during > 0:
            self._bandwidth = bandwidth + weight * (nbytes / during - bandwidth)

    def max_gap(self, limits: ReadLimits) -> int:
        """Return how many unwanted bytes cost less than a request; see `mrcdist.plan.coalesce`."""
        latency, bandwidth = self._assumed(limits)
        return int(min(max(latency * bandwidth, limits.least_gap), limits.most_gap))

    def _assumed(self, limits: ReadLimits) -> tuple[float, float]:
        return (
            limits.latency if self._latency is None else self._latency,
            limits.bandwidth if self._bandwidth is None else self._bandwidth,
        )


class _Pending(NamedTuple):
    """A range requested by a coroutine, which awaits `arrived`."""

    target: Target
    arrived: asyncio.Future[None]

    @property
    def span(self) -> tuple[int, int]:
        """Start and stop of the range."""
        start, segments = self.target
        return start, start + sum(length for length, _ in segments)


class RemoteReader:
    """Fetches byte ranges of one version of a remote file."""

    def __init__(self, file: StoredFile, settings: ReadSettings, limits: ReadLimits) -> None:
        self._location = file.location
        self._settings = settings
        self._limits = limits
        self._transport = open_transport(file.location, file.version, settings.consistency)
        self._throughput = _throughputs.setdefault(self._transport.filesystem, Throughput())
        self._ahead = settings.concurrency if self._transport.parallel else 1
        self._pending: dict[asyncio.AbstractEventLoop, list[_Pending]] = {}

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning, with the throughput measured so far."""
        return Capabilities(
            self.views,
            self._cost,
            gap=self._settings.largest_gap(self._throughput.max_gap(self._limits)),
            fills=self,
            awaitable=self._transport.pinned,  # since `check` does nothing
            ahead=self._ahead,
        )

    def _cost(self, start: int, stop: int) -> Cost:
        nbytes = stop - start
        requests = -(-nbytes // self._step(nbytes))
        if not self._transport.parallel:
            # One response is released while the next one arrives.
            return Cost(requests, nbytes, held=min(nbytes, 2 * self._settings.sub_range))
        in_flight = min(requests, self._settings.concurrency)
        # Unless it is pinned, a transport holds a whole response until it is copied to its place.
        pinned = self._transport.pinned
        per_request = self._limits.in_flight if pinned else self._step(nbytes)
        return Cost(requests, nbytes, held=min(nbytes, in_flight * per_request))

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), in order, fetching a limited number ahead."""
        loop = self._transport.loop
        running: deque[Future[Bytes]] = deque()
        # One slot per request of this task; bound to the loop when first awaited.
        slots = asyncio.Semaphore(self._ahead)
        self._check()
        try:
            for span in ranges:
                if len(running) == self._ahead:
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
        shortest = self._limits.min_piece
        return piece_bytes(nbytes, pieces=self._ahead, max_bytes=longest, shortest=shortest)

    def fill(self, targets: Sequence[Target]) -> None:
        """Fetch byte ranges directly to their destinations."""
        self._check()
        wait_for(self._fetch_all(targets, asyncio.Semaphore(self._ahead)), self._transport.loop)
        self._check()

    async def fill_awaited(self, targets: Sequence[Target]) -> None:
        """Fetch as `fill` does, from a coroutine of any event loop, if the reader is awaitable.

        Adjacent ranges requested at the same time share a request.
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
        self._pending[loop].append(_Pending(targets[0], arrived))
        await arrived

    def _fetch_pending(self, loop: asyncio.AbstractEventLoop) -> None:
        pending = self._pending.pop(loop)
        longest = int(self.can.gap * self._limits.joined_share)
        for indices in join_adjacent([each.span for each in pending], longest):
            group = [pending[index] for index in indices]
            segments = [segment for each in group for segment in each.target[1]]
            target = group[0].span[0], segments
            _pass_on(loop.create_task(self._fetch_in_store_loop([target])), group)

    async def _fetch_in_store_loop(self, targets: Sequence[Target]) -> None:
        fetch = self._fetch_all(targets, asyncio.Semaphore(self._ahead))
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
        await self._fetch_all([(start, [(memory.size, memory)])], slots)
        return memory

    async def _fetch_all(self, targets: Sequence[Target], slots: asyncio.Semaphore) -> None:
        """Fetch byte ranges to their destinations, in sub-ranges."""
        parts = [
            (start + offset, into.part(offset, min(offset + step, into.size)))
            for start, segments in targets
            for into in (ScatterBuffer(segments),)
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
                self._throughput.note(*attempts.times(), into.size, self._limits)
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
