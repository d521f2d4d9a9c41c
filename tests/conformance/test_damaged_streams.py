"""Damaged gzip and bzip2 files give an error or the correct array, whichever part is read."""

from __future__ import annotations

import bz2
import gzip
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import mrcdist
from mrcdist.errors import FileChangedError, FormatError, MrcdistError, TruncatedFileError
from mrcdist.read_limits import DEFAULT_LIMITS
from tests.support.async_store import async_store
from tests.support.mrc_files import mrc_bytes

pytestmark = pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")

Compress = Callable[[bytes], bytes]

NUMBERS = np.random.default_rng(1).poisson(3, (12, 40, 50)).astype(np.uint16)
PLAIN = mrc_bytes(NUMBERS)


def stored(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=0, mtime=0)


def deflated(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=6, mtime=0)


def in_members(compress: Compress, size: int = 10_000) -> Compress:
    """Compress to several members, as pigz, bgzip, pbzip2 and `cat a.gz b.gz` do."""

    def compress_in_members(content: bytes) -> bytes:
        pieces = (content[at : at + size] for at in range(0, len(content), size))
        return b"".join(compress(piece) for piece in pieces)

    return compress_in_members


COMPRESSIONS: dict[str, Compress] = {
    "gzip stored": stored,
    "gzip": deflated,
    "gzip members": in_members(deflated),
    "gzip stored members": in_members(stored),
    "bzip2": bz2.compress,
    "bzip2 streams": in_members(bz2.compress),
}


@pytest.fixture(params=COMPRESSIONS)
def compress(request: pytest.FixtureRequest) -> Compress:
    return COMPRESSIONS[request.param]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.mrc.z"


def write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def test_intact_compressed_streams_are_read(path: Path, compress: Compress) -> None:
    write(path, compress(PLAIN))
    source = mrcdist.plan_mrc(path).source
    np.testing.assert_array_equal(source[...], NUMBERS)
    np.testing.assert_array_equal(source[7:2:-2, 3], NUMBERS[7:2:-2, 3])


@pytest.mark.parametrize("index", [np.s_[...], np.s_[0], np.s_[5:9, 7, ::3]])
def test_flipped_bit_in_a_stream_never_gives_a_wrong_array(
    path: Path, compress: Compress, index: object
) -> None:
    intact = compress(PLAIN)
    outcomes = []
    for number in range(40):
        rng = random.Random(number)
        # After the MRC header, which is read before anything is verified.
        at, bit = rng.randrange(2000, len(intact)), rng.randrange(8)
        damaged = bytearray(intact)
        damaged[at] ^= 1 << bit
        write(path, bytes(damaged))
        try:
            data = mrcdist.plan_mrc(path).source[index]
        except FormatError:  # damage to a bzip2 block may change the header inside
            outcomes.append("error")
        else:
            np.testing.assert_array_equal(data, NUMBERS[index])
            outcomes.append("right")
    assert outcomes.count("error") > 30


@pytest.mark.parametrize("index", [np.s_[...], np.s_[0], np.s_[-1]])
@pytest.mark.parametrize("missing", [1, 4, 8, 2000])
def test_truncated_stream_is_an_error(
    path: Path, compress: Compress, index: object, missing: int
) -> None:
    write(path, compress(PLAIN)[:-missing])
    with pytest.raises(MrcdistError):
        mrcdist.plan_mrc(path).source[index]


@pytest.mark.parametrize(
    "position", [-8, -5, -4, -1], ids=["crc", "end of crc", "length", "end of length"]
)
def test_checksum_and_length_of_gzip_are_verified(path: Path, position: int) -> None:
    damaged = bytearray(stored(PLAIN))
    damaged[position] ^= 1
    write(path, bytes(damaged))
    source = mrcdist.plan_mrc(path).source
    for index in (np.s_[...], np.s_[0]):
        with pytest.raises(TruncatedFileError, match="damaged or truncated") as caught:
            source[index]
        assert "incorrect" in caught.value.cause
        assert "copy the file again" in caught.value.remedy


@pytest.mark.parametrize("kind", ["gzip", "bzip2"])
def test_damaged_member_after_the_frames_is_an_error(path: Path, kind: str) -> None:
    damaged = bytearray(COMPRESSIONS[kind](b"something else" * 100))
    damaged[-6] ^= 1
    write(path, COMPRESSIONS[kind](PLAIN) + bytes(damaged))
    with pytest.raises(TruncatedFileError):
        mrcdist.plan_mrc(path).source[0]


