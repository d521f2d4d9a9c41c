"""Encoded bytes of a block equal those of numpy, and take little additional memory."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

import mrcdist
from mrcdist.format.encode import choose_storage, encode_pixels
from mrcdist.write.encoded_block import TEMPORARIES, EncodedBlock
from mrcdist.write.s3_parts import S3Limits, encoded_at_a_time, s3_grid
from mrcdist.write.statistics import statistics_of

MIB = 2**20

# dtype of the array, requested dtype
CONVERSIONS = [
    (">u2", None), ("uint8", None), ("uint8", "uint4"), ("float64", "uint4"), ("bool", None),
    ("int16", "float32"), ("float32", "uint16"), ("float64", "float32"), ("int32", "float32"),
    ("int32", "int16"), ("uint8", "complex64"),
]  # fmt: skip


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("columns", [251, 252])
@pytest.mark.parametrize(("dtype", "requested"), [("<u2", None), *CONVERSIONS])
def test_any_byte_range_of_a_block_equals_that_of_the_encoded_array(
    dtype: str, requested: Any, columns: int, byteorder: Any
) -> None:
    rows = (np.arange(700 * columns).reshape(700, columns) % 2).astype(dtype)
    storage = choose_storage(rows.dtype, requested)
    whole = encode_pixels(rows, storage, byteorder).tobytes()
    block = EncodedBlock(rows, storage, byteorder, 100)
    cuts = [0, 1, 1000, 66_000, len(whole) - 3, len(whole)]
    for start, stop in itertools.pairwise(cuts):
        assert bytes(block.between(100 + start, 100 + stop)) == whole[start:stop]
    assert bytes(block.between(100, 100 + len(whole))) == whole


@pytest.mark.parametrize("layout", ["fortran", "transposed", "sliced"])
def test_block_in_another_memory_order_is_never_copied_whole(layout: str) -> None:
    numbers = np.arange(64 * 256 * 256, dtype="uint16").reshape(64, 256, 256)
    block = {
        "fortran": np.asfortranarray(numbers),
        "transposed": numbers.transpose(2, 0, 1),
        "sliced": numbers[:, ::2, 1:],
    }[layout]
    expected, known = block.tobytes(), statistics_of(np.ascontiguousarray(block))
    encoded = EncodedBlock(block, choose_storage(block.dtype, None), "<", 0)
    assert encoded.copied
    tracemalloc.start()
    try:
        for start, stop in itertools.pairwise(range(0, block.nbytes + 1, block.nbytes // 8)):
            assert encoded.between(start, stop) == expected[start:stop]
        assert statistics_of(block) == known
        [_, peak] = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= block.nbytes // 4 + 4 * TEMPORARIES


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("requested", ["float32", "uint4"])
def test_part_of_a_long_row_is_encoded_without_the_rest(requested: str, order: Any) -> None:
    rows = np.ones((2, 2**21), "float64", order=order)
    block = EncodedBlock(rows, choose_storage(rows.dtype, requested), "<", 0)
    tracemalloc.start()
    try:
        assert len(block.between(MIB - 10, MIB + 2**14)) == 2**14 + 10
        [_, peak] = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < TEMPORARIES


@pytest.mark.parametrize(("dtype", "requested"), CONVERSIONS)
def test_parts_sent_at_a_time_take_at_most_half_of_a_block(dtype: str, requested: Any) -> None:
    rows = np.ones((64 * MIB // np.dtype(dtype).itemsize // 2048, 2048), dtype)
    storage = choose_storage(rows.dtype, requested)
    stored = len(rows) * storage.row_bytes(2048)
    grid = s3_grid(1024, 1024 + 9 * stored, stored, S3Limits())
    start, stop = grid.span(2)  # the previous one may be shorter
    block = EncodedBlock(rows, storage, "<", 1024)
    tracemalloc.start()
    try:
        part = block.between(start, stop)
        [_, peak] = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(part) == grid.step
    assert 1 <= encoded_at_a_time(rows.nbytes, grid.step) * peak <= rows.nbytes // 2


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_numbers_in_the_byte_order_of_the_file_are_sent_without_a_copy(
    byteorder: Any,
) -> None:
    rows = np.ones((8, 8), f"{byteorder}u2")
    block = EncodedBlock(rows, choose_storage(rows.dtype, None), byteorder, 0)
    assert np.shares_memory(np.asarray(block.between(16, 64)), rows)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_estimated_task_memory_includes_encoding(
    tmp_path: Path, order: str, byteorder: Any
) -> None:
    array = da.zeros((8, 2048, 1024), dtype=f"{order}u2", chunks=(4, -1, -1))
    plan = mrcdist.plan_write(tmp_path / "a.mrc", array, byteorder=byteorder)
    encoded = 0 if order == byteorder else 4 * MIB + TEMPORARIES
    assert plan.explain().task_memory == 16 * MIB + encoded
