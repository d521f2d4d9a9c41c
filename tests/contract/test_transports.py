"""The contract of transports: byte ranges of one version of a file, in all kinds of stores."""

from __future__ import annotations

import asyncio
import base64
import importlib
import os
import pkgutil
import random
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import dask
import fsspec
import numpy as np
import pytest

import mrcdist
from mrcdist.errors import FileChangedError, ReadError
from mrcdist.read_limits import DEFAULT_LIMITS
from mrcdist.storage import transport as transports
from mrcdist.storage.location import Location
from mrcdist.storage.retry import Transient
from mrcdist.storage.scatter_buffer import ScatterBuffer
from mrcdist.storage.stored_file import StoredFile
from mrcdist.storage.transport import Transport, open_transport
from mrcdist.storage.transport.fsspec import FsspecTransport
from mrcdist.storage.transport.http import HttpTransport
from mrcdist.storage.transport.protocol import PinnedTransport
from mrcdist.storage.transport.s3 import S3Transport
from mrcdist.storage.version import Version
from tests.support.async_store import AsyncStore, async_store
from tests.support.mrc_files import counting, mrc_bytes
from tests.support.serving import serving
from tests.support.web import web_server

CONTENT = random.Random(0).randbytes(300_000)
OTHER_CONTENT = CONTENT[::-1]

TRANSPORTS = {
    "s3": S3Transport,
    "http": HttpTransport,
    "asynchronous": FsspecTransport,
    "synchronous": FsspecTransport,
}


@dataclass(frozen=True)
class Object:
    """An object in a store, and a function that writes its content."""

    location: Location
    write: Callable[[bytes], None]


@pytest.fixture(params=TRANSPORTS)
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stored(store: str, request: pytest.FixtureRequest) -> Object:
    stored_object: Object = request.getfixturevalue(f"object_on_{store}")
    stored_object.write(CONTENT)
    return stored_object


@pytest.fixture
def object_on_s3(moto: Any) -> Iterator[Object]:
    with moto.bucket() as bucket:
        location = Location(bucket.url("object"), bucket.storage_options())
        yield Object(location, lambda content: bucket.put("object", content))


@pytest.fixture
def object_on_http(tmp_path: Path) -> Iterator[Object]:
    path = tmp_path / "object"

    def write(content: bytes) -> None:
        exists = path.exists()
        path.write_bytes(content)
        if exists:  # this server's versions are modification times in whole seconds
            later = time.time() + 10
            os.utime(path, (later, later))

    with web_server(tmp_path) as url:
        yield Object(Location(f"{url}/object"), write)


@pytest.fixture
def object_on_asynchronous(counting_store: AsyncStore) -> Object:
    def write(content: bytes) -> None:
        counting_store.files["bucket/object"] = content

    return Object(Location("counted://bucket/object"), write)


@pytest.fixture
def object_on_synchronous() -> Iterator[Object]:
    url = f"memory://transport-{os.urandom(4).hex()}/object"
    fs = fsspec.filesystem("memory")
    yield Object(Location(url), lambda content: fs.pipe_file(url, content))
    fs.rm(url)


@pytest.fixture
def counting_store() -> Iterator[AsyncStore]:
    with async_store() as store:
        yield store


def transport_of(stored: Object) -> Transport:
    file, _, _ = StoredFile.open(stored.location, 1024, DEFAULT_LIMITS)
    return open_transport(file.location, file.version, "strict")


def get(transport: Transport, start: int, stop: int) -> tuple[bytes, int]:
    """Return the bytes of a range, and how often `alive` was called."""
    memory = np.empty(stop - start, np.uint8)
    alive_calls = 0

    def alive() -> None:
        nonlocal alive_calls
        alive_calls += 1

    fetch = transport.get(start, ScatterBuffer([(memory.size, memory)]), alive)
    asyncio.run_coroutine_threadsafe(fetch, transport.loop).result(30)
    return memory.tobytes(), alive_calls


def test_every_transport_is_tested_with_a_store() -> None:
    for module in pkgutil.iter_modules(transports.__path__, f"{transports.__name__}."):
        importlib.import_module(module.name)
    abstract = {Transport, PinnedTransport}
    assert set(TRANSPORTS.values()) == subclasses(Transport) - abstract


def subclasses(base: type) -> set[type]:
    """Return all direct and indirect subclasses."""
    return {base}.union(*map(subclasses, base.__subclasses__()))


def test_store_is_read_by_the_transport_of_its_kind(stored: Object, store: str) -> None:
    assert type(transport_of(stored)) is TRANSPORTS[store]


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, 300_000), (17, 70_000), (299_999, 300_000)]
)
def test_get_fills_the_buffer_with_the_bytes_of_the_range(
    stored: Object, start: int, stop: int
) -> None:
    raw, _ = get(transport_of(stored), start, stop)
    assert raw == CONTENT[start:stop]


