"""Byte ranges of a remote file: cut in sub-ranges, several at a time, retried one by one."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import numpy as np

from mrcdist.config import ReadSettings
from mrcdist.errors import MrcdistError
from mrcdist.read import stats
from mrcdist.read.block import Cost
from mrcdist.read.location import Identity, Location, here
from mrcdist.read.retry import Attempts
from mrcdist.read.transport import Bytes, Transport, open_transport

__all__ = ["RemoteReader"]

# What a request holds of its answer before it is copied to its place.
_IN_FLIGHT = 2**19

_gates: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[tuple[int, bool], asyncio.Semaphore]
] = weakref.WeakKeyDictionary()


class RemoteReader:
    """Fetches byte ranges of one version of a remote file.

    Parameters
    ----------
    location : Location
    identity : Identity
        The planned version; another one raises `FileChangedError`.
    settings : ReadSettings
    """

    private = True
    """Its buffers belong to the caller."""

    def __init__(self, location: Location, identity: Identity, settings: ReadSettings) -> None:
        self._location = location
        self._settings = settings
        self._transport = open_transport(location, identity, settings.consistency)
        self.ahead = settings.concurrency if self._transport.parallel else 1

    def cost(self, start: int, stop: int) -> Cost:
        """Say what reading a range takes."""
        nbytes = stop - start
        requests = -(-nbytes // self._settings.sub_range)
        if not self._transport.parallel:
            # One answer is let go while the next one comes.
            return Cost(requests, nbytes, held=min(nbytes, 2 * self._settings.sub_range))
        at_a_time = min(requests, self._settings.concurrency)
        return Cost(requests, nbytes, held=min(nbytes, at_a_time * _IN_FLIGHT))

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), in order, fetching ahead within bounds.

        Raises
        ------
        FileChangedError, MissingFileError, AccessDeniedError, ReadError
        """
        loop = self._transport.loop
        running: deque[Future[Bytes]] = deque()
        # One slot a request of this task; bound to the loop when it is first waited for.
        slots = asyncio.Semaphore(self.ahead)
        asyncio.run_coroutine_threadsafe(self._checked(), loop).result()
        try:
            for span in ranges:
                if len(running) == self.ahead:
                    yield running.popleft().result()
                running.append(asyncio.run_coroutine_threadsafe(self._fetch(*span, slots), loop))
            while running:
                yield running.popleft().result()
            asyncio.run_coroutine_threadsafe(self._checked(), loop).result()
        finally:
            for future in running:
                future.cancel()

    async def _checked(self) -> None:
        try:
            await self._transport.check()
        except MrcdistError as error:
            raise error.located(here(self._location)) from None

    async def _fetch(self, start: int, stop: int, slots: asyncio.Semaphore) -> Bytes:
        """Fetch one range as sub-ranges into one array."""
        whole = np.empty(stop - start, np.uint8)
        step = self._settings.sub_range
        failure = None
        try:
            # A group, so that no sub-range is still being fetched once one has failed for good.
            async with asyncio.TaskGroup() as group:
                for at in range(0, whole.size, step):
                    group.create_task(self._fetch_part(start + at, whole[at : at + step], slots))
        except BaseExceptionGroup as failed:
            failure = failed.exceptions[0]
        if failure is not None:
            raise failure
        return whole

    async def _fetch_part(self, start: int, into: Bytes, slots: asyncio.Semaphore) -> None:
        async with slots, _gate(self._transport, self._settings.process_concurrency):
            try:
                await self._fetch_patiently(start, into)
            except MrcdistError as error:
                raise error.located(here(self._location, start, start + into.size)) from None

    async def _fetch_patiently(self, start: int, into: Bytes) -> None:
        """Try until it works, or until the retries or the deadline are used up."""
        loop = asyncio.get_running_loop()
        attempts = Attempts(self._settings, self._location.shown, self._location.scrub)
        while True:
            try:
                async with asyncio.timeout(None) as clock:
                    alive = _watch(clock, attempts, loop) if self._transport.parallel else _ignore
                    await self._transport.get(start, into, alive)
            except Exception as error:  # noqa: BLE001 each store has its own errors
                wait = attempts.failed(error)
            else:
                stats.add(requests=1, bytes_fetched=into.size)
                return
            await asyncio.sleep(wait)


def _watch(
    clock: asyncio.Timeout, attempts: Attempts, loop: asyncio.AbstractEventLoop
) -> Callable[[], None]:
    """Put off a time limit whenever the returned function is called."""
    silence = attempts.begin()
    next_time = loop.time() + silence / 8
    clock.reschedule(loop.time() + silence)

    def alive() -> None:
        nonlocal next_time
        now = loop.time()
        # Setting a timer costs more than a piece of an answer; it need not be set for each.
        if now >= next_time:
            attempts.heard()
            clock.reschedule(now + silence)
            next_time = now + silence / 8

    return alive


def _ignore() -> None:
    """A thread tells nothing of its progress, and could not be given up."""


def _gate(transport: Transport, limit: int) -> asyncio.Semaphore:
    """The process-wide cap on requests in flight, by event loop and kind of store."""
    limit = int(min(limit, transport.connections))
    gates = _gates.setdefault(transport.loop, {})
    return gates.setdefault((limit, transport.parallel), asyncio.Semaphore(limit))
