"""One GET of one byte range of the planned version, from each kind of store."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from aiohttp import ClientTimeout
from botocore.exceptions import ClientError
from fsspec.asyn import get_loop
from fsspec.implementations.http import HTTPFileSystem
from s3fs import S3FileSystem

from mrcdist.errors import FileChangedError, ReadError
from mrcdist.read.failures import Transient, explain_status
from mrcdist.read.location import Identity, Location

__all__ = ["Transport", "open_transport"]

Bytes = npt.NDArray[np.uint8]

# Bytes copied at a time from the connection to the array: what a request holds beside its result.
_PIECE = 2**18


class Transport(Protocol):
    """Fetches byte ranges of one file, one attempt at a time.

    `get` raises `Transient` for what may pass and an `MrcdistError` for what will not.
    """

    loop: asyncio.AbstractEventLoop
    parallel: bool
    """Whether several ranges may be fetched at a time."""

    async def get(self, start: int, into: Bytes) -> None:
        """Fill `into` from byte `start` on, with the planned version's bytes."""

    async def check(self) -> None:
        """Raise `FileChangedError` unless `get` itself makes sure of the version."""


def open_transport(location: Location, identity: Identity) -> Transport:
    """Choose the transport for a remote file by its filesystem's type."""
    fs, path = location.filesystem()
    # By type: caching wrappers claim async_impl and are not.
    if isinstance(fs, S3FileSystem):
        return _S3(fs, path, location, identity)
    if isinstance(fs, HTTPFileSystem):
        return _Http(fs, path, location, identity)
    return _Fsspec(fs, path, location, identity)


def changed(location: Location, planned: Identity, found: object) -> FileChangedError:
    """Build the error for a file that is not the planned one."""
    return FileChangedError(
        f"{location.shown} changed since it was planned: it had {planned}, it has {found}",
        cause="the file was written to, replaced or truncated while tasks were to read it",
        remedy="call read_mrc again to plan for the file as it is now",
    )


class _S3:
    """S3 through s3fs's client, pinned by VersionId or If-Match."""

    parallel = True

    def __init__(self, fs: S3FileSystem, path: str, location: Location, identity: Identity) -> None:
        self.loop = fs.loop
        self._fs = fs
        self._location = location
        self._identity = identity
        bucket, key, version = fs.split_path(path)
        self._bucket = bucket
        self._request = {"Bucket": bucket, "Key": key}
        if identity.kind == "version_id" or version:
            self._request["VersionId"] = version or identity.version
        elif identity.kind == "etag":
            self._request["IfMatch"] = identity.version

    async def check(self) -> None:
        """S3 checks the version with each GET."""

    async def get(self, start: int, into: Bytes) -> None:
        await self._fs.set_session()
        client = await self._fs.get_s3(self._bucket)
        request = {**self._request, "Range": f"bytes={start}-{start + into.size - 1}"}
        extra = self._fs._filter_kwargs(
            client.get_object, {**self._fs.s3_additional_kwargs, **self._fs.req_kw, **request}
        )
        try:
            response = await client.get_object(**extra)
        except ClientError as error:
            raise _explain_s3(error, self._location) from None
        body = response["Body"]
        try:
            _check_range(
                response.get("ContentRange"), start, into.size, self._location, self._identity
            )
            filled = 0
            while piece := await body.read(_PIECE):
                filled = _store(piece, into, filled)
            _require_all(filled, into.size)
        finally:
            body.close()


