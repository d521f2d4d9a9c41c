"""Plans for reading a block, by the capabilities of the readers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mrcdist.format.pixels import PixelFormat
from mrcdist.plan.block import Access, BlockRequest, plan_block, plan_by_rows
from mrcdist.plan.coalesce import Merging, Window
from mrcdist.plan.layout import Layout
from mrcdist.plan.reader_capabilities import Capabilities, Cost, FrameFile
from mrcdist.read_limits import DEFAULT_LIMITS

READER = object()  # has a role, but planning calls none of its methods
FRAMES, SIDE = 12, 16
FRAME_BYTES = 2 * SIDE**2
LAYOUT = Layout(PixelFormat("<u2"), (SIDE, SIDE), (FRAMES,), FRAMES)
WHOLE = Window(range(SIDE), range(SIDE))
SOME_ROWS = Window(range(4, 8), range(SIDE))


def part(*, first=0, frames=FRAMES, offset=1024, **roles):
    """Return a file in which gaps of up to half a frame are read, and in a view all gaps."""
    capabilities = Capabilities(
        views=None, cost=lambda start, stop: Cost(1, stop - start), gap=FRAME_BYTES // 2, **roles
    )
    copied = Merging(FRAME_BYTES // 2, 4.0, 2**20, 1, 2**22)
    viewed = Merging(2**20, 1e9, 2**30, 1, 2**22)
    return FrameFile(capabilities, offset, first, frames, copied, viewed)


def planned(parts, numbers, window=WHOLE, limits=DEFAULT_LIMITS):
    return plan_block(BlockRequest(parts, LAYOUT, np.array(numbers), window, limits))


def test_consecutive_frames_are_a_view_of_one_range():
    plan = planned([part()], [3, 4, 5])
    assert plan.access is Access.VIEW
    assert plan.reads[0].spans == [(1024 + 3 * FRAME_BYTES, 1024 + 6 * FRAME_BYTES)]
    assert plan.cost == Cost(1, 3 * FRAME_BYTES)
    assert plan.shape == (3, SIDE, SIDE)
    assert plan.maps is None
    assert plan.complete


def test_mapped_frames_that_are_not_evenly_spaced_are_copied_out_of_a_map():
    plan = planned([part(maps=READER)], [7, 2, 5])
    assert plan.access is Access.COPY_FROM_MAP
    assert plan.maps is READER
    assert plan.without_map.access in (Access.GATHER, Access.SCATTER)
    assert plan.without_map.maps is None


def test_unaligned_pixels_are_never_a_view_of_mapped_pages():
    assert planned([part(maps=READER)], [0, 1]).access is Access.VIEW
    assert planned([part(maps=READER, offset=1025)], [0, 1]).access is not Access.VIEW


@pytest.mark.parametrize("fills", [False, True])
def test_frames_of_several_files_are_read_from_each(fills):
    roles = {"fills": READER} if fills else {}
    parts = [part(frames=4, **roles), part(first=4, frames=8, **roles)]
    plan = planned(parts, [3, 4, 5], limits=replace(DEFAULT_LIMITS, min_scattered=FRAME_BYTES))
    assert plan.access is (Access.SCATTER if fills else Access.GATHER)
    assert planned(parts, [3, 4, 5]).access is Access.GATHER  # frames are too small by default
    assert [read.spans for read in plan.reads] == [
        [(1024 + 3 * FRAME_BYTES, 1024 + 4 * FRAME_BYTES)],
        [(1024, 1024 + 2 * FRAME_BYTES)],
    ]


def test_missing_frames_are_not_read():
    plan = planned([part()], [2, -1, 4])
    assert not plan.complete
    assert [list(read.places) for read in plan.reads] == [[0, 2]]


def test_only_the_requested_rows_are_read():
    plan = planned([part()], [1], SOME_ROWS)
    row = 2 * SIDE
    start = 1024 + FRAME_BYTES + 4 * row
    assert [span for read in plan.reads for span in read.spans] == [(start, start + 4 * row)]
    assert plan.cost.nbytes == 4 * row


def test_plan_of_a_dataset_without_files_reads_nothing():
    plan = planned([], [-1, -1])
    assert plan.cost == Cost(0, 0)
    assert plan.reads == ()


@pytest.mark.parametrize(
    ("rows", "roles", "groups"),
    [
        (range(2, 16), {}, [range(2, 16)]),
        (np.array([0, 1, 15]), {}, [[0, 1], [15]]),
        (np.array([0, 1, 9]), {}, [[0, 1, 9]]),
        (np.array([0, 1, 15]), {"maps": READER}, [[0, 1], [15]]),
        (np.array([0, 1, 15]), {"whole_frames": True}, [[0, 1, 15]]),
        (range(0, 16, 15), {}, [[0, 15]]),  # can be a view
    ],
)
def test_rows_are_planned_in_groups_between_long_gaps(rows, roles, groups):
    window = Window(rows, range(SIDE))
    plans = plan_by_rows(
        BlockRequest([part(**roles)], LAYOUT, np.array([3]), window, DEFAULT_LIMITS)
    )
    assert [list(plan.request.window.rows) for plan in plans] == [list(group) for group in groups]


def test_evenly_spaced_rows_that_cannot_be_a_view_are_planned_one_by_one():
    file = part()
    file = replace(file, in_place=file.merging)
    window = Window(range(0, 16, 15), range(SIDE))
    plans = plan_by_rows(BlockRequest([file], LAYOUT, np.array([3]), window, DEFAULT_LIMITS))
    assert [list(plan.request.window.rows) for plan in plans] == [[0], [15]]
