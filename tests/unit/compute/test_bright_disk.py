"""The bright disk, located in a diffraction pattern."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.compute.bright_disk import SAMPLED_FRAMES, find_disk, sample_tasks
from mrcdist.compute.detectors import (
    AutoDisk,
    Ring,
    adf_ring,
)
from mrcdist.compute.schedule import block_frames
from mrcdist.errors import ArgumentError


def disk_pattern(shape, cy, cx, radius, *, bright=100.0, background=0.0):
    """Return a disk with an antialiased edge."""
    y, x = np.indices(shape)
    return background + bright * np.clip(radius + 0.5 - np.hypot(y - cy, x - cx), 0, 1)


class TestBrightDisk:
    @given(
        st.floats(20, 40), st.floats(20, 30), st.floats(4, 15), st.sampled_from([0.0, 50.0, 1000.0])
    )
    def test_disk_is_found_to_half_a_pixel_on_any_background(self, cy, cx, radius, background):
        disk = find_disk(disk_pattern((64, 50), cy, cx, radius, background=background))
        assert (disk.cy, disk.cx) == (pytest.approx(cy, abs=0.5), pytest.approx(cx, abs=0.5))
        assert (disk.inner, disk.outer) == (0, pytest.approx(radius, abs=0.5))

    def test_hot_pixels_and_dimmer_disks_are_ignored(self):
        pattern = disk_pattern((64, 50), 30, 25, 8)
        alone = find_disk(pattern)
        pattern += 0.3 * disk_pattern((64, 50), 55, 40, 6)
        pattern[3, 4] = 1e6
        assert find_disk(pattern) == alone

    def test_requested_radius_overrides_the_detected_one(self):
        disk = find_disk(disk_pattern((64, 50), 30, 25, 8))
        found = AutoDisk("bf", 11.0).located(disk, (64, 50))
        assert (found.outer, found.cy) == (11.0, pytest.approx(30, abs=0.01))

    @pytest.mark.parametrize(
        "pattern",
        [
            disk_pattern((64, 50), 20, 25, 8) + disk_pattern((64, 50), 45, 25, 8),
            disk_pattern((64, 50), 30, 25, 18) - disk_pattern((64, 50), 30, 25, 14),
            np.ones((64, 50)),
            np.zeros((64, 50)),
            np.full((64, 50), np.nan),
        ],
        ids=["two disks", "ring", "uniform", "empty", "NaN"],
    )
    def test_pattern_without_a_single_disk_is_an_error(self, pattern):
        with pytest.raises(ArgumentError, match="detector='circle") as error:
            find_disk(pattern)
        assert error.value.argument == "detector"

    def test_dark_field_extends_from_the_disk_to_the_nearest_edge(self):
        assert adf_ring(Ring(30, 20, 0, 10), (64, 50)) == Ring(30, 20, 12, 20.5)
        assert adf_ring(Ring(30, 35, 0, 10), (64, 50)) == Ring(30, 35, 12, 14.5)
        with pytest.raises(ArgumentError, match="no space"):
            adf_ring(Ring(30, 20, 0, 18), (64, 50))

    @given(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    def test_sampled_frames_are_spread_evenly_over_the_scan(self, navigation):
        tasks = sample_tasks(tuple(navigation), range(math.prod(navigation)))
        blocks = [block for task in tasks for block in task]
        count = min(SAMPLED_FRAMES, math.prod(navigation))
        at = [np.ravel_multi_index([start for start, _ in block], navigation) for block in blocks]
        assert {block_frames(block) for block in blocks} == {1}
        assert len(set(at)) == len(blocks) == count
        step = math.prod(navigation) / count
        assert all(abs(position - (i + 0.5) * step) < 1 for i, position in enumerate(at))
