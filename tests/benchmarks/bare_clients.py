"""Clients that fetch byte ranges and do nothing else, to measure mrcdist's reading against."""

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
    """Fetches a range in sub-ranges, as many at a time and as long as mrcdist's.

    Subclasses fetch one sub-range.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def fetch(self, start: int, stop: int, *, copied: bool = True) -> Bytes:
        """Fetch a range: copied to one array as bytes come, or each answer read, and all joined."""
        settings = read_settings()
        spans = [
            (at, min(at + settings.sub_range, stop))
            for at in range(start, stop, settings.sub_range)
        ]
        whole = np.empty(stop - start if copied else 0, np.uint8)
        slots = asyncio.Semaphore(settings.concurrency)

        async def one(first: int, last: int) -> bytes:
            async with slots:
                into = whole[first - start : last - start] if copied else None
                return await self.fetch_one(first, last, into)

        async def fetch_all() -> list[bytes]:
            return await asyncio.gather(*(one(*span) for span in spans))

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
    """aiohttp and nothing else."""

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
        wanted = {"Range": f"bytes={start}-{stop - 1}"}
        async with self._session.get(self._url, headers=wanted) as answer:
            assert answer.status == 206, answer.status
            if into is None:
                return await answer.read()
            at = 0
            async for piece in answer.content.iter_any():
                into[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
                at += len(piece)
            assert at == into.size
            return b""


class ObstoreClient(Client):
    """obstore, a client in Rust, pinned to one version by If-Match as mrcdist is."""

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
        wanted = {"range": (start, stop), "if_match": self._etag}
        answer = await self._store.get_async(self._name, options=wanted)
        raw = await answer.bytes_async()
        if into is None:
            return bytes(raw)
        into[:] = np.frombuffer(raw, np.uint8)
        return b""
