"""Reader of remote files, with a synchronous fsspec filesystem; the measured speed of a store."""

from __future__ import annotations

from dataclasses import replace

import dask
import numpy as np
import pytest

from mrcdist.config import read_settings
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.read.remote import RemoteReader, Throughput
from mrcdist.read_limits import DEFAULT_LIMITS, ReadLimits
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from tests.support.counted import counted

MIB = 2**20
RAW = np.random.default_rng(0).integers(0, 256, 50_000, np.uint8)


@pytest.fixture
def reader(memory_file):
    def open_with(**limits):
        location = Location(memory_file(RAW.tobytes()))
        file = StoredFile(location, location.find_version())
        return RemoteReader(file, read_settings(), replace(DEFAULT_LIMITS, **limits))

    return open_with


def test_views_yield_the_bytes_of_any_ranges_in_order(reader):
    ranges = [(40_000, 50_000), (0, 1), (7, 30_000)]
    views = list(reader().views(ranges))
    for (start, stop), view in zip(ranges, views, strict=True):
        np.testing.assert_array_equal(view, RAW[start:stop])


def test_segments_of_a_range_go_to_their_places_and_unwanted_bytes_nowhere(reader):
    memory = np.zeros(3000, np.uint8)
    segments = [(1000, memory[2000:]), (500, None), (2000, memory[:2000])]
    with counted() as count:
        reader().fill([(10_000, segments)])
    np.testing.assert_array_equal(memory[2000:], RAW[10_000:11_000])
    np.testing.assert_array_equal(memory[:2000], RAW[11_500:13_500])
    assert (count.read.requests, count.read.bytes_fetched) == (1, 3500)


def test_long_range_is_fetched_in_sub_ranges_as_the_cost_says(reader):
    with dask.config.set({"mrcdist.sub-range": 20_000}):
        remote = reader()
        with counted() as count:
            [view] = remote.views([(0, 50_000)])
    np.testing.assert_array_equal(view, RAW)
    assert remote.can.cost(0, 50_000) == Cost(count.read.requests, 50_000, held=40_000)
    assert count.read.requests == 3


def test_largest_gap_that_is_read_is_that_of_the_settings_or_within_the_limits(reader):
    assert reader(most_gap=99, least_gap=1).can.gap == 99
    with dask.config.set({"mrcdist.max-gap": 5}):
        assert reader(most_gap=99, least_gap=1).can.gap == 5


def test_filesystem_without_pinned_responses_cannot_be_awaited(reader):
    assert reader().can.fills is not None
    assert not reader().can.awaitable


def gap_after(latency, seconds, nbytes):
    """Return the largest gap after many equal responses."""
    throughput = Throughput()
    for _ in range(100):
        throughput.note(latency, seconds, nbytes, DEFAULT_LIMITS)
    return throughput.max_gap(DEFAULT_LIMITS)


def test_initial_estimate_is_that_of_a_typical_object_store():
    assert Throughput().max_gap(DEFAULT_LIMITS) == pytest.approx(MIB, rel=0.01)


@pytest.mark.parametrize(
    ("latency", "bandwidth", "gap"),
    [(0.002, 150e6, 300e3), (0.002, 60e6, 120e3), (0.040, 80e6, 3.2e6)],
)
def test_latency_and_bandwidth_are_measured(latency, bandwidth, gap):
    assert gap_after(latency, 8 * MIB / bandwidth, 8 * MIB) == pytest.approx(gap, rel=0.01)


def test_limits_set_the_initial_estimate_and_the_range_of_gaps():
    limits = ReadLimits(latency=0.001, bandwidth=50e6, least_gap=1, most_gap=10**5)
    throughput = Throughput()
    assert throughput.max_gap(limits) == 50_000
    throughput.note(100.0, 0.1, 1, limits)
    assert throughput.max_gap(limits) == 10**5


def test_short_responses_do_not_change_the_bandwidth():
    assert gap_after(0.015, 1e-9, 1000) == pytest.approx(MIB, rel=0.01)


@pytest.mark.parametrize(("latency", "gap"), [(0.0, 2**16), (100.0, 2**22)])
def test_largest_gap_to_read_stays_within_limits(latency, gap):
    assert gap_after(latency, 0.1, 8 * MIB) == gap


def test_measured_latency_replaces_the_one_assumed_by_any_limits():
    throughput = Throughput()
    throughput.note(0.03, 0.1, 1, DEFAULT_LIMITS)
    other = replace(DEFAULT_LIMITS, latency=1.0)
    assert throughput.max_gap(other) == throughput.max_gap(DEFAULT_LIMITS)
