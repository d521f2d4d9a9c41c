"""S3 through s3fs's client, pinned by VersionId or If-Match."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiobotocore.response import StreamingBody
from botocore.exceptions import ClientError
from s3fs import S3FileSystem

from mrcdist.errors import AccessDeniedError
from mrcdist.read_limits import DEFAULT_LIMITS
from mrcdist.storage.location import Location
from mrcdist.storage.scatter_buffer import ScatterBuffer
from mrcdist.storage.store_errors import answer_error, is_past_end
from mrcdist.storage.transport.protocol import Answer, PinnedTransport, check_range
from mrcdist.storage.version import UNKNOWN, Version, remote_version


def connection_limit(fs: S3FileSystem) -> float:
    """Return how many connections a client with a filesystem's options may have at a time.

    0 and None are as many as one likes.
    """
    limit: float = fs.config_kwargs.get("max_pool_connections", 10) or math.inf
    return limit


class S3Transport(PinnedTransport):
    """S3 through s3fs's client, pinned by VersionId or If-Match."""

    def __init__(self, fs: S3FileSystem, path: str, location: Location, version: Version) -> None:
        super().__init__(fs, location, version)
        self.connections = connection_limit(fs)
        bucket, key, named = fs.split_path(path)
        self._bucket = bucket
        self._request = {"Bucket": bucket, "Key": key}
        if version.kind == "version_id" or named:
            self._request["VersionId"] = named or version.value
        elif version.kind == "etag":
            self._request["IfMatch"] = version.value

    async def _read(self, start: int, size: int) -> Answer:
        if not self._request["Key"]:
            raise FileNotFoundError(self._bucket)  # the URL of a bucket
        raw = bytearray()
        try:
            async with self._asked(start, size) as response:
                # What a store sends beyond that, ignoring Range, stays with it.
                while len(raw) < size and (piece := await response["Body"].read(size - len(raw))):
                    raw += piece
                if len(raw) == size:
                    await response["Body"].read(1)  # at its end, a checksum is compared
        except ClientError as error:
            if is_past_end(error) and self._version.size is None:
                return Answer(b"")
            raise self._explained(error) from None
        told = response.get("ContentRange")
        total = check_range(told, start, None, self._location, self._version)
        version = UNKNOWN if total is None else remote_version({**response, "size": total})
        return Answer(bytes(raw), version)

    async def get(self, start: int, into: ScatterBuffer, alive: Callable[[], None]) -> None:
        """Fill `into` from byte `start` on, with the planned version's bytes."""
        try:
            async with self._asked(start, into.size) as response:
                found = response.get("ContentRange")
                check_range(found, start, into.size, self._location, self._version)
                into.restart()
                async for piece in _pieces(response["Body"]):
                    into.store(piece)
                    alive()
                into.require_all()
        except ClientError as error:
            raise self._explained(error) from None

    @asynccontextmanager
    async def _asked(self, start: int, size: int) -> AsyncIterator[dict[str, Any]]:
        """Ask for a range of the version; its answer, closed at the end of the block."""
        fs = self.filesystem
        await fs.set_session()
        client = await fs.get_s3(self._bucket)
        span = f"bytes={start}-{start + size - 1}"
        # As s3fs calls it: who pays, the key of an encrypted object, and what else was given once.
        request = fs._get_s3_method_kwargs(
            client.get_object, fs.req_kw, **self._request, Range=span
        )
        response = await client.get_object(**request)
        try:
            yield response
        finally:
            response["Body"].close()

    def _explained(self, error: ClientError) -> BaseException:
        answer: dict[str, Any] = error.response
        detail = answer.get("Error", {})
        explained = answer_error(
            int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
            str(detail.get("Code", "")),
            self._location.shown,
            self._location.scrub(str(detail.get("Message") or "")),
        )
        if isinstance(explained, AccessDeniedError) and "VersionId" in self._request:
            return explained.remedied(
                f"{explained.remedy}; the bucket is versioned, and reading one version requires "
                "s3:GetObjectVersion"
            )
        return explained


async def _pieces(body: Any) -> AsyncIterator[bytes]:
    """Yield the bytes of an answer, as they were received where they have no checksum.

    That joins none of them in between. A checksum is compared by the body's own `read`.
    """
    if type(body) is StreamingBody:  # those with a checksum are subclasses
        async for piece, _ in getattr(body, "raw_stream", body).content.iter_chunks():
            yield piece
    else:
        while piece := await body.read(DEFAULT_LIMITS.socket_piece):
            yield piece
