"""Transport for S3, through the client of s3fs."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiobotocore.response import StreamingBody
from botocore.exceptions import ClientError
from s3fs import S3FileSystem

from mrcdist.errors import AccessDeniedError
from mrcdist.storage.location import Location
from mrcdist.storage.retry import http_status
from mrcdist.storage.scatter_buffer import ScatterBuffer
from mrcdist.storage.store_errors import is_past_end, response_error
from mrcdist.storage.transport.protocol import PinnedTransport, Response, check_range
from mrcdist.storage.version import UNKNOWN, Version, remote_version


def connection_limit(fs: S3FileSystem) -> float:
    """Return the size of the connection pool of a filesystem; 0 and None mean unlimited."""
    limit: float = fs.config_kwargs.get("max_pool_connections", 10) or math.inf
    return limit


class S3Transport(PinnedTransport):
    """Transport for S3, pinned by VersionId or If-Match, and by the version in each response."""

    def __init__(self, fs: S3FileSystem, path: str, location: Location, version: Version) -> None:
        super().__init__(fs, location, version)
        self.connections = connection_limit(fs)
        bucket, key, version_id = fs.split_path(path)
        self._bucket = bucket
        condition = {"VersionId": version_id} if version_id else version.s3_condition
        self._object = {"Bucket": bucket, "Key": key, **condition}

    async def _read(self, start: int, size: int) -> Response:
        if not self._object["Key"]:
            raise FileNotFoundError(self._bucket)  # the URL is that of a bucket
        raw = bytearray()
        try:
            async with self._request(start, size) as response:
                pinned = self._identifies_version(response)
                # If a store ignores Range, the rest is not read.
                while len(raw) < size and (piece := await response["Body"].read(size - len(raw))):
                    raw += piece
                if len(raw) == size:
                    await response["Body"].read(1)  # a checksum is verified at the end
        except ClientError as error:
            if is_past_end(error) and self._version.size is None:
                return Response(b"")
            raise self._explained(error) from None
        content_range = response.get("ContentRange")
        total = check_range(content_range, start, None, self._location, self._version)
        version = UNKNOWN if total is None else remote_version({**response, "size": total})
        return Response(bytes(raw), version, pinned)

    async def connect(self) -> None:
        """Create the client, if necessary: it parses large files, and may fetch credentials."""
        await self.filesystem.set_session()

    async def get(self, start: int, into: ScatterBuffer, alive: Callable[[], None]) -> None:
        """Fill `into` with bytes of the planned version from byte `start` on."""
        try:
            async with self._request(start, into.size) as response:
                self._require_version(response)
                content_range = response.get("ContentRange")
                check_range(content_range, start, into.size, self._location, self._version)
                into.restart()
                async for piece in _pieces(response["Body"], into.size):
                    into.store(piece)
                    alive()
                into.require_all()
        except ClientError as error:
            raise self._explained(error) from None

    @asynccontextmanager
    async def _request(self, start: int, size: int) -> AsyncIterator[dict[str, Any]]:
        """Request a range of the version; the response is closed at the end of the block."""
        fs = self.filesystem
        await fs.set_session()
        client = await fs.get_s3(self._bucket)
        span = f"bytes={start}-{start + size - 1}"
        # With the arguments of s3fs: requester pays, the key of an encrypted object, and others.
        arguments = fs._get_s3_method_kwargs(
            client.get_object, fs.req_kw, **self._object, Range=span
        )
        response = await client.get_object(**arguments)
        try:
            yield response
        finally:
            response["Body"].close()

    def _explained(self, error: ClientError) -> BaseException:
        status, code = http_status(error) or (0, "")
        message = self._location.scrub(str(error.response.get("Error", {}).get("Message") or ""))
        explained = response_error(status, code, self._location.shown, message)
        if isinstance(explained, AccessDeniedError) and "VersionId" in self._object:
            return explained.remedied(
                f"{explained.remedy}; the bucket is versioned, and reading one version requires "
                "s3:GetObjectVersion"
            )
        return explained


async def _pieces(body: Any, size: int) -> AsyncIterator[bytes]:
    """Yield the pieces of a response of `size` bytes as they are received.

    Bodies with a checksum, which are subclasses of `StreamingBody`, verify it in `read`, which
    returns what has been received.
    """
    if type(body) is StreamingBody:
        async for piece, _ in getattr(body, "raw_stream", body).content.iter_chunks():
            yield piece
    else:
        while piece := await body.read(size):
            yield piece
