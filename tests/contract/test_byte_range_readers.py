"""The contract of byte-range readers, tested for all of them."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import importlib
import io
import os
import pickle
import pkgutil
import random
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask
import fsspec
import numpy as np
import pytest

import mrcdist
from mrcdist.config import read_settings
from mrcdist.errors import FileChangedError, MissingFileError
from mrcdist.read.awaited import AwaitedSource
from mrcdist.read.compressed import SectionReader, StreamReader
from mrcdist.read.mapped import LocalReader, MappedFile
from mrcdist.read.remote import RemoteReader
from mrcdist.read.source import RangeReader
from mrcdist.read_limits import DEFAULT_LIMITS, ReadLimits
from tests.support.async_store import AsyncStore, async_store
from tests.support.counted import counted
from tests.support.mrc_files import counting, mrc_bytes
from tests.support.web import web_server

NUMBERS = counting((6, 40, 50), "uint16")
OTHER_NUMBERS = NUMBERS[:, ::-1]

REMOTE = ("memory", "http", "s3", "asynchronous", "simplecache", "zip", "tar")
READERS = {
    "mapped": MappedFile,
    "read": LocalReader,
    **dict.fromkeys(REMOTE, RemoteReader),
    **dict.fromkeys(("gzip", "bzip2"), StreamReader),
    "mrcz": SectionReader,
}


@dataclass(frozen=True)
class Stored:
    """A file of `NUMBERS` that one of the readers reads.

    Attributes
    ----------
    source : mrcdist.read.source.MrcSource
    payload : bytes
        The bytes that its reader returns, from byte 0 on.
    replace, delete : callable
        Replace the file by another of the same size; delete it.
    """

    source: Any
    payload: bytes
    replace: Callable[[], None]
    delete: Callable[[], None]

    @property
    def part(self) -> Any:
        """The `DatasetFile` of the source."""
        return self.source.parts[0]


@pytest.fixture(params=READERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stored(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stored]:
    plain, other = mrc_bytes(NUMBERS), mrc_bytes(OTHER_NUMBERS)
    pack = {"gzip": gzip_bytes, "bzip2": bz2.compress}.get(kind, bytes)
    raw, changed = pack(plain), pack(other)
    options: dict[str, Any] = {}
    path = tmp_path / "stack.mrc"

    def write(content: bytes) -> None:
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_bytes(content)
        if before:  # a coarse clock must not hide the change
            os.utime(path, ns=(before + 10**9, before + 10**9))

    if kind == "mrcz":
        raw, changed = (mrcz_bytes(tmp_path, numbers) for numbers in (NUMBERS, OTHER_NUMBERS))
        plain = NUMBERS.tobytes()
        path = path.with_suffix(".mrcz")
    delete: Callable[[], None] = path.unlink

    with dask.config.set({"mrcdist.io": "read" if kind == "read" else "map"}):
        if kind == "memory":
            url = f"memory://contract-{os.urandom(4).hex()}/stack.mrc"
            fs = fsspec.filesystem("memory")

            def write(content: bytes) -> None:
                fs.pipe_file(url, content)

            def delete() -> None:
                fs.rm(url)

        elif kind == "s3":
            bucket = request.getfixturevalue("moto_bucket")
            url, options = bucket.url("stack.mrc"), dict(bucket.storage_options())

            def write(content: bytes) -> None:
                bucket.put("stack.mrc", content)

            def delete() -> None:
                bucket.delete("stack.mrc")

        elif kind == "asynchronous":
            store, url = request.getfixturevalue("asynchronous"), "counted://bucket/stack.mrc"

            def write(content: bytes) -> None:
                store.files["bucket/stack.mrc"] = content

            def delete() -> None:
                del store.files["bucket/stack.mrc"]

        elif kind in ("http", "simplecache"):
            chain = "simplecache::" if kind == "simplecache" else ""
            url = f"{chain}{request.getfixturevalue('web')}/stack.mrc"
        elif kind == "zip":
            archive = tmp_path / "archive.zip"
            url = f"zip://stack.mrc::{archive}"

            def write(content: bytes) -> None:
                with zipfile.ZipFile(archive, "w") as file:
                    file.writestr("stack.mrc", content)

            delete = archive.unlink
        elif kind == "tar":
            archive = tmp_path / "archive.tar"
            url = f"tar://stack.mrc::{archive}"

            def write(content: bytes) -> None:
                member = tarfile.TarInfo("stack.mrc")
                member.size = len(content)
                with tarfile.open(archive, "w") as file:
                    file.addfile(member, io.BytesIO(content))

            delete = archive.unlink
        else:
            url = str(path)
        write(raw)
        source = plan_without_warnings(url, options).source
        yield Stored(source, plain, lambda: write(changed), delete)


@pytest.fixture
def moto_bucket(moto: Any) -> Iterator[Any]:
    with moto.bucket() as bucket:
        yield bucket


@pytest.fixture
def asynchronous() -> Iterator[AsyncStore]:
    with async_store() as store:
        yield store


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    with web_server(tmp_path) as url:
        yield url


def gzip_bytes(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def mrcz_bytes(folder: Path, numbers: np.ndarray) -> bytes:
    import mrcz

    path = folder / "sections.mrcz"
    mrcz.writeMRC(numbers.astype("int16"), str(path), compressor="zstd")
    return path.read_bytes()


def plan_without_warnings(url: str, options: dict[str, Any]) -> mrcdist.Plan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mrcdist.MrcdistWarning)
        return mrcdist.plan_mrc(url, storage_options=options, metadata_file=None)


def read(part: Any, ranges: list[tuple[int, int]]) -> list[bytes]:
    return [bytes(view) for view in part.open(read_settings(), DEFAULT_LIMITS).can.views(ranges)]


def increasing_ranges(size: int, seed: int) -> list[tuple[int, int]]:
    """Return disjoint ranges in file order, like those of plans."""
    cuts = sorted(random.Random(seed).sample(range(size + 1), 8))
    return list(zip(cuts[::2], cuts[1::2], strict=True))


def test_every_reader_is_tested_with_a_file() -> None:
    readers = set()
    for found in pkgutil.iter_modules(mrcdist.read.__path__, f"{mrcdist.read.__name__}."):
        members = vars(importlib.import_module(found.name)).values()
        classes = {each for each in members if getattr(each, "__module__", "") == found.name}
        readers |= {each for each in classes if hasattr(each, "can")} - {RangeReader}
    assert set(READERS.values()) == readers


def test_file_is_read_by_the_reader_of_its_kind(stored: Stored, kind: str) -> None:
    assert type(stored.part.open(read_settings(), DEFAULT_LIMITS)) is READERS[kind]


@pytest.mark.parametrize("seed", range(3))
def test_ranges_contain_the_bytes_of_the_file(stored: Stored, seed: int) -> None:
    ranges = increasing_ranges(len(stored.payload), seed)
    assert read(stored.part, ranges) == [stored.payload[start:stop] for start, stop in ranges]


def test_empty_list_of_ranges_yields_no_bytes(stored: Stored) -> None:
    assert read(stored.part, []) == []


def test_last_byte_of_the_file_is_read(stored: Stored) -> None:
    size = len(stored.payload)
    assert read(stored.part, [(size - 1, size)]) == [stored.payload[-1:]]


def test_pickled_part_reads_the_same_bytes(stored: Stored) -> None:
    part = pickle.loads(pickle.dumps(stored.part))
    size = len(stored.payload)
    assert read(part, [(0, size)]) == [stored.payload]


def test_file_replaced_after_planning_is_an_error(stored: Stored) -> None:
    stored.replace()
    with pytest.raises(FileChangedError):
        read(stored.part, [(0, len(stored.payload))])


def test_file_deleted_after_planning_is_an_error(stored: Stored, kind: str) -> None:
    stored.delete()
    # If an archive is deleted, fsspec may report either the archive or its member as missing.
    with pytest.raises((MissingFileError, FileChangedError)):
        read(stored.part, [(0, len(stored.payload))])


def read_with(stored: Stored, limits: ReadLimits, index: Any) -> tuple[int, int]:
    """Check that a block equals numpy; return the number of requests and of bytes for it."""
    with counted() as count:
        block = replace(stored.source, limits=limits)[index]
    np.testing.assert_array_equal(block, NUMBERS[index])
    return count.read.requests, count.read.bytes_fetched + count.read.bytes_mapped


NO_GAPS = ReadLimits(read_gap=0, least_gap=0, most_gap=0, map_gap=0, max_maps=0)


def test_gaps_are_read_up_to_the_length_in_the_limits(stored: Stored, kind: str) -> None:
    """Two frames with two others between them, of 4,000 bytes each."""
    _, without_gap = read_with(stored, NO_GAPS, slice(0, 6, 3))
    _, with_gap = read_with(stored, DEFAULT_LIMITS, slice(0, 6, 3))  # may leave a shared map
    if kind == "mrcz":  # compressed bytes
        assert without_gap < with_gap
    else:
        assert (with_gap, without_gap) == (4 * 4000, 2 * 4000)


def test_rows_with_long_gaps_are_read_one_by_one_except_from_compressed_frames(
    stored: Stored, kind: str
) -> None:
    """Each part would be decompressed from the start of its frame, or of the whole file."""
    requests, _ = read_with(stored, NO_GAPS, (0, slice(None, None, 3)))
    assert requests == {"mapped": 0, "gzip": 1, "bzip2": 1, "mrcz": 0}.get(kind, 14)


def test_long_ranges_are_fetched_in_pieces_of_the_length_in_the_limits(
    stored: Stored, kind: str
) -> None:
    parallel = kind in ("http", "s3", "asynchronous")
    with dask.config.set({"mrcdist.sub-range": 12_000}):
        requests, _ = read_with(stored, DEFAULT_LIMITS, ...)
        in_short_pieces, _ = read_with(stored, ReadLimits(min_piece=4000), ...)
    assert in_short_pieces == (6 if parallel else requests)


def test_memory_held_by_a_read_is_that_of_the_buffers_in_the_limits(
    stored: Stored, kind: str
) -> None:
    limits = ReadLimits(stream_piece=10, in_flight=10)
    held = {"gzip": 20, "bzip2": 20, "http": 10, "s3": 10}
    if kind in held:
        assert stored.part.open(read_settings(), limits).can.cost(0, 24_000).held == held[kind]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_compressed_stream_is_fetched_in_pieces_of_the_length_in_the_limits(
    asynchronous: AsyncStore, pack: Callable[[bytes], bytes]
) -> None:
    asynchronous.files["bucket/stack.mrc"] = pack(mrc_bytes(NUMBERS))
    source = plan_without_warnings("counted://bucket/stack.mrc", {}).source
    asynchronous.requests.clear()
    block = replace(source, limits=ReadLimits(stream_piece=1000))[...]
    np.testing.assert_array_equal(block, NUMBERS)
    assert max(stop - start for _, start, stop in asynchronous.requests) == 1000


@pytest.mark.parametrize(("joined_share", "requests"), [(0.0, 6), (0.5, 2), (1.0, 1)])
def test_frames_awaited_together_share_requests_up_to_the_length_in_the_limits(
    stored: Stored, kind: str, joined_share: float, requests: int
) -> None:
    """The largest gap that is read is as long as all frames."""
    limits = ReadLimits(least_gap=24_000, most_gap=24_000, joined_share=joined_share)
    source = AwaitedSource(replace(stored.source, limits=limits))

    async def read_frames() -> list[Any]:
        return await asyncio.gather(*map(source.read, range(6)))

    asyncio.run(source.read(0))  # opens the file
    with counted() as count:
        np.testing.assert_array_equal(asyncio.run(read_frames()), NUMBERS)
    assert count.read.blocks == 6
    can = stored.part.open(read_settings(), limits).can
    assert can.awaitable == (kind in ("http", "s3"))
    if can.awaitable:
        assert (count.read.requests, count.read.bytes_fetched) == (requests, 24_000)


def test_file_replaced_before_it_is_awaited_is_an_error(stored: Stored) -> None:
    source = AwaitedSource(stored.source)
    stored.replace()

    async def read_frames() -> list[Any]:
        reads = (source.read(number) for number in range(6))
        return await asyncio.gather(*reads, return_exceptions=True)

    assert {type(error) for error in asyncio.run(read_frames())} == {FileChangedError}
