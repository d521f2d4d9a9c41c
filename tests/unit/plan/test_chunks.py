"""Default chunks of contiguous whole frames near a size, and the ``chunks`` argument."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dask.utils import parse_bytes
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.errors import ArgumentError
from mrcdist.format.pixels import PixelFormat
from mrcdist.plan.chunks import chunk_notes, frame_chunks, plan_chunks
from mrcdist.plan.layout import Layout
from mrcdist.read_limits import DEFAULT_LIMITS, ReadLimits

DEFAULT_SIZE = 2**27


def layout(navigation=(16, 32), frame=(8, 8), stored="<u2"):
    return Layout(PixelFormat(stored), frame, navigation, math.prod(navigation))


@given(
    navigation=st.lists(st.integers(1, 40), max_size=4).map(tuple),
    frame=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    limit=st.integers(1, 100_000),
)
def test_chunks_are_contiguous_whole_frames_within_the_limit(navigation, frame, limit):
    chunks = frame_chunks(layout(navigation, frame), limit, DEFAULT_LIMITS)
    assert tuple(sum(axis) for axis in chunks) == (*navigation, *frame)
    assert chunks[-2:] == ((frame[0],), (frame[1],))
    largest = math.prod(max(axis) for axis in chunks) * 2
    assert largest <= max(limit, math.prod(frame) * 2)
    # Contiguous: blocks of 1, then the axis that is split, then whole axes.
    split = next((i for i, axis in enumerate(chunks[:-2]) if max(axis) > 1), len(navigation))
    assert all(len(axis) == 1 for axis in chunks[split + 1 :])


def test_rows_auto_give_detector_major_chunks_of_bounded_size():
    chunks = plan_chunks(layout((16, 32), (40, 8)), (-1, -1, "auto", -1), 2**16, DEFAULT_LIMITS)
    assert (chunks[0], chunks[1], chunks[3]) == ((16,), (32,), (8,))
    assert len(chunks[2]) > 1
    assert max(chunks[2]) * 16 * 32 * 8 * 2 <= 2**16


@given(size=st.integers(1, 10_000), limit=st.integers(1, 10_000))
def test_blocks_of_an_axis_are_even_and_as_few_as_possible(size, limit):
    [blocks, *_] = frame_chunks(layout((size,), (1, 1), "|u1"), limit, DEFAULT_LIMITS)
    assert len(blocks) == -(-size // limit)
    assert max(blocks) - min(blocks) <= 1


class TestLargeFrames:
    """A stitched montage of 60,000 x 50,000 pixels takes 5.6 GiB."""

    @pytest.mark.parametrize("chunks", ["auto", "128 MiB", "1 GiB", "1 MiB"])
    def test_frame_too_large_for_a_chunk_is_split_into_rows(self, chunks):
        montage = layout((), (50_000, 60_000))
        limit = parse_bytes("128 MiB" if chunks == "auto" else chunks)
        rows, columns = plan_chunks(montage, chunks, DEFAULT_SIZE, DEFAULT_LIMITS)
        assert columns == (60_000,)
        assert sum(rows) == 50_000
        assert limit / 2 < max(rows) * 60_000 * 2 <= limit

    def test_each_frame_of_a_stack_is_split(self):
        frames, rows, columns = plan_chunks(
            layout((3,), (50_000, 60_000)), "128 MiB", DEFAULT_SIZE, DEFAULT_LIMITS
        )
        assert (frames, columns) == ((1, 1, 1), (60_000,))
        assert len(rows) == 45

    @pytest.mark.parametrize(
        ("frame", "chunks"),
        [((16_384, 16_384), "128 MiB"), ((50_000, 60_000), "6 GiB"), ((50_000, 60_000), -1)],
    )
    def test_frames_that_fit_or_are_small_are_not_split(self, frame, chunks):
        assert plan_chunks(layout((), frame), chunks, DEFAULT_SIZE, DEFAULT_LIMITS) == (
            (frame[0],),
            (frame[1],),
        )

    def test_frames_that_are_compressed_as_a_whole_are_not_split(self):
        montage = layout((), (50_000, 60_000))
        assert plan_chunks(montage, "auto", DEFAULT_SIZE, DEFAULT_LIMITS, cut_frames=False) == (
            (50_000,),
            (60_000,),
        )

    @pytest.mark.parametrize("chunks", ["auto", "1 MiB"])
    def test_rows_beyond_the_limit_are_split_into_columns(self, chunks):
        limit = parse_bytes("128 MiB" if chunks == "auto" else chunks)
        rows, columns = plan_chunks(layout((), (4, 2**28)), chunks, DEFAULT_SIZE, DEFAULT_LIMITS)
        assert rows == (1, 1, 1, 1)
        assert columns == (limit // 2,) * (2**29 // limit)

    @pytest.mark.parametrize("frame", [(2**23, 2**6), (1, 2**29)])
    def test_too_many_pieces_of_a_frame_are_refused(self, frame):
        with pytest.raises(ArgumentError, match="more than 4194304 chunks"):
            plan_chunks(layout((), frame), "1 B", DEFAULT_SIZE, DEFAULT_LIMITS)


@pytest.mark.parametrize("auto", ["auto", None])
def test_automatic_chunks_have_the_default_size(auto):
    assert plan_chunks(layout(), auto, 2**14, DEFAULT_LIMITS) == ((4,) * 4, (32,), (8,), (8,))


def test_size_of_chunks_in_bytes_is_an_upper_limit():
    assert plan_chunks(layout(), "8 KiB", DEFAULT_SIZE, DEFAULT_LIMITS) == (
        (2,) * 8,
        (32,),
        (8,),
        (8,),
    )


@pytest.mark.parametrize(
    ("chunks", "shape"),
    [
        ((8, 16, -1, -1), (8, 16, 8, 8)),
        ((8, 16, 4, 4), (8, 16, 4, 4)),
        ({0: 4}, (4, 32, 8, 8)),
        ({-1: 2, 1: 5}, (16, 5, 8, 2)),
        (4, (4, 4, 4, 4)),
        (((10, 6), (32,), (8,), (8,)), (10, 32, 8, 8)),
    ],
)
def test_chunks_are_accepted_as_by_dask(chunks, shape):
    assert (
        tuple(max(axis) for axis in plan_chunks(layout(), chunks, DEFAULT_SIZE, DEFAULT_LIMITS))
        == shape
    )


@pytest.mark.parametrize(
    "chunks",
    [
        "many",
        "-3 MiB",
        "0 B",
        (4, 4),
        (1, 2, 3, 4, 5),
        {7: 1},
        {"y": 1},
        object(),
        (0, 1, 1, 1),
        (-2, 1, 1, 1),
        ((1, 2), (32,), (8,), (8,)),
        ((16, 0), (32,), (8,), (8,)),
        3.5,
    ],
)
def test_invalid_chunks_are_refused(chunks):
    with pytest.raises(ArgumentError, match="chunks=") as caught:
        plan_chunks(layout(), chunks, DEFAULT_SIZE, DEFAULT_LIMITS)
    assert caught.value.cause
    assert "whole" in caught.value.remedy or "keys" in caught.value.remedy


def test_empty_array_has_one_empty_block():
    assert plan_chunks(layout((0,)), "auto", DEFAULT_SIZE, DEFAULT_LIMITS) == ((0,), (8,), (8,))


def test_a_million_chunks_are_planned():
    chunks = plan_chunks(layout((1000, 1000), (4, 4)), (1, 1, -1, -1), DEFAULT_SIZE, DEFAULT_LIMITS)
    assert np.prod([len(axis) for axis in chunks]) == 1_000_000


# What a damaged header can announce if the store does not report the size of the file.
TOO_MANY = layout((2**31 - 1,), (16384, 16384))


@pytest.mark.parametrize("chunks", ["auto", "1 MiB", 1, (1, -1, -1), {0: 1}])
def test_too_many_chunks_are_an_error_that_proposes_others(chunks):
    with pytest.raises(ArgumentError, match="2147483647 in chunks of 1") as caught:
        plan_chunks(TOO_MANY, chunks, DEFAULT_SIZE, DEFAULT_LIMITS)
    assert "{0: 512}" in caught.value.remedy


def test_chunks_proposed_by_the_error_about_too_many_can_be_planned():
    assert len(plan_chunks(TOO_MANY, {0: 512}, DEFAULT_SIZE, DEFAULT_LIMITS)[0]) == 2**22


@pytest.mark.parametrize(
    ("length", "count", "noted"),
    [(4, 3, False), (4, 4, True), (3, 2, False), (3, 3, True)],
)
def test_too_many_chunks_are_noted_and_fewer_small_ones_are_too_many(length, count, noted):
    limits = ReadLimits(many_chunks=3, many_small_chunks=2, small_chunk=8)
    notes = chunk_notes(((length,) * count, (1,)), itemsize=2, limits=limits)
    assert [note.partition(" ")[0] for note in notes] == [str(count)] * noted
