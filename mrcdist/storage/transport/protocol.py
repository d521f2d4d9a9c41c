"""The interface of transports, and what those with pinned answers have in common."""

from __future__ import annotations

import asyncio
import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mrcdist.errors import ReadError
from mrcdist.read_limits import DEFAULT_LIMITS, ReadLimits
from mrcdist.storage.event_loop import wait_for
from mrcdist.storage.location import Location, changed
from mrcdist.storage.scatter_buffer import ScatterBuffer
from mrcdist.storage.store_errors import Transient
from mrcdist.storage.version import UNKNOWN, Version


@dataclass(frozen=True)
class Answer:
    """The answer to one request for a byte range that may reach beyond the end of the file.

    `version` is that of the whole file, and empty where the answer does not say how long that is.
    `pinned`: the bytes are known to be of the wanted version. `settled` is False where another
    change within this second would leave the version as it is.
    """

    raw: bytes
    version: Version = UNKNOWN
    pinned: bool = True
    settled: bool = True


class Throughput:
    """Latency and bandwidth of one connection to a store, while others are in use too."""

    def __init__(self, limits: ReadLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self.latency = limits.latency
        self.bandwidth = limits.bandwidth

    def note(self, before: float, during: float, nbytes: int) -> None:
        """Record an answer: seconds before and from its first bytes on, and its length."""
        weight = self._limits.answer_weight
        self.latency += weight * (before - self.latency)
        if nbytes >= self._limits.telling_answer and during > 0:
            self.bandwidth += weight * (nbytes / during - self.bandwidth)

    @property
    def max_gap(self) -> int:
        """Unwanted bytes that cost less than another request; see `mrcdist.plan.coalesce`."""
        gap = max(self.latency * self.bandwidth, self._limits.least_gap)
        return int(min(gap, self._limits.most_gap))


# What this process knows of each store, by the filesystem that it is reached through.
_throughputs: weakref.WeakKeyDictionary[Any, Throughput] = weakref.WeakKeyDictionary()


class Transport(ABC):
    """Fetches byte ranges of one file, one attempt at a time.

    For what may pass, `get` and `read` raise what `as_transient` knows.
    """

    parallel = True
    """Whether several ranges may be fetched at a time."""
    pinned = True
    """Whether `get` gives the planned version or none; else `check` before and after."""
    reports_progress = True
    """Whether `get` calls `alive` as bytes come; else a silence means nothing."""
    has_folders = True
    """Whether what is missing as a file may be a folder."""
    connections = math.inf
    """Requests that can be under way at a time; others would wait for a connection."""

    def __init__(self, fs: Any, location: Location, version: Version, loop: Any = None) -> None:
        self.filesystem = fs  # whose requests share a pool of connections
        self.loop: asyncio.AbstractEventLoop = loop or fs.loop
        self.throughput = _throughputs.setdefault(fs, Throughput())
        self._location = location
        self._version = version

    @abstractmethod
    def read(self, start: int, size: int) -> Answer:
        """Return up to `size` bytes from byte `start` on, fewer where the file ends.

        For the client's small reads: it waits for the answer, and holds it.
        """

    @abstractmethod
    async def get(self, start: int, into: ScatterBuffer, alive: Callable[[], None]) -> None:
        """Fill `into` from byte `start` on, with the planned version's bytes.

        `alive` is called whenever some of them have come, and puts off the end of the attempt.
        """

    def check(self) -> None:  # noqa: B027 where answers are pinned there is nothing to compare
        """Raise `FileChangedError` if there is another version by now."""


class PinnedTransport(Transport):
    """A transport each of whose answers is of the planned version, or of any if that is empty."""

    def read(self, start: int, size: int) -> Answer:
        """Return up to `size` bytes from byte `start` on, fewer where the file ends."""
        return wait_for(self._read(start, size), self.loop)

    @abstractmethod
    async def _read(self, start: int, size: int) -> Answer:
        """Read as `read` does."""


def check_range(
    found: str | None, start: int, size: int | None, location: Location, version: Version
) -> int | None:
    """Compare Content-Range with what was asked for; return how long it says that the file is.

    A store that ignores Range sends none. `size` is how many bytes were asked for, all of which
    must be there, or None: as many as there are. `version` is the planned one.
    """
    if not found:
        if start == 0 and size is None:
            return None  # the whole of it
        raise ranges_ignored(location, "its answer for a part has no Content-Range")
    span, _, total = found.removeprefix("bytes ").partition("/")
    known = int(total) if total.isdigit() else None
    if known is not None and (known < start + (size or 0) or version.size not in (None, known)):
        raise changed(location, version, f"{total} bytes")
    wanted = f"{start}-" if size is None else f"{start}-{start + size - 1}"
    if not span.startswith(wanted) or (size is not None and span != wanted):
        raise Transient(f"bytes {wanted} were asked for and {found} were sent")
    return known


def ranges_ignored(location: Location, cause: str) -> ReadError:
    """Build the error for a store that does not send the range that was asked for."""
    return ReadError(
        f"{location.shown}: the store ignores Range and sends the whole file",
        code="ranges-unsupported",
        cause=cause,
        remedy='prefix the URL with "simplecache::" to fetch the whole file once per worker, or '
        "use a store or gateway that supports byte ranges",
    )
