"""Transport for any other fsspec filesystem; the version is checked around each block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fsspec.asyn import AsyncFileSystem, get_loop

from mrcdist.errors import MrcdistError
from mrcdist.storage.layers import is_whole_file_cache, verify_once
from mrcdist.storage.location import Location, require_version
from mrcdist.storage.retry import as_transient
from mrcdist.storage.scatter_buffer import ScatterBuffer
from mrcdist.storage.store_errors import is_past_end
from mrcdist.storage.transport.protocol import Response, Transport, ranges_ignored
from mrcdist.storage.version import Version


class FsspecTransport(Transport):
    """Transport for any other filesystem; the version is checked around each block.

    Asynchronous filesystems (``gs://``, ``abfs://``, …) get several requests at a time.
    """

    pinned = False

    def __init__(
        self, fs: Any, path: str, location: Location, version: Version, consistency: str
    ) -> None:
        # Wrappers over another filesystem claim its ``async_impl``.
        self.parallel = (
            isinstance(fs, AsyncFileSystem)
            and bool(fs.async_impl)
            and not fs.asynchronous
            and getattr(fs, "fs", None) is None
        )
        super().__init__(fs, location, version, None if self.parallel else get_loop())
        self._path = path
        self._consistency = consistency
        self._nbytes = 0

    def check(self) -> None:
        """Raise `FileChangedError` if the file now has a different version.

        Also raises if bytes were read from a damaged archive.
        """
        self._check_version()
        if self._nbytes:
            member = self._location.identity, self._version
            self._location.retried(
                lambda: verify_once(self.filesystem, self._path, member, self._nbytes)
            )

    def _check_version(self) -> None:
        if self._consistency == "off" or self._version.kind == "copy":  # checked when copied
            return
        actual = self._location.find_version()
        require_version(self._location, self._version, actual, self._consistency)
        self.filesystem, self._path = self._location.filesystem()  # an archive may be reopened

    def read(self, start: int, size: int) -> Response:
        """Read `size` bytes from byte `start` on, or up to the end of the file."""
        try:
            raw: bytes = self.filesystem.cat_file(self._path, start=start, end=start + size)
        except Exception as error:
            if is_past_end(error) and self._version.size is None:
                return Response(b"", pinned=False)
            raise
        # A server that ignores Range sends everything, from byte 0.
        raw = raw if len(raw) <= size else raw[start : start + size]
        return Response(raw, pinned=False)

    async def get(self, start: int, into: ScatterBuffer, alive: Callable[[], None]) -> None:
        """Fill `into` with bytes of the planned version from byte `start` on."""
        try:
            stop = start + into.size
            raw: bytes = (
                await self.filesystem._cat_file(self._path, start=start, end=stop)
                if self.parallel
                else await asyncio.to_thread(self._read_range, start, stop)
            )
        except Exception as error:
            if not isinstance(error, MrcdistError) and not as_transient(error):
                await asyncio.to_thread(self._check_version)  # a replaced file may look damaged
            raise
        if len(raw) < into.size:
            await asyncio.to_thread(self._check_version)  # the file may be shorter now
        if len(raw) > into.size:
            cause = f"it sent {len(raw)} bytes for a range of {into.size}"
            raise ranges_ignored(self._location, cause)
        into.restart()
        into.store(raw)
        into.require_all()
        self._nbytes += into.size

    def _read_range(self, start: int, stop: int) -> bytes:
        required = self._version if self._consistency == "strict" else None
        if is_whole_file_cache(self.filesystem) and (copy := self._location.local_copy(required)):
            with copy.open("rb") as file:
                file.seek(start)
                return file.read(stop - start)
        raw: bytes = self.filesystem.cat_file(self._path, start=start, end=stop)
        return raw
