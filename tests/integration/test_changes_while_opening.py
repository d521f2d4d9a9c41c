"""A file that is exchanged between two requests of an opening: an error, or one of its versions.

Each test exchanges the object before request 1, 2, 3, … of the opening, until it takes no more.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import dask
import fsspec
import mrcz
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mrcdist import FileChangedError, plan_mrc
from mrcdist.storage import file as storage_file
from mrcdist.storage.file import read_whole
from mrcdist.storage.location import Location
from tests.support.http_log import CountingProxy, Exchange
from tests.support.mrc_files import mrc_bytes
from tests.support.s3 import S3Server
from tests.support.serving import serving

SIDES = (64, 72)  # of the frames of either version, which differ in every byte that counts


def with_symmetry(number: int) -> bytes:
    """A file with 400 records of text in its extended header, each of one letter."""
    letter = b"AB"[number : number + 1]
    data = np.full((2, SIDES[number], 8), number, np.uint16)
    return mrc_bytes(data, extended=letter * 80 * 400, exttyp=b"CCP4")


def compressed(number: int) -> bytes:
    return gzip.compress(with_symmetry(number), mtime=0, compresslevel=0)


def in_sections(folder: Path, number: int) -> bytes:
    path = folder / "made.mrcz"
    data = np.random.default_rng(number).integers(0, 9, (8, SIDES[number], 64), np.int16)
    mrcz.writeMRC(data, str(path), compressor="zstd")
    return path.read_bytes()


@pytest.fixture(params=["extended header", "gzip", "sections"])
def contents(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[bytes, bytes]:
    make: Callable[[int], bytes] = {
        "extended header": with_symmetry,
        "gzip": compressed,
        "sections": lambda number: in_sections(tmp_path, number),
    }[request.param]
    return make(0), make(1)


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
def web_store(validator: Callable[[int], dict[str, str]]) -> Iterator[Store]:
    """A web server of one file; `validator` gives the headers of its n-th version."""
    content, version = b"", 0

    def put(new: bytes) -> None:
        nonlocal content, version
        content, version = new, version + 1

    def do_get(request: BaseHTTPRequestHandler) -> None:
        store.hook()
        now, headers = content, validator(version)
        wanted = request.headers.get("Range")
        start, stop = 0, len(now)
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1, len(now))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(now)}"
        request.send_response(206 if wanted else 200)
        for name, value in {**headers, "Content-Length": str(stop - start)}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(now[start:stop])

    with serving(do_get) as endpoint:
        store = Store(f"{endpoint}/a_movie.mrc", put)
        yield store


class HookedFileSystem(MemoryFileSystem):
    """Any other store: it tells a date by `info`, and nothing with the bytes."""

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
    """A file that another one takes the name of."""

    def put(content: bytes) -> None:
        (folder / "new").write_bytes(content)
        (folder / "new").rename(folder / "a_movie.mrc")

    class HookedFile(io.FileIO):
        def __init__(self, path: Path) -> None:
            store.hook()
            super().__init__(path)

        def read(self, size: int = -1) -> bytes:
            store.hook()
            return super().read(size)

    monkeypatch.setattr(storage_file, "FileIO", HookedFile)
    store = Store(str(folder / "a_movie.mrc"), put)
    yield store


@pytest.fixture(params=["etag", "version id", "web etag", "web date", "web none", "other", "local"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    date = "Thu, 0{} Jan 2026 00:00:00 GMT"
    kind = request.param
    if kind in ("etag", "version id"):
        made = s3_store(request.getfixturevalue("radosgw"), versioned=kind == "version id")
    elif kind == "other":
        made = other_store()
    elif kind == "local":
        made = local_store(tmp_path, monkeypatch)
    else:
        made = web_store(
            {
                "web etag": lambda number: {"ETag": f'"{number}"'},
                "web date": lambda number: {"Last-Modified": date.format(number % 10)},
                "web none": lambda _: {},
            }[kind]
        )
    with made as store:
        yield store


@pytest.fixture
def small_requests() -> Iterator[None]:
    """Follow compressed sections by many requests."""
    with dask.config.set({"mrcdist.sub-range": 64}):
        yield


def opened(store: Store) -> Any:
    """All that an opening finds out but the version."""
    plan = plan_mrc(store.url, storage_options=store.options, metadata_file=None)
    [part] = plan.source.parts
    sections = None if part.sections is None else tuple(map(int, part.sections.offsets))
    text = () if plan.extended is None else plan.extended.text
    return plan.shape, text, sections


@pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")
@pytest.mark.usefixtures("small_requests")
def test_a_file_exchanged_before_any_request_is_an_error_or_of_one_version(
    store: Store, contents: tuple[bytes, bytes]
) -> None:
    old, new = contents
    pristine = []
    for content in (new, old):
        store.put(content)
        pristine.append(opened(store))
    assert pristine[0] != pristine[1]
    outcomes = []
    for number in range(1, 100):
        store.put(old)
        arrived = exchange_before(store, number, new)
        try:
            outcomes.append(pristine.index(opened(store)))
        except FileChangedError:
            outcomes.append("changed")
        store.hook = lambda: None
        if arrived[0] < number:
            break
    assert len(outcomes) > 1
    assert outcomes[-1] == 1  # it was not exchanged


def exchange_before(store: Store, number: int, new: bytes) -> list[int]:
    """Put another version when so many requests have arrived; return their count, which grows."""
    arrived = [0]

    def hook() -> None:
        arrived[0] += 1
        if arrived[0] == number:
            store.put(new)

    store.hook = hook
    return arrived


def test_a_sidecar_is_of_one_version(store: Store) -> None:
    old, new = b"Frame Width = 8\n" * 5000, b"Frame Width = 9\n" * 6000
    for number in range(1, 20):
        store.put(old)
        arrived = exchange_before(store, number, new)
        with suppress(FileChangedError):
            assert read_whole(Location.of(store.url, store.options), 2**28) in (old, new)
        store.hook = lambda: None
        if arrived[0] < number:
            break