@pytest.mark.parametrize("trailing", [b"\0" * 5000, b"appended by hand", b"\x1f", b"B"])
def test_bytes_after_an_intact_stream_are_ignored(
    path: Path, compress: Compress, trailing: bytes
) -> None:
    write(path, compress(PLAIN) + trailing)
    np.testing.assert_array_equal(mrcdist.plan_mrc(path).source[...], NUMBERS)


def test_zeros_between_gzip_members_are_ignored(path: Path) -> None:
    write(path, stored(PLAIN[:9000]) + b"\0" * 512 + stored(PLAIN[9000:]) + b"\0" * 99)
    np.testing.assert_array_equal(mrcdist.plan_mrc(path).source[...], NUMBERS)


@pytest.mark.parametrize("kind", ["gzip stored members", "bzip2 streams"])
def test_error_for_a_damaged_member_states_where_the_stream_ends(path: Path, kind: str) -> None:
    first_member = COMPRESSIONS[kind.split(" ")[0]](PLAIN[:10_000])
    if kind.startswith("gzip"):
        first_member = stored(PLAIN[:10_000])
    damaged = bytearray(COMPRESSIONS[kind](PLAIN))
    assert damaged[: len(first_member)] == first_member
    damaged[len(first_member)] ^= 1
    write(path, bytes(damaged))
    with pytest.raises(TruncatedFileError, match="after 10000 decompressed bytes") as caught:
        mrcdist.plan_mrc(path).source[...]
    assert "damaged" in caught.value.cause


@pytest.mark.parametrize("offset", [-2, -1, 0, 1])
def test_gzip_member_can_start_anywhere_in_a_fetched_piece(path: Path, offset: int) -> None:
    noise = np.random.default_rng(1).integers(0, 2**16, (9, 512, 512), "uint16")
    plain = mrc_bytes(noise)
    piece = DEFAULT_LIMITS.stream_piece
    first = next(
        member
        for length in range(piece - 400, piece)
        if len(member := stored(plain[:length])) == piece + offset
    )
    length = len(gzip.decompress(first))
    write(path, first + deflated(plain[length:]))
    np.testing.assert_array_equal(mrcdist.plan_mrc(path).source[...], noise)


def test_second_partial_read_does_not_verify_the_stream_again() -> None:
    noise = np.random.default_rng(1).integers(0, 2**16, (48, 512, 512), "uint16")
    with async_store() as store:
        store.files["bucket/a.mrc.gz"] = stored(mrc_bytes(noise))
        source = mrcdist.plan_mrc("counted://bucket/a.mrc.gz").source
        requests = []
        for _ in range(2):
            store.requests.clear()
            np.testing.assert_array_equal(source[0], noise[0])
            requests.append(len(store.requests))
    assert requests == [7, 1]  # of 4 MiB each


def test_memory_of_a_partial_read_does_not_depend_on_the_length_of_the_stream(path: Path) -> None:
    write(path, gzip.compress(mrc_bytes(np.zeros((256, 512, 512), np.uint16)), mtime=0))
    source = mrcdist.plan_mrc(path).source
    tracemalloc.start()
    try:
        source[0]
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20  # the stream has 128 MiB
    finally:
        tracemalloc.stop()


def test_stream_replaced_in_a_store_without_versions_is_reported_as_changed() -> None:
    """If a damaged file is intact when read again, it was overwritten in between."""
    intact = deflated(PLAIN)
    reads = []

    class ReplacedFile(MemoryFileSystem):
        protocol = "exchanged"

        def info(self, path: str, **options: Any) -> dict[str, Any]:
            return {"name": path, "size": len(intact), "type": "file"}

        def cat_file(self, path: str, start: Any = None, end: Any = None, **_: Any) -> bytes:
            reads.append((start, end))
            damaged = bytearray(intact)
            if planned and len(reads) - planned[0] < 2:
                damaged[len(intact) // 2] ^= 255
            return bytes(damaged[start:end])

    planned: list[int] = []
    fsspec.register_implementation("exchanged", ReplacedFile, clobber=True)
    source = mrcdist.plan_mrc("exchanged://x/a.mrc.gz", metadata_file=None, tilt_file=None).source
    planned.append(len(reads))
    with pytest.raises(FileChangedError, match="changed while it was read") as caught:
        source[...]
    assert "intact when it was read again" in caught.value.cause