@pytest.mark.parametrize("body", [CONTENT, CONTENT[:-1], CONTENT + b"trailing"])
def test_status_200_over_http_is_accepted_only_for_the_whole_file(body: bytes) -> None:
    """RFC 9110, section 14.2: a server may ignore Range."""

    def do_get(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("ETag", '"1"')
        request.end_headers()
        request.wfile.write(body)

    with serving(do_get) as endpoint:
        location = Location(f"{endpoint}/object")
        transport = open_transport(location, Version(len(CONTENT), "etag", '"1"'), "strict")
        if body == CONTENT:
            assert get(transport, 0, len(CONTENT))[0] == CONTENT
        else:
            with pytest.raises(Transient):
                get(transport, 0, len(CONTENT))
        with pytest.raises(ReadError, match="ignores Range"):
            get(transport, 1, len(CONTENT))


@pytest.mark.parametrize("damaged_start", [0, 1024], ids=["header", "frames"])
@pytest.mark.parametrize("damaged_responses", [1, 1000])
def test_bytes_with_a_wrong_checksum_on_s3_are_requested_again(
    damaged_start: int, damaged_responses: int
) -> None:
    frames = counting((2, 64, 64), "int16")
    content = mrc_bytes(frames)
    requests = 0

    def do_get(request: BaseHTTPRequestHandler) -> None:
        nonlocal requests
        exists = request.path.startswith("/bucket/movie.mrc")
        first, last = re.findall(r"\d+", request.headers.get("Range", "bytes=0-1023"))
        start, raw = int(first), bytearray(content[int(first) : int(last) + 1] if exists else b"")
        request.send_response(206 if exists else 404)
        request.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        request.send_header("Content-Length", str(len(raw)))
        request.send_header("ETag", '"1"')
        crc = zlib.crc32(raw).to_bytes(4, "big")
        request.send_header("x-amz-checksum-crc32", base64.b64encode(crc).decode())
        request.end_headers()
        if exists and request.command == "GET":
            requests += start == damaged_start
            if start == damaged_start and requests <= damaged_responses:
                raw[500] ^= 64
            request.wfile.write(raw)

    with serving(do_get) as endpoint, dask.config.set({"mrcdist.retries": 1}):
        options = {"key": "a", "secret": "b", "endpoint_url": endpoint}

        def read() -> Any:
            plan = mrcdist.plan_mrc(
                "s3://bucket/movie.mrc", storage_options=options, metadata_file=None
            )
            return plan.source[...]

        if damaged_responses == 1:
            np.testing.assert_array_equal(read(), frames)
        else:
            with pytest.raises(ReadError, match="did not match calculated checksum") as caught:
                read()
            assert caught.value.code == "retries-exhausted"
    assert requests == 2


def test_read_ends_at_the_end_of_the_file(stored: Object) -> None:
    assert transport_of(stored).read(299_990, 50).raw == CONTENT[299_990:]


def test_pinned_transports_report_progress_while_they_fetch(stored: Object) -> None:
    transport = transport_of(stored)
    _, alive_calls = get(transport, 0, len(CONTENT))
    assert (alive_calls > 0) == transport.pinned


def test_replaced_object_is_an_error_in_get_or_check(stored: Object) -> None:
    transport = transport_of(stored)
    stored.write(OTHER_CONTENT)

    def read_and_check() -> None:
        get(transport, 0, 100)
        transport.check()

    with pytest.raises(FileChangedError):
        read_and_check()


def test_first_read_returns_the_version_if_the_transport_is_pinned(stored: Object) -> None:
    transport = open_transport(stored.location, Version(None), "off")
    response = transport.read(0, 100)
    assert (response.version.size == len(CONTENT)) == transport.pinned


def test_sub_ranges_of_an_asynchronous_filesystem_are_fetched_in_parallel(
    counting_store: AsyncStore,
) -> None:
    numbers = counting((16, 64, 64), "uint16")
    counting_store.files["bucket/stack.mrc"] = mrc_bytes(numbers)
    with dask.config.set({"mrcdist.sub-range": 16384, "mrcdist.concurrency": 4}):
        [data] = mrcdist.read_mrc("counted://bucket/stack.mrc", chunks=(16, -1, -1))
        before = len(counting_store.requests)
        counting_store.most_at_a_time = 0
        np.testing.assert_array_equal(data["data"].compute(scheduler="sync"), numbers)
    sizes = [stop - start for _, start, stop in counting_store.requests[before:]]
    assert sizes == [16384] * 8
    assert counting_store.most_at_a_time == 4
