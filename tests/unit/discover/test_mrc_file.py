"""Limits for the client's reads of one file."""

from __future__ import annotations

import numpy as np
import pytest

from mrcdist.discover.files import FoundFiles
from mrcdist.options import ReadOptions
from mrcdist.planner import make_plan
from mrcdist.read_limits import ReadLimits
from mrcdist.storage.location import Location
from tests.support.async_store import async_store
from tests.support.mrc_files import counting, mrc_bytes

# SerialEM's extended header: 100 records of 2 bytes, each with a tilt angle in 1/100 degree.
N_SECTIONS = 100
NUMBERS = counting((N_SECTIONS, 4, 4), "int16")
ANGLES = np.arange(-50, 50)
WITH_RECORDS = mrc_bytes(
    NUMBERS, extended=(100 * ANGLES).astype("<i2").tobytes(), exttyp=b"SERI", nint=2, nreal=1
)


def plan_of(url, **limits):
    options = ReadOptions(metadata_file=None)
    return make_plan(FoundFiles.of(Location(url)), options, limits=ReadLimits(**limits))


def test_source_of_a_plan_has_the_limits_with_which_it_was_made(memory_file):
    assert plan_of(memory_file(mrc_bytes(NUMBERS)), narrow=0.125).source.limits.narrow == 0.125


@pytest.mark.parametrize("record_bytes", [200, 100])
def test_records_are_read_up_to_the_bytes_in_the_limits(memory_file, record_bytes):
    plan = plan_of(memory_file(WITH_RECORDS), record_bytes=record_bytes)
    text = "the records of the first 50 of 100 sections were read"
    assert (text in plan.file_notes) == (record_bytes == 100)


def test_sections_of_mrcz_are_followed_in_windows_of_the_length_in_the_limits(tmp_path):
    mrcz = pytest.importorskip("mrcz")
    noise = np.random.default_rng(0).integers(0, 2**15, (8, 32, 32), "int16")
    mrcz.writeMRC(noise, str(tmp_path / "a.mrcz"), compressor="zstd")
    n_requests = []
    with async_store() as store:
        store.files["bucket/a.mrcz"] = (tmp_path / "a.mrcz").read_bytes()
        for section_window in (2**18, 1000):
            store.requests.clear()
            plan_of("counted://bucket/a.mrcz", section_window=section_window)
            n_requests.append(len(store.requests))
    assert n_requests[1] >= n_requests[0] + 7