class _Http:
    """HTTP(S) through fsspec's session, pinned by If-Match or the answer's validators."""

    parallel = True

    def __init__(
        self, fs: HTTPFileSystem, path: str, location: Location, identity: Identity
    ) -> None:
        self.loop = fs.loop
        self._fs = fs
        self._url = fs.encode_url(path)
        self._location = location
        self._identity = identity

    async def check(self) -> None:
        """Each answer carries what tells versions apart."""

    async def get(self, start: int, into: Bytes) -> None:
        session = await self._fs.set_session()
        options = dict(self._fs.kwargs)
        headers = {
            **options.pop("headers", {}),
            "Range": f"bytes={start}-{start + into.size - 1}",
            "Accept-Encoding": "identity",
        }
        if self._identity.kind == "etag" and not self._identity.version.startswith("W/"):
            headers["If-Match"] = self._identity.version
        # The retry loop has its own clock; aiohttp's total of five minutes would cut slow links.
        options.setdefault("timeout", ClientTimeout(total=None, sock_connect=30))
        async with session.get(self._url, headers=headers, **options) as answer:
            if answer.status >= 400:
                raise explain_status(answer.status, "", self._location.shown)
            self._check_version(answer.headers)
            if answer.status == 200:
                raise ReadError(
                    f"{self._location.shown}: the server ignores Range and sends the whole file",
                    cause="it answered 200 to a request for a part",
                    remedy='prefix the URL with "simplecache::" to fetch the whole file once a '
                    "worker, "
                    "or serve it from a server that knows ranges",
                )
            _check_range(
                answer.headers.get("Content-Range"),
                start,
                into.size,
                self._location,
                self._identity,
            )
            filled = 0
            async for piece in answer.content.iter_chunked(_PIECE):
                filled = _store(piece, into, filled)
            _require_all(filled, into.size)

    def _check_version(self, headers: Any) -> None:
        name = {"etag": "ETag", "modified": "Last-Modified"}.get(self._identity.kind)
        found = headers.get(name) if name else None
        if found is not None and found != self._identity.version:
            raise changed(self._location, self._identity, f"{name} {found}")


class _Fsspec:
    """Any other filesystem, one request at a time; the version is checked around each block."""

    parallel = False

    def __init__(self, fs: Any, path: str, location: Location, identity: Identity) -> None:
        self.loop = get_loop()
        self._fs = fs
        self._path = path
        self._location = location
        self._identity = identity

    async def check(self) -> None:
        found = await asyncio.to_thread(self._location.identify)
        if found != self._identity:
            raise changed(self._location, self._identity, found)

    async def get(self, start: int, into: Bytes) -> None:
        raw = await asyncio.to_thread(
            self._fs.cat_file, self._path, start=start, end=start + into.size
        )
        if len(raw) > into.size:
            raise ReadError(
                f"{self._location.shown}: {len(raw)} bytes came for a range of {into.size}",
                cause="this store or cache ignores byte ranges",
                remedy='prefix the URL with "simplecache::" to fetch the whole file once a worker',
            )
        _require_all(_store(raw, into, 0), into.size)


def _explain_s3(error: ClientError, location: Location) -> BaseException:
    answer: dict[str, Any] = error.response
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    detail = answer.get("Error", {})
    return explain_status(
        status,
        str(detail.get("Code", "")),
        location.shown,
        location.scrub(str(detail.get("Message", ""))),
    )


def _store(piece: bytes, into: Bytes, filled: int) -> int:
    """Copy a piece behind what is filled already; return how much is filled then."""
    end = filled + len(piece)
    if end > into.size:
        raise Transient(f"more than the {into.size} bytes asked for were sent")
    into[filled:end] = np.frombuffer(piece, np.uint8)
    return end


def _require_all(filled: int, wanted: int) -> None:
    if filled != wanted:
        raise Transient(f"the answer ended after {filled} of {wanted} bytes")


def _check_range(
    found: str | None, start: int, size: int, location: Location, identity: Identity
) -> None:
    """Compare Content-Range with what was asked for; a store that ignores Range sends none."""
    if not found:
        raise ReadError(
            f"{location.shown}: the store ignores Range and sends the whole object",
            cause="its answer to a request for a part has no Content-Range",
            remedy="use a store or gateway that serves byte ranges",
        )
    span, _, total = found.removeprefix("bytes ").partition("/")
    if identity.size is not None and total.isdigit() and int(total) != identity.size:
        raise changed(location, identity, f"{total} bytes")
    if span != f"{start}-{start + size - 1}":
        raise Transient(f"bytes {start}-{start + size - 1} were asked for and {found} were sent")
