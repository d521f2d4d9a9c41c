"""Any shape, dtype, byte order, chunks and index: the array equals numpy on the same bytes."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from unittest.mock import patch

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mrcdist
from mrcdist.read_limits import ReadLimits
from tests.support.examples import examples
from tests.support.mrc_files import MODES, counting, mrc_bytes

# Some files have an extended header of unknown kind.
pytestmark = pytest.mark.filterwarnings("ignore:.*of unknown kind.*:mrcdist.MrcdistWarning")


@st.composite
def cases(draw):
    navigation = tuple(draw(st.lists(st.integers(2, 5), min_size=1, max_size=3)))
    frame = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    dtype = draw(st.sampled_from(sorted(MODES)))
    numbers = counting((int(np.prod(navigation)), *frame), dtype)
    extended = bytes(draw(st.sampled_from([0, 3, 160, 4096])))
    raw = mrc_bytes(numbers, byteorder=draw(st.sampled_from("<>")), extended=extended)
    expected = numbers.reshape(*navigation, *frame)
    index = draw(hnp.basic_indices(expected.shape, allow_newaxis=False, allow_ellipsis=True))
    chunks = tuple(draw(st.integers(1, size)) for size in expected.shape)
    return raw, navigation, expected, index, chunks


@pytest.mark.parametrize("io", ["map", "read", "auto"])
@given(case=cases())
@examples(150)
def test_source_from_a_local_file_equals_numpy(case, io):
    raw, navigation, expected, index, _ = case
    with tempfile.TemporaryDirectory() as folder, dask.config.set({"mrcdist.io": io}):
        path = Path(folder) / "any.mrc"
        path.write_bytes(raw)
        plan = mrcdist.plan_mrc(path, navigation_shape=navigation[::-1])
        got = plan.source[index]
    assert got.dtype == expected.dtype
    assert got.dtype.isnative
    assert got.flags.aligned
    np.testing.assert_array_equal(got, expected[index])


@given(case=cases())
@examples(150)
def test_source_without_budget_for_maps_equals_numpy(case):
    """Blocks are copied, a few pages of the file at a time."""
    raw, navigation, expected, index, _ = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.mrc"
        path.write_bytes(raw)
        got = in_short_pieces(mrcdist.plan_mrc(path, navigation_shape=navigation[::-1]))[index]
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected[index])


def in_short_pieces(plan):
    """Return the source without budget for maps, which copies a few pages at a time."""
    limits = ReadLimits(map_piece=64, min_piece=64, max_maps=0)
    return dataclasses.replace(plan.source, limits=limits)


def dirty(*arguments, **options):
    """Return memory filled with a pattern, to detect parts that are not written."""
    memory = np.zeros(*arguments, **options)
    memory.reshape(-1).view(np.uint8)[...] = 0xA5
    return memory


@pytest.mark.filterwarnings("ignore:.*(is truncated|read as 0).*:mrcdist.MrcdistWarning")
@pytest.mark.parametrize("io", ["map", "read"])
@given(case=cases(), present=st.integers(1, 200))
@examples(100)
def test_memory_that_is_not_zeroed_is_fully_written(case, io, present):
    """Missing frames of a truncated file are 0."""
    raw, navigation, expected, index, _ = case
    n_frames = int(np.prod(navigation))
    present = min(present, n_frames)
    missing = (n_frames - present) * (expected.nbytes // n_frames)
    frames = expected.copy().reshape(n_frames, *expected.shape[-2:])
    frames[present:] = 0
    with tempfile.TemporaryDirectory() as folder, dask.config.set({"mrcdist.io": io}):
        path = Path(folder) / "any.mrc"
        path.write_bytes(raw[: len(raw) - missing])
        plan = mrcdist.plan_mrc(path, navigation_shape=navigation[::-1], allow_truncated=True)
        source = in_short_pieces(plan)
        with patch.object(np, "empty", dirty):
            got = source[index]
    np.testing.assert_array_equal(got, frames.reshape(expected.shape)[index])


@given(case=cases())
@examples(100)
def test_source_from_memory_filesystem_equals_numpy(case, memory_file):
    raw, navigation, expected, index, _ = case
    plan = mrcdist.plan_mrc(memory_file(raw), navigation_shape=navigation[::-1])
    with dask.config.set({"mrcdist.max-gap": 0, "mrcdist.sub-range": 64}):
        scattered = plan.source[index]
    np.testing.assert_array_equal(scattered, expected[index])
    np.testing.assert_array_equal(plan.source[index], expected[index])


@given(case=cases())
@examples(30)
def test_dask_array_in_any_chunks_equals_numpy(case, memory_file):
    raw, navigation, expected, index, chunks = case
    [ds] = mrcdist.read_mrc(memory_file(raw), navigation_shape=navigation[::-1], chunks=chunks)
    array = ds["data"]
    assert array.chunksize == chunks
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(array.compute(), expected)
        np.testing.assert_array_equal(array[index].compute(), expected[index])
