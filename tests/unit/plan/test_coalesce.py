"""Merging and splitting of byte ranges."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from mrcdist.format.pixels import PixelFormat
from mrcdist.plan.coalesce import (
    Merging,
    Window,
    even_run,
    join_adjacent,
    merge_frames,
    piece_bytes,
)
from mrcdist.plan.layout import Layout

MIB = 2**20
LAYOUT = Layout(PixelFormat("<u2"), (64, 64), (1000,), 1000)  # 8 KiB per frame, 128 bytes per row
WHOLE = Window(range(64), range(64))
ROWS = Window(range(16, 32), range(64))  # 2 KiB of a frame, 6 KiB to the next


def merging_of(**limits):
    defaults = {
        "max_gap": MIB,
        "amplification": math.inf,
        "max_bytes": 8 * MIB,
        "pieces": 8,
        "shortest": 4 * MIB,
    }
    return Merging(**{**defaults, **limits})


def merged(frames, window=WHOLE, **limits):
    return list(merge_frames(np.asarray(frames), LAYOUT, window, merging_of(**limits)))


def lengths(runs):
    return [run.stop - run.start for run in runs]


@given(
    frames=st.lists(st.integers(0, 999), min_size=1).map(sorted),
    window=st.sampled_from([WHOLE, ROWS]),
    max_gap=st.sampled_from([0, 6000, 6144, 50_000, MIB]),
    amplification=st.sampled_from([1, 2, 4, math.inf]),
    max_bytes=st.sampled_from([1, 10_000, 100_000, 8 * MIB]),
)
def test_every_frame_is_read_once_and_in_order(frames, window, **limits):
    runs = merged(frames, window, **limits)
    assert [i for run in runs for i in range(run.first, run.last)] == list(range(len(frames)))
    low, high = window.byte_span(LAYOUT)
    for run in runs:
        starts = np.asarray(frames[run.first : run.last]) * LAYOUT.frame_bytes
        assert run.start == starts[0] + low
        assert run.stop == starts[-1] + high
        gaps = np.diff(starts) - (high - low)
        assert np.all(gaps <= limits["max_gap"])
        assert np.all(gaps <= (limits["amplification"] - 1) * (high - low))
        if run.last - run.first > 1:
            assert run.stop - run.start <= max(limits["max_bytes"], LAYOUT.frame_bytes)


@given(
    first=st.integers(0, 500),
    count=st.integers(1, 200),
    step=st.integers(1, 5),
    window=st.sampled_from([WHOLE, ROWS]),
    max_gap=st.sampled_from([0, 6000, 6144, 14_000, 50_000, MIB]),
    amplification=st.sampled_from([1, 2, 4, math.inf]),
    max_bytes=st.sampled_from([1, 10_000, 100_000, 8 * MIB]),
)
@example(  # far from the start of the file, and shorter than a piece
    first=500, count=2, step=2, window=WHOLE, max_gap=MIB, amplification=math.inf, max_bytes=MIB
)
def test_evenly_spaced_frames_are_one_run_exactly_if_merging_returns_one(
    first, count, step, window, **limits
):
    frames = np.arange(first, first + count * step, step)
    has_gaps = count > 1 and (step > 1 or window is ROWS)
    unsplit = {} if has_gaps else {"max_bytes": 2**40, "pieces": 1}  # as a view
    runs = merged(frames, window, **{**limits, **unsplit})
    found = even_run(first, int(frames[-1]), step, LAYOUT, window, merging_of(**limits))
    assert found == (runs[0] if len(runs) == 1 else None)


class TestGaps:
    def test_gaps_up_to_max_gap_are_read(self):
        assert len(merged(range(10), ROWS, max_gap=6 * 1024)) == 1
        assert len(merged(range(10), ROWS, max_gap=6 * 1024 - 1)) == 10

    def test_gaps_beyond_the_amplification_limit_are_skipped(self):
        assert len(merged(range(10), ROWS, amplification=4)) == 1
        assert len(merged(range(10), ROWS, amplification=3.9)) == 10

    def test_consecutive_frames_have_no_gaps(self):
        assert len(merged(range(10), max_gap=0, amplification=1)) == 1


class TestLengths:
    def test_long_reads_are_split_into_as_many_pieces_as_concurrent_requests(self):
        assert piece_bytes(64 * MIB, pieces=8, max_bytes=16 * MIB, shortest=4 * MIB) == 8 * MIB

    def test_no_piece_is_longer_than_the_limit(self):
        assert piece_bytes(640 * MIB, pieces=8, max_bytes=16 * MIB, shortest=4 * MIB) == 16 * MIB

    def test_pieces_are_not_so_short_that_latency_dominates(self):
        assert piece_bytes(8 * MIB, pieces=8, max_bytes=16 * MIB, shortest=4 * MIB) == 4 * MIB

    def test_views_without_gaps_are_not_split(self):
        view = merging_of(max_bytes=MIB)
        assert lengths([even_run(0, 999, 1, LAYOUT, WHOLE, view)]) == [1000 * 8192]
        assert max(lengths(merged(range(1000), max_bytes=MIB))) == MIB
        assert even_run(0, 998, 2, LAYOUT, WHOLE, view) is None
        assert max(lengths(merged(range(0, 1000, 2), max_bytes=MIB))) <= MIB


class TestRows:
    @given(
        rows=st.sets(st.integers(0, 99), min_size=1).map(lambda chosen: np.array(sorted(chosen)))
        | st.builds(range, st.integers(0, 50), st.integers(51, 99), st.integers(1, 60)),
        max_gap=st.sampled_from([0, 9, 10, 45, 1000]),
    )
    def test_rows_are_split_exactly_at_long_gaps(self, rows, max_gap):
        groups = [part.rows for part in Window(rows, range(64)).split(10, max_gap)]
        assert [row for group in groups for row in group] == list(rows)
        for group in groups:
            assert np.all((np.diff(group) - 1) * 10 <= max_gap)
        for before, after in itertools.pairwise(groups):
            assert (after[0] - before[-1] - 1) * 10 > max_gap


class TestJoining:
    def joined(self, ranges, longest):
        return [[ranges[index] for index in group] for group in join_adjacent(ranges, longest)]

    def test_adjacent_ranges_are_joined_in_any_order(self):
        assert self.joined([(20, 30), (0, 10), (10, 20)], 100) == [[(0, 10), (10, 20), (20, 30)]]

    def test_ranges_with_gaps_or_overlaps_are_not_joined(self):
        assert self.joined([(0, 10), (11, 20)], 100) == [[(0, 10)], [(11, 20)]]
        assert self.joined([(0, 10), (0, 10), (10, 20)], 100) == [[(0, 10)], [(0, 10), (10, 20)]]

    def test_joined_ranges_are_not_longer_than_the_limit(self):
        ranges = [(start, start + 10) for start in range(0, 50, 10)]
        assert [len(group) for group in self.joined(ranges, 20)] == [2, 2, 1]
        assert [len(group) for group in self.joined(ranges, 19)] == [1] * 5

    def test_no_ranges_need_no_request(self):
        assert join_adjacent([], 100) == []
