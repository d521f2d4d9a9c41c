"""Blocks are the same as with numpy, whatever the capabilities of the reader."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.format.pixels import PixelFormat
from mrcdist.plan.block import Access, BlockRequest, plan_block
from mrcdist.plan.coalesce import Merging, Window
from mrcdist.plan.layout import Layout
from mrcdist.plan.reader_capabilities import Capabilities, Cost, FrameFile
from mrcdist.read.execute import execute, execute_awaited, execute_together
from mrcdist.read_limits import DEFAULT_LIMITS
from mrcdist.storage.scatter_buffer import ScatterBuffer
from tests.support.mrc_files import counting

N_FRAMES, ROWS, COLUMNS = 7, 9, 5
NUMBERS = counting((N_FRAMES, ROWS, COLUMNS), "<u2")
RAW = np.frombuffer(bytes(16) + NUMBERS.tobytes(), np.uint8)
LAYOUT = Layout(PixelFormat("<u2"), (ROWS, COLUMNS), (N_FRAMES,), N_FRAMES)


class BytesInMemory:
    """Reader of `RAW`; it counts the byte ranges that it reads."""

    def __init__(self, *, fills, awaitable=False):
        self.n_ranges = self.n_fills = 0
        self.can = Capabilities(
            self.views,
            lambda start, stop: Cost(1, stop - start),
            gap=20,
            fills=self if fills else None,
            awaitable=awaitable,
        )

    def views(self, ranges):
        for start, stop in ranges:
            self.n_ranges += 1
            yield RAW[start:stop].copy()

    def fill(self, targets):
        self.n_fills += 1
        for start, segments in targets:
            self.n_ranges += 1
            buffer = ScatterBuffer(segments)
            buffer.store(RAW[start : start + buffer.size].tobytes())
            buffer.require_all()

    async def fill_awaited(self, targets):
        await asyncio.sleep(0)
        self.fill(targets)


def planned(reader, frames, window, *, max_gap=20, min_scattered=1):
    merging = Merging(max_gap, 4.0, 10**6, 1, 1)
    file = FrameFile(reader.can, 16, 0, N_FRAMES, merging, merging)
    limits = replace(DEFAULT_LIMITS, min_scattered=min_scattered)
    return plan_block(BlockRequest([file], LAYOUT, np.array(frames), window, limits))


def increasing(size):
    """Return a strategy for increasing positions: a range with a step, or an array."""
    evenly = st.builds(range, st.integers(0, size - 1), st.just(size), st.integers(1, size))
    chosen = st.sets(st.integers(0, size - 1), min_size=1).map(lambda s: np.array(sorted(s)))
    return evenly | chosen


@given(
    frames=st.lists(st.integers(-1, N_FRAMES - 1), min_size=1, max_size=9),
    rows=increasing(ROWS),
    first=st.integers(0, COLUMNS - 1),
    fills=st.booleans(),
    max_gap=st.sampled_from([0, 20, 10**4]),
    min_scattered=st.sampled_from([1, 10**6]),
)
def test_any_frames_and_window_equal_numpy(frames, rows, first, fills, max_gap, min_scattered):
    window = Window(rows, range(first, COLUMNS, 2))
    plan = planned(
        BytesInMemory(fills=fills), frames, window, max_gap=max_gap, min_scattered=min_scattered
    )
    expected = NUMBERS[frames][:, list(rows)][:, :, first::2]
    expected[np.array(frames) < 0] = 0
    block = execute(plan)
    assert block.shape == plan.shape
    np.testing.assert_array_equal(block, expected)


@pytest.mark.parametrize("fills", [False, True])
@pytest.mark.parametrize("frames", [[2, 3, 4], [6, 0, 3]])
def test_groups_of_rows_are_fetched_in_one_call_of_a_reader_that_fills(frames, fills):
    reader = BytesInMemory(fills=fills)
    rows = [range(2), range(5, 6), range(8, 9)]
    plans = [planned(reader, frames, Window(each, range(COLUMNS))) for each in rows]
    for block, each in zip(execute_together(plans), rows, strict=True):
        np.testing.assert_array_equal(block, NUMBERS[frames][:, each])
    assert reader.n_fills == fills


@pytest.mark.parametrize(
    ("frames", "access", "n_ranges"),
    [([2, 3, 4], Access.VIEW, 1), ([6, 0, 3], Access.SCATTER, 3), ([1, 2, 1], Access.SCATTER, 1)],
)
def test_awaited_block_needs_no_thread_if_bytes_go_directly_to_their_places(
    frames, access, n_ranges
):
    reader = BytesInMemory(fills=True, awaitable=True)
    plan = planned(reader, frames, Window(range(ROWS), range(COLUMNS)))
    assert plan.access is access
    np.testing.assert_array_equal(asyncio.run(execute_awaited(plan)), NUMBERS[frames])
    assert reader.n_ranges == plan.cost.requests == n_ranges


def test_awaited_block_that_is_copied_out_of_buffers_needs_a_thread():
    reader = BytesInMemory(fills=True, awaitable=True)
    window = Window(range(ROWS), range(COLUMNS))
    plan = planned(reader, [6, 0, 3], window, min_scattered=10**6)
    assert plan.access is Access.GATHER
    assert asyncio.run(execute_awaited(plan)) is None
    assert reader.n_ranges == 0
