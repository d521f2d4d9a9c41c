"""Latency × bandwidth, as measured by the process."""

from __future__ import annotations

from dataclasses import replace

import fsspec
import pytest

from mrcdist.read.throughput import Throughput, throughput_of
from mrcdist.read_limits import DEFAULT_LIMITS, ReadLimits

MIB = 2**20


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


def test_readers_with_different_limits_share_the_measurement_of_a_store():
    store = fsspec.filesystem("memory", skip_instance_cache=True)
    other = replace(DEFAULT_LIMITS, latency=1.0)
    throughput = throughput_of(store)
    throughput.note(0.03, 0.1, 1, DEFAULT_LIMITS)
    assert throughput_of(store).max_gap(other) == throughput.max_gap(DEFAULT_LIMITS)
