"""`mrcdist convert`: one MRC file from another, on a cluster of processes."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import mrcdist
from mrcdist.testing.acquisition import write_acquisition
from tests.support.jobs import mrcdist_fails, mrcdist_json
from tests.support.mrc_files import counting, mrc_bytes
from tests.support.s3 import Bucket


@pytest.fixture
def scheduler(cluster: Client) -> str:
    address: str = cluster.scheduler.address
    return address


def numbers_in(path: Any, **options: Any) -> np.ndarray[Any, Any]:
    [data] = mrcdist.read_mrc(path, distributed=False, **options)
    numbers: np.ndarray[Any, Any] = np.asarray(data["data"])
    return numbers


def test_gzip_becomes_a_plain_file(tmp_path: Path, scheduler: str) -> None:
    numbers = counting((4, 20, 30), "int16")
    source = tmp_path / "a.mrc.gz"
    source.write_bytes(gzip.compress(mrc_bytes(numbers, byteorder=">"), mtime=0))
    target = tmp_path / "b.mrc"
    report = mrcdist_json("convert", source, target, "--scheduler", scheduler)
    assert report["shape"] == [4, 20, 30]
    np.testing.assert_array_equal(numbers_in(target), numbers)
    assert target.read_bytes()[212:214] == b"\x44\x44"


def test_parts_of_a_scan_become_one_file_cropped(tmp_path: Path, scheduler: str) -> None:
    acquisition = write_acquisition(
        tmp_path / "in", scan_shape=(4, 8), frame_shape=(16, 20), parts=3
    )
    [data] = mrcdist.read_mrc(acquisition.movie, distributed=False)
    target = tmp_path / "crop_movie.mrc"
    select = "1:3,:,4:12,-10:"
    words = ("convert", acquisition.movie, target, "--select", select, "--scheduler", scheduler)
    mrcdist_json(*words)
    [back] = mrcdist.read_mrc(target, distributed=False)
    np.testing.assert_array_equal(back["data"], data["data"][1:3, :, 4:12, -10:])
    assert [axis["scale"] for axis in back["axes"]] == [axis["scale"] for axis in data["axes"]]
    assert "exists" in mrcdist_fails(*words)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_records_of_an_extended_header_go_along_with_their_sections(
    tmp_path: Path, scheduler: str, byteorder: str
) -> None:
    numbers = counting((6, 8, 10), "int16")
    records = [struct.pack(f"{byteorder}i2f", number, number * 2.0, -1.0) for number in range(6)]
    source, target = tmp_path / "a.mrc", tmp_path / "b.mrc"
    source.write_bytes(
        mrc_bytes(
            numbers,
            byteorder=byteorder,
            extended=b"".join(records),
            exttyp=b"AGAR",
            nint=1,
            nreal=2,
        )
    )
    mrcdist_json("convert", source, target, "--select", "2:5", "--scheduler", scheduler)
    raw = target.read_bytes()
    assert struct.unpack(f"{byteorder}i", raw[92:96]) == (36,)
    assert struct.unpack(f"{byteorder}2h", raw[128:132]) == (1, 2)
    assert raw[1024:1060] == b"".join(records[2:5])
    stored = numbers[2:5].astype(numbers.dtype.newbyteorder(byteorder))
    assert raw[1060:] == stored.tobytes()


def test_destination_in_a_bucket(tmp_path: Path, s3_bucket: Bucket, scheduler: str) -> None:
    numbers = counting((4, 20, 30), "uint16")
    source = tmp_path / "a.mrc"
    source.write_bytes(mrc_bytes(numbers))
    options = [
        word
        for key, value in s3_bucket.storage_options().items()
        for word in ("--storage-option", f"{key}={json.dumps(value)}")
    ]
    source_url = s3_bucket.put("in.mrc", source.read_bytes())
    url = s3_bucket.url("out.mrc")
    mrcdist_json(
        "convert", source_url, url, *options, "--dtype", "float32", "--scheduler", scheduler
    )
    found = numbers_in(url, storage_options=s3_bucket.storage_options())
    np.testing.assert_array_equal(found, numbers)
    assert found.dtype == np.float32


@pytest.mark.parametrize("select", ["a", "1", "0:2,0:1,0:1,0:1", "3:2", "9:"])
def test_selection_that_cannot_be_is_an_error(tmp_path: Path, scheduler: str, select: str) -> None:
    source = tmp_path / "a.mrc"
    source.write_bytes(mrc_bytes(counting((4, 20, 30), "int16")))
    told = mrcdist_fails(
        "convert", source, tmp_path / "b.mrc", "--select", select, "--scheduler", scheduler
    )
    assert "--select" in told
    assert [each.name for each in tmp_path.iterdir()] == ["a.mrc"]
