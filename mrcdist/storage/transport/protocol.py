"""The role of a transport, and what those have in common whose answers are pinned."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mrcdist.errors import ReadError
from mrcdist.plan.read_limits import ReadLimits
from mrcdist.storage.event_loop import wait_for
from mrcdist.storage.location import Location, changed
from mrcdist.storage.retry import Transient
from mrcdist.storage.scatter_buffer import Bytes, ScatterBuffer
from mrcdist.storage.throughput import Throughput, throughput_of
from mrcdist.storage.version import Version

__all__ = [
    "Answer",
    "Bytes",
    "PinnedTransport",
    "Transport",
    "check_range",
    "ranges_ignored",
]


@dataclass(frozen=True)
class Answer:
    """The answer to one request for a byte range that may reach beyond the end of the file.

    Attributes
    ----------
    raw : bytes
    version : Version or None
        Of the whole file, where the answer says how long the file is; its `kind` may be "".
    pinned : bool
        Whether the bytes are known to be of the wanted version.
    settled : bool
        False where another change within this second would leave the version as it is.
    """

    raw: bytes
    version: Version | None = None
    pinned: bool = True
    settled: bool = True


class Transport(Protocol):
    """Fetches byte ranges of one file, one attempt at a time.

    `get` and `read` raise `Transient`, or an exception that `is_transient`, for what may pass.
    """

    filesystem: Any
    """Filesystem whose requests share a pool of connections."""
    loop: asyncio.AbstractEventLoop
    parallel: bool
    """Whether several ranges may be fetched at a time."""
    pinned: bool
    """Whether `get` gives the planned version or none; else `check` before and after."""
    connections: float
    """Requests that can be under way at a time; others would wait for a connection."""
    reports_progress: bool
    """Whether `get` calls `alive` as bytes come; else a silence means nothing."""
    has_folders: bool
    """Whether what is missing as a file may be a folder."""
    throughput: Throughput

    def read(self, start: int, size: int) -> Answer:
        """Return up to `size` bytes from byte `start` on, fewer where the file ends.

        For the client's small reads: it waits for the answer, and holds it.
        """

    async def get(self, start: int, into: ScatterBuffer, alive: Callable[[], None]) -> None:
        """Fill `into` from byte `start` on, with the planned version's bytes.

        `alive` is called whenever some of them have come, and puts off the end of the attempt.
        """

    def check(self) -> None:
        """Raise `FileChangedError` if there is another version by now."""


class PinnedTransport(ABC):
    """A transport each of whose answers is of the planned version."""

    parallel = True
    pinned = True
    reports_progress = True
    connections = math.inf

    def __init__(self, fs: Any, location: Location, version: Version, limits: ReadLimits) -> None:
        self.loop: asyncio.AbstractEventLoop = fs.loop
        self.throughput = throughput_of(fs, limits)
        self._limits = limits
        self.filesystem = fs
        self._location = location
        self._version = version

    def check(self) -> None:  # noqa: B027 there is nothing to compare
        """Each answer says which version it is of."""

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

    Parameters
    ----------
    found : str or None
        A store that ignores Range sends none.
    start : int
    size : int or None
        Bytes that were asked for, all of which must be there. None: as many as there are.
    location : Location
    version : Version
        That is planned.

    Returns
    -------
    int or None
        None where it is not said.
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
