"""HTTP(S) through fsspec's session, pinned by If-Match or the answer's validators."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from fsspec.implementations.http import HTTPFileSystem

from mrcdist.errors import ReadError
from mrcdist.read_limits import DEFAULT_LIMITS
from mrcdist.storage.location import Location, require_version
from mrcdist.storage.scatter_buffer import ScatterBuffer
from mrcdist.storage.store_errors import answer_error
from mrcdist.storage.transport.protocol import Answer, PinnedTransport, check_range, ranges_ignored
from mrcdist.storage.version import UNKNOWN, Version, remote_version

_WHOLE = "it answered 200 to a request for a part"


class HttpTransport(PinnedTransport):
    """HTTP(S) through fsspec's session, pinned by If-Match or the answer's validators."""

    has_folders = False

    def __init__(self, fs: HTTPFileSystem, path: str, location: Location, version: Version) -> None:
        super().__init__(fs, location, version)
        self._url = fs.encode_url(path)

    async def _read(self, start: int, size: int) -> Answer:
        async with self._asked(start, size) as answer:
            if answer.status == 416 and self._version.size is None:
                return Answer(b"")
            self._require_ok(answer)
            raw = bytearray()
            async for piece in answer.content.iter_chunked(DEFAULT_LIMITS.socket_piece):
                raw += piece
                if len(raw) > size:
                    break
            if len(raw) > size or (answer.status == 200 and start > 0):
                raise ranges_ignored(self._location, _WHOLE)
        headers = answer.headers
        pinned = self._validator is None or self._validator in headers
        total = None
        # Of what was compressed on the way nevertheless, the server counts other bytes.
        if headers.get("Content-Encoding", "identity") == "identity":
            if answer.status == 206:
                found = headers.get("Content-Range")
                total = check_range(found, start, None, self._location, self._version)
            elif "Content-Length" in headers:
                total = len(raw)
        told = {key: headers.get(key) for key in ("ETag", "Last-Modified")}
        version = UNKNOWN if total is None else remote_version({**told, "size": total})
        settled = version.is_settled(headers.get("Date"), headers.get("Age"))
        return Answer(bytes(raw), version, pinned, settled)

    async def get(self, start: int, into: ScatterBuffer, alive: Callable[[], None]) -> None:
        """Fill `into` from byte `start` on, with the planned version's bytes."""
        async with self._asked(start, into.size) as answer:
            self._require_ok(answer)
            whole = start == 0 and into.size == self._version.size
            if answer.status == 200 and not whole:
                raise ranges_ignored(self._location, _WHOLE)
            self._require_version(answer.headers)
            if answer.status != 200:  # else it is the file, all of which was asked for
                found = answer.headers.get("Content-Range")
                check_range(found, start, into.size, self._location, self._version)
            into.restart()
            async for piece, _ in answer.content.iter_chunks():  # joins none of them
                into.store(piece)
                alive()
            into.require_all()

    @asynccontextmanager
    async def _asked(self, start: int, size: int) -> AsyncIterator[Any]:
        """Ask for a range of the version: of the bytes as they are, not compressed on the way."""
        session = await self.filesystem.set_session()
        options = dict(self.filesystem.kwargs)
        headers = {
            **options.pop("headers", {}),
            "Range": f"bytes={start}-{start + size - 1}",
            "Accept-Encoding": "identity",
        }
        if self._version.kind == "etag" and not self._version.value.startswith("W/"):
            headers["If-Match"] = self._version.value
        async with session.get(self._url, headers=headers, **options) as answer:
            yield answer

    def _require_ok(self, answer: Any) -> None:
        if answer.status >= 400:
            raise answer_error(answer.status, "", self._location.shown)
        found = answer.headers.get(self._validator) if self._validator else None
        if found is not None:
            require_version(self._location, self._version, replace(self._version, value=found))

    @property
    def _validator(self) -> str | None:
        """The header that tells the planned version."""
        return {"etag": "ETag", "modified": "Last-Modified"}.get(self._version.kind)

    def _require_version(self, headers: Mapping[str, str]) -> None:
        if self._validator and self._validator not in headers:
            raise ReadError(
                f"{self._location.shown}: a response does not identify the version of the file",
                code="version-unknown",
                cause=f"the server sends {self._validator} {self._version.value} for the whole "
                "file, but none with a byte range",
                remedy='set mrcdist.consistency to "size" on the workers to read without it, or '
                'prefix the URL with "simplecache::"',
            )
