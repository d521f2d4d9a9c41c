"""One GET of one byte range of the planned version, from each kind of store."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from botocore.exceptions import ClientError
from fsspec.asyn import get_loop
from fsspec.implementations.http import HTTPFileSystem
from s3fs import S3FileSystem

from mrcdist.errors import AccessDeniedError, ReadError
from mrcdist.storage.http import range_headers, ranges_ignored
from mrcdist.storage.location import Location, changed
from mrcdist.storage.scatter import Target
from mrcdist.storage.throughput import Pace, pace_of
from mrcdist.storage.translate import Transient, explain_status, is_transient
from mrcdist.storage.version import Identity
from mrcdist.storage.whole_file_cache import is_whole_file_cache

__all__ = ["Transport", "open_transport"]

Bytes = npt.NDArray[np.uint8]

# Bytes copied at a time from the connection to the array: what a request holds beside its result.
_PIECE = 2**18


class Transport(Protocol):
    """Fetches byte ranges of one file, one attempt at a time.

    `get` raises `Transient` for what may pass and an `MrcdistError` for what will not.
    """

    filesystem: Any
    """What it goes through; its requests share a pool of connections."""
    loop: asyncio.AbstractEventLoop
    parallel: bool
    """Whether several ranges may be fetched at a time."""
    pinned: bool
    """Whether `get` gives the planned version or none; else `check` before and after."""
    connections: float
    """Requests that can be under way at a time; others would wait for a connection."""
    pace: Pace

    async def get(self, start: int, into: Target, alive: Callable[[], None]) -> None:
        """Fill `into` from byte `start` on, with the planned version's bytes.

        `alive` is called whenever some of them have come, and puts off the end of the attempt.
        """

    def check(self) -> None:
        """Raise `FileChangedError` if there is another version by now."""


def open_transport(location: Location, identity: Identity, consistency: str) -> Transport:
    """Choose the transport for a remote file by its filesystem's type."""
    fs, path = location.filesystem()
    # By type: caching wrappers claim async_impl and are not.
    if isinstance(fs, S3FileSystem):
        return _S3(fs, path, location, identity.required(consistency))
    if isinstance(fs, HTTPFileSystem):
        return _Http(fs, path, location, identity.required(consistency))
    return _Fsspec(fs, path, location, identity, consistency)


class _S3:
    """S3 through s3fs's client, pinned by VersionId or If-Match."""

    parallel = True
    pinned = True

    def __init__(self, fs: S3FileSystem, path: str, location: Location, identity: Identity) -> None:
        self.loop = fs.loop
        self.pace = pace_of(fs)
        # 0 and None: as many as one likes.
        self.connections = fs.config_kwargs.get("max_pool_connections", 10) or math.inf
        self.filesystem = fs
        self._location = location
        self._identity = identity
        bucket, key, version = fs.split_path(path)
        self._bucket = bucket
        self._request = {"Bucket": bucket, "Key": key}
        if identity.kind == "version_id" or version:
            self._request["VersionId"] = version or identity.version
        elif identity.kind == "etag":
            self._request["IfMatch"] = identity.version

    def check(self) -> None:
        """Each request is for the planned version."""

    async def get(self, start: int, into: Target, alive: Callable[[], None]) -> None:
        fs = self.filesystem
        await fs.set_session()
        client = await fs.get_s3(self._bucket)
        request = {**self._request, "Range": f"bytes={start}-{start + into.size - 1}"}
        extra = fs._filter_kwargs(
            client.get_object, {**fs.s3_additional_kwargs, **fs.req_kw, **request}
        )
        try:
            response = await client.get_object(**extra)
        except ClientError as error:
            raise self._explained(error) from None
        body = response["Body"]
        try:
            _check_range(
                response.get("ContentRange"), start, into.size, self._location, self._identity
            )
            into.restart()
            while piece := await body.read(_PIECE):
                into.store(piece)
                alive()
            into.require_all()
        finally:
            body.close()

    def _explained(self, error: ClientError) -> BaseException:
        answer: dict[str, Any] = error.response
        detail = answer.get("Error", {})
        explained = explain_status(
            int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
            str(detail.get("Code", "")),
            self._location.shown,
            self._location.scrub(str(detail.get("Message") or "")),
        )
        if isinstance(explained, AccessDeniedError) and "VersionId" in self._request:
            explained = AccessDeniedError(
                explained.problem,
                cause=explained.cause,
                remedy=f"{explained.remedy}; the bucket is versioned, and reading one version "
                "takes s3:GetObjectVersion",
            )
        return explained


