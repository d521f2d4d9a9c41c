"""One GET of one byte range of the planned version, from each kind of store."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from botocore.exceptions import ClientError
from fsspec.asyn import get_loop, sync
from fsspec.implementations.http import HTTPFileSystem
from s3fs import S3FileSystem

from mrcdist.errors import AccessDeniedError, ReadError
from mrcdist.storage.location import Location, changed, require_version
from mrcdist.storage.redact import redact_record
from mrcdist.storage.scatter import Target
from mrcdist.storage.throughput import Pace, pace_of
from mrcdist.storage.translate import Transient, explain_status, is_past_end, is_transient
from mrcdist.storage.version import Identity, remote_identity
from mrcdist.storage.whole_file_cache import is_whole_file_cache

__all__ = ["Answer", "Transport", "open_transport"]

# These log URLs and headers as they are, with passwords, signatures and session tokens.
for _logger in ("fsspec.http", "botocore.auth", "botocore.endpoint"):
    logging.getLogger(_logger).addFilter(redact_record)

Bytes = npt.NDArray[np.uint8]

# Bytes copied at a time from the connection to the array: what a request holds beside its result.
_PIECE = 2**18


@dataclass(frozen=True)
class Answer:
    """The answer to one request for a byte range that may reach beyond the end of the file.

    Attributes
    ----------
    raw : bytes
    version : Identity or None
        Of the whole file, where the answer says how long the file is; its `kind` may be "".
    pinned : bool
        Whether the bytes are known to be of the wanted version.
    """

    raw: bytes
    version: Identity | None = None
    pinned: bool = True


class Transport(Protocol):
    """Fetches byte ranges of one file, one attempt at a time.

    `get` and `read` raise `Transient`, or an exception that `is_transient`, for what may pass.
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
    has_folders: bool
    """Whether what is missing as a file may be a folder."""
    pace: Pace

    def read(self, start: int, size: int) -> Answer:
        """Return up to `size` bytes from byte `start` on, fewer where the file ends.

        For the client's small reads: it waits for the answer, and holds it.
        """

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
    has_folders = True

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

    def read(self, start: int, size: int) -> Answer:
        answer: Answer = sync(self.loop, self._read, start, size)
        return answer

    async def _read(self, start: int, size: int) -> Answer:
        if not self._request["Key"]:
            raise FileNotFoundError(self._bucket)  # the URL of a bucket
        raw = bytearray()
        try:
            async with self._asked(start, size) as response:
                # What a store sends beyond that, ignoring Range, stays with it.
                while len(raw) < size and (piece := await response["Body"].read(size - len(raw))):
                    raw += piece
        except ClientError as error:
            if is_past_end(error) and self._identity.size is None:
                return Answer(b"")
            raise self._explained(error) from None
        total = _check_part(response.get("ContentRange"), start, self._location, self._identity)
        version = None if total is None else remote_identity({**response, "size": total})
        return Answer(bytes(raw), version)

    async def get(self, start: int, into: Target, alive: Callable[[], None]) -> None:
        try:
            async with self._asked(start, into.size) as response:
                found = response.get("ContentRange")
                _check_range(found, start, into.size, self._location, self._identity)
                into.restart()
                while piece := await response["Body"].read(_PIECE):
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
        request = {**self._request, "Range": f"bytes={start}-{start + size - 1}"}
        extra = fs._filter_kwargs(
            client.get_object, {**fs.s3_additional_kwargs, **fs.req_kw, **request}
        )
        response = await client.get_object(**extra)
        try:
            yield response
        finally:
            response["Body"].close()

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
    has_folders = False
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

    def read(self, start: int, size: int) -> Answer:
        answer: Answer = sync(self.loop, self._read, start, size)
        return answer

    async def _read(self, start: int, size: int) -> Answer:
        location = self._location
        async with self._asked(start, size) as answer:
            if answer.status == 416 and self._identity.size is None:
                return Answer(b"")
            self._require_ok(answer)
            pieces, got = [], 0
            async for piece in answer.content.iter_chunked(_PIECE):
                pieces.append(piece)
                got += len(piece)
                if got > size:
                    break
            if got > size or (answer.status == 200 and start > 0):
                raise _ranges_ignored(location.shown)
        headers = answer.headers
        pinned = self._validator is None or self._validator in headers
        raw, total = b"".join(pieces), None
        # Of what was compressed on the way nevertheless, the server counts other bytes.
        if headers.get("Content-Encoding", "identity") == "identity":
            if answer.status == 206:
                total = _check_part(headers.get("Content-Range"), start, location, self._identity)
            elif "Content-Length" in headers:
                total = got
        told = {key: headers.get(key) for key in ("ETag", "Last-Modified")}
        version = None if total is None else remote_identity({**told, "size": total})
        return Answer(raw, version, pinned)

    async def get(self, start: int, into: Target, alive: Callable[[], None]) -> None:
        async with self._asked(start, into.size) as answer:
            self._require_ok(answer)
            if answer.status == 200:
                raise _ranges_ignored(self._location.shown)
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
        if self._identity.kind == "etag" and not self._identity.version.startswith("W/"):
            headers["If-Match"] = self._identity.version
        async with session.get(self._url, headers=headers, **options) as answer:
            yield answer

    def _require_ok(self, answer: Any) -> None:
        if answer.status >= 400:
            raise explain_status(answer.status, "", self._location.shown)
        self._check_version(answer.headers)

    @property
    def _validator(self) -> str | None:
        """The header that tells the planned version."""
        return {"etag": "ETag", "modified": "Last-Modified"}.get(self._identity.kind)

    def _check_version(self, headers: Mapping[str, str]) -> None:
        found = headers.get(self._validator) if self._validator else None
        if found is not None and found != self._identity.version:
            raise changed(self._location, self._identity, f"{self._validator} {found}")

    def _require_version(self, headers: Mapping[str, str]) -> None:
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
    has_folders = True
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
        require_version(self._location, self._identity, found, self._consistency)
        self.filesystem, self._path = self._location.filesystem()  # an archive may be opened anew

    def read(self, start: int, size: int) -> Answer:
        try:
            raw: bytes = self.filesystem.cat_file(self._path, start=start, end=start + size)
        except Exception as error:
            if is_past_end(error) and self._identity.size is None:
                return Answer(b"", pinned=False)
            raise
        # A server that ignores Range sends everything, from byte 0.
        raw = raw if len(raw) <= size else raw[start : start + size]
        return Answer(raw, pinned=False)

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
        raise _no_range(location)
    span, _, total = found.removeprefix("bytes ").partition("/")
    known = int(total) if total.isdigit() else None
    if known is not None and (known < start + size or identity.size not in (None, known)):
        raise changed(location, identity, f"{total} bytes")
    if span != f"{start}-{start + size - 1}":
        raise Transient(f"bytes {start}-{start + size - 1} were asked for and {found} were sent")


def _check_part(
    found: str | None, start: int, location: Location, identity: Identity
) -> int | None:
    """Return how long Content-Range says that the file is; check it and the start of the part."""
    if not found:
        if start == 0:
            return None  # the whole of it
        raise _no_range(location)
    span, _, total = found.removeprefix("bytes ").partition("/")
    known = int(total) if total.isdigit() else None
    if known is not None and identity.size not in (None, known):
        raise changed(location, identity, f"{total} bytes")
    if not span.startswith(f"{start}-"):
        raise Transient(f"bytes from {start} on were asked for and {found} were sent")
    return known


def _no_range(location: Location) -> ReadError:
    return ReadError(
        f"{location.shown}: the store ignores Range and sends the whole object",
        cause="its answer to a request for a part has no Content-Range",
        remedy="use a store or gateway that serves byte ranges",
    )


def _ranges_ignored(shown: str) -> ReadError:
    return ReadError(
        f"{shown}: the server ignores Range and sends the whole file",
        cause="it answered 200 to a request for a part",
        remedy='prefix the URL with "simplecache::" to fetch the whole file once a worker, '
        "or serve it from a server that knows ranges",
    )
