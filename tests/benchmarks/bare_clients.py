"""Clients that only fetch byte ranges, for comparison with mrcdist."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np

from mrcdist.config import read_settings

__all__ = ["AiohttpClient", "Client", "ObstoreClient"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Client:
    """Fetches a range in sub-ranges, with the same length and concurrency as mrcdist.

    Subclasses fetch a sub-range.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def fetch(self, start: int, stop: int, *, copied: bool = True) -> Bytes:
        """Fetch a range: copy bytes to an array as they arrive, or read responses and join them."""
        settings = read_settings()
        sub_ranges = [
            (first, min(first + settings.sub_range, stop))
            for first in range(start, stop, settings.sub_range)
        ]
        whole = np.empty(stop - start if copied else 0, np.uint8)
        slots = asyncio.Semaphore(settings.concurrency)

        async def fetch_in_slot(first: int, last: int) -> bytes:
            async with slots:
                into = whole[first - start : last - start] if copied else None
                return await self.fetch_one(first, last, into)

        async def fetch_all() -> list[bytes]:
            return await asyncio.gather(*(fetch_in_slot(*sub_range) for sub_range in sub_ranges))

        pieces = self.run(fetch_all)
        return whole if copied else np.frombuffer(b"".join(pieces), np.uint8)

    async def fetch_one(self, start: int, stop: int, into: Bytes | None) -> bytes:
        """Fetch one sub-range into an array, or return it."""
        raise NotImplementedError

    def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return self._loop.run_until_complete(work())

    def close(self) -> None:
        self._loop.close()


class AiohttpClient(Client):
    """Plain aiohttp."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._session = self.run(self._open)

    async def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=read_settings().concurrency)
        return aiohttp.ClientSession(connector=connector, auto_decompress=False)

    def close(self) -> None:
        self.run(self._session.close)
        super().close()

    async def fetch_one(self, start: int, stop: int, into: Bytes | None) -> bytes:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        async with self._session.get(self._url, headers=headers) as response:
            assert response.status == 206, response.status
            if into is None:
                return await response.read()
            offset = 0
            async for piece in response.content.iter_any():
                into[offset : offset + len(piece)] = np.frombuffer(piece, np.uint8)
                offset += len(piece)
            assert offset == into.size
            return b""


class ObstoreClient(Client):
    """obstore, a client written in Rust, pinned to one version with If-Match like mrcdist."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        from obstore.store import HTTPStore, S3Store

        super().__init__()
        plain = {"client_options": {"allow_http": True}}
        if url.startswith("s3:"):
            self._store = S3Store(
                urlsplit(url).netloc,
                endpoint=options["client_kwargs"]["endpoint_url"],
                access_key_id=options["key"],
                secret_access_key=options["secret"],
                region="us-east-1",
                virtual_hosted_style_request=False,
                **plain,
            )
        else:
            self._store = HTTPStore.from_url(url.rpartition("/")[0], **plain)
        self._name = url.rpartition("/")[2]
        self._etag = self._store.head(self._name)["e_tag"]

    async def fetch_one(self, start: int, stop: int, into: Bytes | None) -> bytes:
        options = {"range": (start, stop), "if_match": self._etag}
        response = await self._store.get_async(self._name, options=options)
        raw = await response.bytes_async()
        if into is None:
            return bytes(raw)
        into[:] = np.frombuffer(raw, np.uint8)
        return b""