class _Http:
    """HTTP(S) through fsspec's session, pinned by If-Match or the answer's validators."""

    parallel = True
    pinned = True
    connections = math.inf

    def __init__(
        self, fs: HTTPFileSystem, path: str, location: Location, identity: Identity
    ) -> None:
        self.loop = fs.loop
        self.pace = pace_of(fs)
        self.filesystem = fs
        self._url = fs.encode_url(path)
        self._location = location
        self._identity = identity

    def check(self) -> None:
        """Each answer says which version it is of."""

    async def get(self, start: int, into: Target, alive: Callable[[], None]) -> None:
        session = await self.filesystem.set_session()
        options = dict(self.filesystem.kwargs)
        headers = {**options.pop("headers", {}), **range_headers(start, into.size)}
        if self._identity.kind == "etag" and not self._identity.version.startswith("W/"):
            headers["If-Match"] = self._identity.version
        async with session.get(self._url, headers=headers, **options) as answer:
            if answer.status >= 400:
                raise explain_status(answer.status, "", self._location.shown)
            self._check_version(answer.headers)
            if answer.status == 200:
                raise ranges_ignored(self._location.shown)
            self._require_version(answer.headers)
            _check_range(
                answer.headers.get("Content-Range"),
                start,
                into.size,
                self._location,
                self._identity,
            )
            into.restart()
            async for piece in answer.content.iter_chunked(_PIECE):
                into.store(piece)
                alive()
            into.require_all()

    @property
    def _validator(self) -> str | None:
        """The header that tells the planned version."""
        return {"etag": "ETag", "modified": "Last-Modified"}.get(self._identity.kind)

    def _check_version(self, headers: Any) -> None:
        found = headers.get(self._validator) if self._validator else None
        if found is not None and found != self._identity.version:
            raise changed(self._location, self._identity, f"{self._validator} {found}")

    def _require_version(self, headers: Any) -> None:
        if self._validator and self._validator not in headers:
            raise ReadError(
                f"{self._location.shown}: an answer does not say which version it is of",
                cause=f"the server told {self._validator} {self._identity.version} of the whole "
                "file, and none with a part of it",
                remedy='set mrcdist.consistency to "size" on the workers to read without it, or '
                'prefix the URL with "simplecache::"',
            )


class _Fsspec:
    """Any other filesystem, one request at a time; the version is checked around each block."""

    parallel = False
    pinned = False
    connections = math.inf

    def __init__(
        self, fs: Any, path: str, location: Location, identity: Identity, consistency: str
    ) -> None:
        self.loop = get_loop()
        self.pace = pace_of(fs)
        self.filesystem = fs
        self._path = path
        self._location = location
        self._identity = identity
        self._consistency = consistency

    def check(self) -> None:
        if self._consistency == "off":
            return
        found = self._location.identify()
        if found.required(self._consistency) != self._identity.required(self._consistency):
            raise changed(self._location, self._identity, found)
        self.filesystem, self._path = self._location.filesystem()  # an archive may be opened anew

    async def get(self, start: int, into: Target, alive: Callable[[], None]) -> None:
        raw = await asyncio.to_thread(self._read, start, into.size)
        if len(raw) > into.size:
            raise ReadError(
                f"{self._location.shown}: {len(raw)} bytes came for a range of {into.size}",
                cause="this store or cache ignores byte ranges",
                remedy='prefix the URL with "simplecache::" to fetch the whole file once a worker',
            )
        into.restart()
        into.store(raw)
        into.require_all()

    def _read(self, start: int, size: int) -> bytes:
        copy = None
        if is_whole_file_cache(self.filesystem):
            strict = self._consistency == "strict"
            copy = self._location.local_copy(self._identity if strict else self._location.identify)
        if copy is None:
            try:
                raw: bytes = self.filesystem.cat_file(self._path, start=start, end=start + size)
            except Exception as error:
                if not is_transient(error):
                    self.check()  # what was replaced may look damaged
                raise
            return raw
        with copy.open("rb") as file:
            file.seek(start)
            return file.read(size)


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
    known = int(total) if total.isdigit() else None
    if known is not None and (known < start + size or identity.size not in (None, known)):
        raise changed(location, identity, f"{total} bytes")
    if span != f"{start}-{start + size - 1}":
        raise Transient(f"bytes {start}-{start + size - 1} were asked for and {found} were sent")
