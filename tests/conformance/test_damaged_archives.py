"""Damaged archives give an error or the correct array; bytes read to verify checksums."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mrcdist
from mrcdist.errors import MrcdistError, TruncatedFileError
from tests.support.mrc_files import mrc_bytes

Pack = Callable[[Path, bytes], str]

NUMBERS = np.random.default_rng(1).poisson(3, (12, 40, 50)).astype(np.uint16)
PLAIN = mrc_bytes(NUMBERS)


def zipped(method: int) -> Pack:
    def pack(folder: Path, content: bytes) -> str:
        with zipfile.ZipFile(folder / "archive", "w", method) as archive:
            archive.writestr(zipfile.ZipInfo("a.mrc"), content, method)
        return f"zip://a.mrc::{folder / 'archive'}"

    return pack


def tarred(mode: str) -> Pack:
    def pack(folder: Path, content: bytes) -> str:
        with tarfile.open(folder / f"archive.tar.{mode}", f"w:{mode}") as archive:
            member = tarfile.TarInfo("a.mrc")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        return f"tar://a.mrc::{folder / f'archive.tar.{mode}'}"

    return pack


STORED = zipped(zipfile.ZIP_STORED)
COMPRESSED = {
    "zip deflated": zipped(zipfile.ZIP_DEFLATED),
    "zip bzip2": zipped(zipfile.ZIP_BZIP2),
    "zip lzma": zipped(zipfile.ZIP_LZMA),
    "tar gzip": tarred("gz"),
    "tar bzip2": tarred("bz2"),
    "tar xz": tarred("xz"),
}
PACKINGS = {"zip stored": STORED, **COMPRESSED}


def damaged(folder: Path, url: str, rng: random.Random) -> str:
    """Copy the archive, flip a bit of the pixels in its middle, and return the URL of the copy."""
    path = Path(url.partition("::")[2])
    raw = bytearray(path.read_bytes())
    raw[rng.randrange(2000, len(raw) - 500)] ^= 1 << rng.randrange(8)
    copy = folder / f"{rng.random()} {path.name}"
    copy.write_bytes(raw)
    return url.replace(str(path), str(copy))


@pytest.mark.parametrize("cache", ["", "simplecache::"])
@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_flipped_bit_in_an_archive_never_gives_a_wrong_array(
    tmp_path: Path, pack: Pack, cache: str
) -> None:
    intact = pack(tmp_path, PLAIN)
    outcomes = []
    for number in range(8):
        url = cache + damaged(tmp_path, intact, random.Random(number))
        try:
            data = mrcdist.read_mrc(url, chunks=(5, -1, -1))[0]["data"].compute()
        except TruncatedFileError as error:
            outcomes.append(error.code)
        else:
            np.testing.assert_array_equal(data, NUMBERS)
    assert set(outcomes) == {"archive-damaged"}
    assert len(outcomes) > 5


@pytest.mark.parametrize("pack", COMPRESSED.values(), ids=COMPRESSED)
def test_partial_read_of_a_damaged_compressed_member_is_an_error(
    tmp_path: Path, pack: Pack
) -> None:
    intact = pack(tmp_path, PLAIN)
    with pytest.raises(MrcdistError, match="damaged or truncated"):
        mrcdist.plan_mrc(damaged(tmp_path, intact, random.Random(1))).source[0]


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_intact_archive_members_are_read(tmp_path: Path, pack: Pack) -> None:
    source = mrcdist.plan_mrc(pack(tmp_path, PLAIN)).source
    np.testing.assert_array_equal(source[...], NUMBERS)
    np.testing.assert_array_equal(source[7:2:-2, 3], NUMBERS[7:2:-2, 3])


def bytes_read_by(read: Callable[[], object]) -> int:
    """Count the bytes that this process reads during a call."""
    before = int(Path("/proc/self/io").read_text(encoding="utf-8").split()[1])
    read()
    return int(Path("/proc/self/io").read_text(encoding="utf-8").split()[1]) - before


def test_checksum_of_a_stored_member_is_verified_once_after_reading_a_quarter(
    tmp_path: Path,
) -> None:
    numbers = np.zeros((64, 256, 256), np.uint16)
    source = mrcdist.plan_mrc(STORED(tmp_path, mrc_bytes(numbers))).source
    frame = numbers[0].nbytes
    assert bytes_read_by(lambda: source[0]) < 4 * frame
    assert bytes_read_by(lambda: source[:16]) > 64 * frame
    assert bytes_read_by(lambda: source[:16]) < 32 * frame
