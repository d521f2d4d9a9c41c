"""Readers of local files: mapped, or read."""

from __future__ import annotations

import dask
import numpy as np
import pytest

from mrcdist.config import read_settings
from mrcdist.plan.reader_capabilities import Parts, Stretches
from mrcdist.read.mapped import LocalReader, MappedFile, open_local
from mrcdist.read_limits import ReadLimits
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile

RAW = np.random.default_rng(0).integers(0, 256, 100_000, np.uint8)
RANGES = [(0, 10), (5000, 90_000), (99_000, 100_000)]
LIMITS = ReadLimits(small=1000, ahead_min_gap=1)


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "any.bin"
    path.write_bytes(RAW.tobytes())
    location = Location(str(path))
    return StoredFile(location, location.find_version())


@pytest.fixture
def mapped(stored):
    return MappedFile(stored, read_settings(), LIMITS)


def parts_of(start, stop, length=100):
    return Parts(np.arange(0, stop - start, 20_000), length, 20_000)


@pytest.mark.parametrize(("io", "kind"), [("map", MappedFile), ("read", LocalReader)])
def test_setting_io_selects_the_reader(stored, io, kind):
    with dask.config.set({"mrcdist.io": io}):
        assert type(open_local(stored, read_settings(), LIMITS)) is kind


@pytest.mark.parametrize("io", ["map", "read", "auto"])
def test_largest_gap_that_is_read_is_that_of_the_settings_or_the_limits(stored, io):
    limits = ReadLimits(read_gap=77)
    with dask.config.set({"mrcdist.io": io}):
        assert open_local(stored, read_settings(), limits).can.gap == 77
        with dask.config.set({"mrcdist.max-gap": 5}):
            assert open_local(stored, read_settings(), limits).can.gap == 5


def test_ranges_are_mapped_if_they_are_longer_than_the_limit(mapped):
    assert [mapped.can.gives_pages(stop - start) for start, stop in RANGES] == [False, True, False]
    parts = [parts_of(*span) for span in RANGES]
    pages = list(mapped.pages(RANGES, parts))
    for (start, stop), buffer in zip(RANGES, pages, strict=True):
        np.testing.assert_array_equal(buffer, RAW[start:stop])
    assert [buffer.flags.writeable for buffer in pages] == [True, False, True]
    assert [mapped.can.cost(*span).requests for span in RANGES] == [1, 0, 1]


@pytest.mark.parametrize("unused_bytes", [0, 1000])
def test_kept_range_is_a_read_only_view_of_pages(mapped, unused_bytes):
    buffer = mapped.keep(5001, 90_000, parts_of(5001, 90_000), unused_bytes)
    np.testing.assert_array_equal(buffer, RAW[5001:90_000])
    assert not buffer.flags.writeable


def test_nothing_is_kept_or_borrowed_without_budget_for_maps(stored):
    reader = MappedFile(stored, read_settings(), ReadLimits(max_maps=0))
    assert reader.keep(0, 5000, parts_of(0, 5000), 1000) is None
    with reader.borrow_map(0, 5000, np.array([0]), 10) as buffer:
        assert buffer is None


def test_borrowed_map_contains_the_range(mapped):
    with mapped.borrow_map(5001, 90_000, np.array([70_000, 3]), 10) as buffer:
        np.testing.assert_array_equal(buffer, RAW[5001:90_000])


def test_stretches_are_copied_to_their_places(mapped):
    memory = np.zeros(300, np.uint8)
    starts, places, lengths = np.array([70_000, 10]), np.array([0, 200]), np.array([200, 100])
    mapped.copy(Stretches(mapped, starts, places, lengths), memory)
    np.testing.assert_array_equal(memory, np.concatenate([RAW[70_000:70_200], RAW[10:110]]))
