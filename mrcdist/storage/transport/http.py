"""Transport for HTTP(S), through fsspec's session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fsspec.implementations.http import HTTPFileSystem

from mrcdist.storage.location import Location
from mrcdist.storage.scatter_buffer import ScatterBuffer
from mrcdist.storage.store_errors import response_error
from mrcdist.storage.transport.protocol import (
    PinnedTransport,
    Response,
    check_range,
    ranges_ignored,
)
from mrcdist.storage.version import UNKNOWN, Version, remote_version

_STATUS_200 = "its response to a range request has the status 200"


class HttpTransport(PinnedTransport):
    """Transport for HTTP(S), pinned by If-Match or the validators of the response."""

    has_folders = False

    def __init__(self, fs: HTTPFileSystem, path: str, location: Location, version: Version) -> None:
        super().__init__(fs, location, version)
        self._url = fs.encode_url(path)

    async def _read(self, start: int, size: int) -> Response:
        async with self._request(start, size) as response:
            if response.status == 416 and self._version.size is None:
                return Response(b"")
            self._require_ok(response)
            pinned = self._identifies_version(response.headers)
            raw = bytearray()
            async for piece, _ in response.content.iter_chunks():
                raw += piece
                if len(raw) > size:
                    break
            if len(raw) > size or (response.status == 200 and start > 0):
                raise ranges_ignored(self._location, _STATUS_200)
        headers = response.headers
        total = None
        # If the response is compressed in spite of the request, its size is not that of the file.
        if headers.get("Content-Encoding", "identity") == "identity":
            if response.status == 206:
                content_range = headers.get("Content-Range")
                total = check_range(content_range, start, None, self._location, self._version)
            elif "Content-Length" in headers:
                total = len(raw)
        validators = {key: headers.get(key) for key in ("ETag", "Last-Modified")}
        version = UNKNOWN if total is None else remote_version({**validators, "size": total})
        settled = version.is_settled(headers.get("Date"), headers.get("Age"))
        return Response(bytes(raw), version, pinned, settled)

    async def get(self, start: int, into: ScatterBuffer, alive: Callable[[], None]) -> None:
        """Fill `into` with bytes of the planned version from byte `start` on."""
        async with self._request(start, into.size) as response:
            self._require_ok(response)
            self._require_version(response.headers)
            whole = start == 0 and into.size == self._version.size
            if response.status == 200 and not whole:
                raise ranges_ignored(self._location, _STATUS_200)
            if response.status != 200:
                content_range = response.headers.get("Content-Range")
                check_range(content_range, start, into.size, self._location, self._version)
            into.restart()
            async for piece, _ in response.content.iter_chunks():  # without joining them
                into.store(piece)
                alive()
            into.require_all()

    @asynccontextmanager
    async def _request(self, start: int, size: int) -> AsyncIterator[Any]:
        """Request a range of the version, without compression in transit."""
        session = await self.filesystem.set_session()
        options = dict(self.filesystem.kwargs)
        headers = {
            **options.pop("headers", {}),
            "Range": f"bytes={start}-{start + size - 1}",
            "Accept-Encoding": "identity",
            **self._version.http_condition,
        }
        async with session.get(self._url, headers=headers, **options) as response:
            yield response

    def _require_ok(self, response: Any) -> None:
        if response.status >= 400:
            raise response_error(response.status, "", self._location.shown)
