"""Stores with one file, which is replaced when a certain request for it arrives."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.support.http_log import CountingProxy, Exchange
from tests.support.s3 import S3Server
from tests.support.serving import serving

__all__ = ["KINDS", "Store", "exchange_before", "store_of"]

# Kinds of stores, by what distinguishes versions of the file.
KINDS = (
    *("etag", "version id", "gateway etag", "gateway date"),
    *("web etag", "web date", "web none", "other", "local"),
)

_EMPTY_LISTING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


@dataclass
class Store:
    """A file, its URL, and a hook that is called before every request for it."""

    url: str
    put: Callable[[bytes], object]
    options: dict[str, Any] = field(default_factory=dict)
    hook: Callable[[], object] = lambda: None


@contextmanager
def s3_store(server: S3Server, *, versioned: bool) -> Iterator[Store]:
    with server.bucket() as bucket, CountingProxy(server) as proxy:
        if versioned:
            server.client.put_bucket_versioning(
                Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
            )
        store = Store(
            bucket.url("a_movie.mrc"),
            lambda content: bucket.put("a_movie.mrc", content),
            proxy.server.storage_options(),
        )

        def respond(_: Exchange) -> None:
            store.hook()

        proxy.respond = respond
        yield store


@contextmanager
def web_store(validator: Callable[[int], dict[str, str]], *, s3: bool = False) -> Iterator[Store]:
    """Serve one file over HTTP; `validator` returns the headers for its n-th version.

    It ignores conditions. With `s3`, it is read as a gateway for S3 that does.
    """
    content, version = b"", 0

    def put(new: bytes) -> None:
        nonlocal content, version
        content, version = new, version + 1

    def do_get(request: BaseHTTPRequestHandler) -> None:
        store.hook()
        body, headers, status = content, validator(version), 200
        if "list-type" in request.path:
            body, headers = _EMPTY_LISTING, {}
        start, stop = 0, len(body)
        if byte_range := request.headers.get("Range"):
            first, _, last = byte_range.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1, len(body))
        if start >= stop:
            status, start, stop = 416, 0, 0
        elif (start, stop) != (0, len(body)):  # for the whole file, some servers send status 200
            status = 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(stop - start)}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body[start:stop])

    with serving(do_get) as endpoint:
        if s3:
            options = {"key": "fake", "secret": "fake", "endpoint_url": endpoint}
            store = Store("s3://bucket/a_movie.mrc", put, options)
        else:
            store = Store(f"{endpoint}/a_movie.mrc", put)
        yield store


class HookedFileSystem(MemoryFileSystem):
    """Any other store: `info` returns a date, but reads return only bytes."""

    protocol = "hooked"
    hook: Callable[[], object] = staticmethod(lambda: None)

    def cat_file(self, path: str, **options: Any) -> bytes:
        type(self).hook()
        raw: bytes = super().cat_file(path, **options)
        return raw

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        type(self).hook()
        info: dict[str, Any] = super().info(path, **options)
        return info


@contextmanager
def other_store() -> Iterator[Store]:
    fsspec.register_implementation("hooked", HookedFileSystem, clobber=True)
    url = "hooked://opening/a_movie.mrc"

    def put(content: bytes) -> None:
        fsspec.filesystem("memory").pipe_file(HookedFileSystem._strip_protocol(url), content)

    store = Store(url, put)
    HookedFileSystem.hook = staticmethod(lambda: store.hook())
    try:
        yield store
    finally:
        HookedFileSystem.hook = staticmethod(lambda: None)


@contextmanager
def local_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A local file that is replaced by renaming another one."""

    def put(content: bytes) -> None:
        (folder / "new").write_bytes(content)
        (folder / "new").rename(folder / "a_movie.mrc")

    class HookedFile(io.FileIO):
        def __init__(self, path: Path, mode: str) -> None:
            store.hook()
            super().__init__(path, mode)

        def read(self, size: int = -1) -> bytes:
            store.hook()
            return super().read(size)

    monkeypatch.setattr(io, "FileIO", HookedFile)
    store = Store(str(folder / "a_movie.mrc"), put)
    yield store


def store_of(kind: str, request: pytest.FixtureRequest) -> AbstractContextManager[Store]:
    """Return a store of one of `KINDS`."""
    date = "Thu, 01 Jan 2026 00:00:{:02} GMT"
    if kind in ("etag", "version id"):
        return s3_store(request.getfixturevalue("radosgw"), versioned=kind == "version id")
    if kind == "other":
        return other_store()
    if kind == "local":
        return local_store(
            request.getfixturevalue("tmp_path"), request.getfixturevalue("monkeypatch")
        )
    gateway, _, validator = kind.partition(" ")
    headers: dict[str, Callable[[int], dict[str, str]]] = {
        "etag": lambda number: {"ETag": f'"{number}"'},
        "date": lambda number: {"Last-Modified": date.format(number)},
        "none": lambda _: {},
    }
    return web_store(headers[validator], s3=gateway == "gateway")


def exchange_before(store: Store, number: int, new: bytes) -> list[int]:
    """Replace the file at request `number`; return a list with the number of requests so far."""
    arrived = [0]

    def hook() -> None:
        arrived[0] += 1
        if arrived[0] == number:
            store.put(new)

    store.hook = hook
    return arrived
