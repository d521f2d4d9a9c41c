"""A store with an asynchronous fsspec filesystem, like gcsfs or adlfs, that counts requests."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem

__all__ = ["AsyncStore", "async_store"]

PROTOCOL = "counted"


class AsyncStore(AsyncFileSystem):  # type: ignore[misc]
    """Filesystem that keeps files in memory and answers each request after a short delay.

    Attributes
    ----------
    files : dict of str to bytes
    requests : list of (str, int, int)
        Path, start and stop of every read.
    most_at_a_time : int
        Largest number of concurrent reads.
    """

    protocol = PROTOCOL
    cachable = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, int, int]] = []
        self.most_at_a_time = 0
        self._active = 0

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path not in self.files:
            raise FileNotFoundError(path)
        raw = self.files[path]
        etag = hashlib.sha256(raw).hexdigest()
        return {"name": path, "size": len(raw), "type": "file", "etag": etag}

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        below = self._strip_protocol(path).rstrip("/") + "/"
        names = [name for name in self.files if name.startswith(below)]
        return [await self._info(name) for name in names] if detail else names

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        path = self._strip_protocol(path)
        if path not in self.files:
            raise FileNotFoundError(path)
        whole = self.files[path]
        first, last = start or 0, len(whole) if end is None else end
        self.requests.append((path, first, last))
        self._active += 1
        self.most_at_a_time = max(self.most_at_a_time, self._active)
        try:
            await asyncio.sleep(0.02)  # long enough for other reads to start
            return whole[first:last]
        finally:
            self._active -= 1


@contextmanager
def async_store() -> Iterator[AsyncStore]:
    """Serve ``counted://`` URLs within this process; yield the store."""
    fsspec.register_implementation(PROTOCOL, AsyncStore, clobber=True)
    store: AsyncStore = fsspec.filesystem(PROTOCOL)
    store.files.clear()
    store.requests.clear()
    store.most_at_a_time = 0
    try:
        yield store
    finally:
        store.files.clear()
