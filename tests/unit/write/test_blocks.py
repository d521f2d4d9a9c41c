"""The blocks in which an array is written."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcdist
from mrcdist.write.blocks import is_contiguous, streamed_chunks
from mrcdist.write.stream import compute_run
from tests.support.mrc_files import counting


def edges(axis):
    return set(itertools.accumulate(axis, initial=0))


@st.composite
def chunked(draw):
    shape = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    chunks = []
    for size in shape:
        cuts = draw(st.sets(st.integers(1, size)))
        inside = sorted({0, size, *cuts})
        chunks.append(tuple(b - a for a, b in itertools.pairwise(inside)))
    return da.zeros(shape, chunks=tuple(chunks), dtype="int16")


@given(chunked(), st.sampled_from([2, 10_000, 2**22]), st.booleans())
def test_streamed_blocks_are_contiguous_and_consist_of_whole_chunks(
    array, pixel_bytes, whole_frames
):
    found = streamed_chunks(
        array, lambda n: n * pixel_bytes, whole_frames=whole_frames, memory=2**40
    )
    if found is None:  # a run of whole chunks is too long
        return
    assert tuple(map(sum, found)) == array.shape
    assert is_contiguous(found)
    assert all(
        edges(blocks) <= edges(chunks) for blocks, chunks in zip(found, array.chunks, strict=True)
    )
    if whole_frames:
        assert [len(axis) for axis in found[-2:]] == [1, 1]


def test_resume_is_noted_as_ignored_by_stores_that_keep_no_blocks():
    array = da.zeros((2, 4, 4), dtype="int16")
    plan = mrcdist.plan_write("memory://blocks/a.mrc", array, resume=True)
    assert "resume-ignored" in [note.code for note in plan.notes]


def test_chunks_are_computed_again_if_streamed_blocks_exceed_the_memory():
    columns = da.zeros((4096, 512, 512), chunks=(-1, 512, 64), dtype="int16")
    assert streamed_chunks(columns, lambda n: 2 * n, memory=2**40) is None
    plan = mrcdist.plan_write("memory://blocks/columns.mrc", columns)
    assert [note.code for note in plan.notes] == [
        "chunks-computed-again", "statistics-undetermined",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*statistics are marked as undetermined")
@pytest.mark.parametrize("name", ["a.mrc", "a.mrcz"])
@pytest.mark.parametrize("chunks", [(3, 40, 50), (1, 7, 64), (8, 64, 64), (5, 64, 10)])
def test_each_chunk_is_computed_once_for_a_sequential_store(chunks, name):
    calls, lock = Counter(), threading.Lock()

    def count(block, block_info=None):
        with lock:
            calls[tuple(block_info[0]["chunk-location"])] += 1
        return block

    numbers = counting((8, 64, 64), "int16")
    array = da.from_array(numbers, chunks=chunks).map_blocks(
        count, dtype="int16", meta=np.empty((0, 0, 0), "int16")
    )
    url = f"memory://blocks/{name}"
    mrcdist.write_mrc(url, array, overwrite=True)
    assert calls == dict.fromkeys(np.ndindex(array.numblocks), 1)
    [data] = mrcdist.read_mrc(url, distributed=False)
    np.testing.assert_array_equal(data["data"], numbers)


def test_streamed_blocks_fit_in_the_memory_of_a_task() -> None:
    rows = da.zeros((64, 16, 1024, 1024), "uint16", chunks=(8, 16, 128, 1024))  # runs of 256 MiB
    assert streamed_chunks(rows, lambda n: 2 * n, memory=2**40) is not None
    assert streamed_chunks(rows, lambda n: 2 * n, memory=512 * 2**20) is not None
    assert streamed_chunks(rows, lambda n: 2 * n, memory=511 * 2**20) is None


def test_computing_a_run_of_chunks_takes_little_more_memory_than_the_run() -> None:
    rows = da.ones((8, 64, 128, 128), "uint16", chunks=(8, 64, 8, 128))  # 16 MiB in 16 chunks
    compute_run(rows[:1])  # imports modules
    tracemalloc.start()
    try:
        with dask.config.set(num_workers=2):
            numbers = compute_run(rows)
        [_, peak] = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert numbers.all()
    assert peak <= 1.5 * numbers.nbytes
