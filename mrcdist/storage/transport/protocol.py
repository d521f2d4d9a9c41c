"""The interface of transports, and the common part of those with pinned responses."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mrcdist.errors import ReadError
from mrcdist.storage.event_loop import wait_for
from mrcdist.storage.location import Location, changed, require_version
from mrcdist.storage.retry import Transient
from mrcdist.storage.scatter_buffer import ScatterBuffer
from mrcdist.storage.version import UNKNOWN, Version


@dataclass(frozen=True)
class Response:
    """Response to one request for a byte range, which may extend beyond the end of the file.

    `version` refers to the whole file; it is unknown if the response does not contain its size.
    `pinned`: the bytes are known to be of the requested version. `settled`: any later change of the
    file will result in a different version.
    """

    raw: bytes
    version: Version = UNKNOWN
    pinned: bool = True
    settled: bool = True


class Transport(ABC):
    """Fetches byte ranges of one file, one attempt at a time.

    `get` and `read` raise errors that `as_transient` recognises if they may pass.
    """

    parallel = True
    """Whether several ranges may be fetched at a time."""
    pinned = True
    """Whether `get` returns only the planned version, and calls `alive` as bytes arrive.

    If not, call `check` before and after, and do not time out `get`, which may run in a thread."""
    has_folders = True
    """Whether a missing file may be a folder."""
    connections = math.inf
    """Number of requests in flight; others would wait for a connection."""

    def __init__(self, fs: Any, location: Location, version: Version, loop: Any = None) -> None:
        self.filesystem = fs  # whose requests share a connection pool
        self.loop: asyncio.AbstractEventLoop = loop or fs.loop
        self._location = location
        self._version = version

    @abstractmethod
    def read(self, start: int, size: int) -> Response:
        """Read `size` bytes from byte `start` on, or up to the end of the file.

        Waits for the response; used for the client's small reads.
        """

    async def connect(self) -> None:  # noqa: B027 most clients are created at once
        """Create the client of the store, the time of which does not count as a stall of `get`."""

    @abstractmethod
    async def get(self, start: int, into: ScatterBuffer, alive: Callable[[], None]) -> None:
        """Fill `into` with bytes of the planned version from byte `start` on.

        `alive` is called whenever bytes have arrived, and postpones the timeout of the attempt.
        """

    def check(self) -> None:  # noqa: B027 pinned responses need no check
        """Raise `FileChangedError` if the file now has a different version."""


class PinnedTransport(Transport):
    """Transport whose responses are all of the planned version; of any version if it is unknown."""

    def read(self, start: int, size: int) -> Response:
        """Read `size` bytes from byte `start` on, or up to the end of the file."""
        return wait_for(self._read(start, size), self.loop)

    @abstractmethod
    async def _read(self, start: int, size: int) -> Response:
        """Read as `read` does."""

    def _identifies_version(self, response: Mapping[str, Any]) -> bool:
        """Whether the headers of a response contain the kind of version that was planned.

        Raises `FileChangedError` if it is a different version: some stores ignore conditions.
        """
        reported = self._version.reported_by(response)
        if reported is not None:
            require_version(self._location, self._version, reported)
        return reported is not None or not self._version.kind

    def _require_version(self, response: Mapping[str, Any]) -> None:
        """Raise an error unless the headers of a response contain the planned version."""
        if not self._identifies_version(response):
            raise ReadError(
                f"{self._location.shown}: a response does not identify the version of the file",
                code="version-unknown",
                cause=f"the store reported {self._version} when the file was opened, but no "
                f"{self._version.kind} with a byte range",
                remedy='set mrcdist.consistency to "size" on the workers to read without it, or '
                'prefix the URL with "simplecache::"',
            )


def check_range(
    content_range: str | None, start: int, size: int | None, location: Location, version: Version
) -> int | None:
    """Compare a Content-Range header with the request; return the total size of the file, if known.

    The header is missing if a store ignores Range. `size` is the number of bytes requested, all of
    which must exist, or None for up to the end of the file. `version` is the planned one.
    """
    if not content_range:
        if start == 0 and size is None:
            return None  # the whole file
        raise ranges_ignored(location, "its response to a range request has no Content-Range")
    span, _, total = content_range.removeprefix("bytes ").partition("/")
    known = int(total) if total.isdigit() else None
    if known is not None and (known < start + (size or 0) or version.size not in (None, known)):
        raise changed(location, version, f"{total} bytes")
    requested = f"{start}-" if size is None else f"{start}-{start + size - 1}"
    if not span.startswith(requested) or (size is not None and span != requested):
        raise Transient(f"bytes {requested} were requested, but {content_range!r} was sent")
    return known


def ranges_ignored(location: Location, cause: str) -> ReadError:
    """Return the error for a store that does not send the requested range."""
    return ReadError(
        f"{location.shown}: the store ignores Range and sends the whole file",
        code="ranges-unsupported",
        cause=cause,
        remedy='prefix the URL with "simplecache::" to fetch the whole file once per worker, or '
        "use a store or gateway that supports byte ranges",
    )
