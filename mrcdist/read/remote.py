"""Byte ranges of a remote file: cut in sub-ranges, fetched together, retried one by one."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import numpy as np

from mrcdist.config import ReadSettings
from mrcdist.errors import MrcdistError, ReadError
from mrcdist.read import stats
from mrcdist.read.failures import explain_failure, is_transient
from mrcdist.read.location import Identity, Location, here
from mrcdist.read.transport import Bytes, Transport, open_transport

__all__ = ["RemoteReader"]

# First wait before a retry, in seconds; doubled each time, the wait drawn evenly from 0 to it
# ("full jitter").
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0

_gates: dict[tuple[int, int], asyncio.Semaphore] = {}


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
        self._transport = open_transport(location, identity)

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), in order, fetching ahead within bounds.

        Raises
        ------
        FileChangedError, MissingFileError, AccessDeniedError, ReadError
        """
        loop = self._transport.loop
        ahead = self._settings.concurrency if self._transport.parallel else 1
        waiting = iter(ranges)
        running: deque[Future[Bytes]] = deque()
        asyncio.run_coroutine_threadsafe(self._checked(), loop).result()
        try:
            for span in itertools.islice(waiting, ahead):
                running.append(asyncio.run_coroutine_threadsafe(self._fetch(*span), loop))
            while running:
                done = running.popleft().result()
                for span in itertools.islice(waiting, 1):
                    running.append(asyncio.run_coroutine_threadsafe(self._fetch(*span), loop))
                yield done
                del done
            asyncio.run_coroutine_threadsafe(self._checked(), loop).result()
        finally:
            for future in running:
                future.cancel()

    async def _checked(self) -> None:
        try:
            await self._transport.check()
        except MrcdistError as error:
            raise error.located(here(self._location)) from None

    async def _fetch(self, start: int, stop: int) -> Bytes:
        """Fetch one range as sub-ranges into one array."""
        whole = np.empty(stop - start, np.uint8)
        step = self._settings.sub_range if self._transport.parallel else max(whole.size, 1)
        await asyncio.gather(
            *(
                self._fetch_part(start + at, whole[at : at + step])
                for at in range(0, whole.size, step)
            )
        )
        return whole

    async def _fetch_part(self, start: int, into: Bytes) -> None:
        async with _gate(self._transport, self._settings.process_concurrency):
            try:
                await _retrying(self._transport, start, into, self._settings, self._location)
            except MrcdistError as error:
                raise error.located(here(self._location, start, start + into.size)) from None


async def _retrying(
    transport: Transport, start: int, into: Bytes, settings: ReadSettings, location: Location
) -> None:
    """Try until it works, or until the retries or the deadline are used up."""
    begun = time.monotonic()
    for attempt in itertools.count(1):
        try:
            async with asyncio.timeout(max(begun + settings.deadline - time.monotonic(), 0.001)):
                await transport.get(start, into)
        except Exception as error:  # noqa: BLE001 each store has its own errors
            if not is_transient(error):
                raise explain_failure(error, location.shown, location.scrub) from None
            spent = time.monotonic() - begun
            wait = random.uniform(0, min(_FIRST_WAIT * 2 ** (attempt - 1), _LONGEST_WAIT))  # noqa: S311 jitter
            if attempt > settings.retries or spent + wait >= settings.deadline:
                said = location.scrub(str(error)) or "no answer in time"
                raise ReadError(
                    f"{location.shown} could not be read after {attempt} attempts in {spent:.1f} s",
                    cause=f"the last attempt failed with {type(error).__name__}: {said}",
                    remedy="check the store and the network, then compute again; dask's "
                    "configuration "
                    "mrcdist.retries and mrcdist.deadline allow more patience",
                ) from None
            stats.add(retries=1)
            await asyncio.sleep(wait)
        else:
            stats.add(requests=1, bytes_fetched=into.size)
            return


def _gate(transport: Transport, limit: int) -> asyncio.Semaphore:
    """The process-wide cap on requests in flight; one for each event loop."""
    key = (id(transport.loop), limit if transport.parallel else -limit)
    return _gates.setdefault(key, asyncio.Semaphore(limit))
