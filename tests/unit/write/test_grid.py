"""Cells of a file, and splitting blocks at their boundaries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.plan.chunks import block_boxes
from mrcdist.write.blocks import contiguous_chunks, is_contiguous
from mrcdist.write.grid import Grid, block_runs, join_pieces, split_run

GRIDS = st.builds(
    lambda first, step, size, lacking: Grid(first, step, size, lacking % step),
    first=st.integers(1, 40),
    step=st.integers(1, 30),
    size=st.integers(50, 200),
    lacking=st.integers(0, 29),
)


@st.composite
def chunked_shapes(draw, most=5):
    """Return chunks along up to four axes."""
    chunks = []
    for _ in range(draw(st.integers(1, 4))):
        chunks.append(tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=most))))
    return tuple(chunks)


class TestGrid:
    @given(GRIDS)
    def test_cells_follow_each_other_from_the_first_byte_to_the_last(self, grid):
        spans = [grid.span(number) for number in range(grid.cells)]
        assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
        assert spans[-1][1] == grid.size

    @given(GRIDS)
    def test_only_the_second_cell_of_a_grid_is_shorter(self, grid):
        lengths = [stop - start for start, stop in map(grid.span, range(grid.cells))]
        assert (
            lengths[1:-1] == [grid.step - grid.lacking, *[grid.step] * grid.cells][: grid.cells - 2]
        )

    @given(GRIDS, st.data())
    def test_number_gives_the_cell_that_contains_a_byte(self, grid, data):
        at = data.draw(st.integers(0, grid.size - 1))
        start, stop = grid.span(grid.number(at))
        assert start <= at < stop

    @given(GRIDS, st.data())
    def test_split_run_gives_whole_cells_and_parts_of_cells_at_the_ends(self, grid, data):
        start = data.draw(st.integers(0, grid.size - 1))
        stop = data.draw(st.integers(start + 1, grid.size))
        whole, parts = split_run(grid, start, stop)
        spans = sorted([*parts, *([whole] if whole[0] < whole[1] else [])])
        assert spans[0][0] == start
        assert spans[-1][1] == stop
        assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
        cells = {grid.span(number) for number in range(grid.cells)}
        if whole[0] < whole[1]:
            assert whole[0] in {a for a, _ in cells}
            assert whole[1] in {b for _, b in cells}
        for a, b in parts:
            assert grid.number(a) == grid.number(b - 1)

    @given(GRIDS, st.data())
    def test_blocks_in_any_order_write_each_cell_once(self, grid, data):
        raw = bytes(range(256))[: grid.size]
        cuts = data.draw(st.lists(st.integers(1, grid.size - 1), unique=True, max_size=12))
        edges = sorted({0, grid.size, *cuts})
        written = np.zeros(grid.size, int)
        pieces = []
        for a, b in itertools.pairwise(edges):
            (begin, end), parts = split_run(grid, a, b)
            written[begin:end] += 1
            pieces += [(x, raw[x:y]) for x, y in parts]
        pieces = data.draw(st.permutations(pieces))
        half = len(pieces) // 2
        carried = []
        for some in (pieces[:half], pieces[half:]):
            complete, rest = join_pieces(grid, some)
            carried += rest
            for at, content in complete:
                assert content == raw[at : at + len(content)]
                written[at : at + len(content)] += 1
        complete, rest = join_pieces(grid, carried)
        assert rest == []
        for at, content in complete:
            assert content == raw[at : at + len(content)]
            written[at : at + len(content)] += 1
        assert written.tolist() == [1] * grid.size


class TestBlockRuns:
    @given(chunked_shapes())
    def test_runs_of_all_blocks_reassemble_the_array(self, chunks):
        shape = tuple(sum(axis) for axis in chunks)
        array = np.arange(math.prod(shape)).reshape(shape)
        flat = np.full(array.size, -1)
        for box in block_boxes(chunks):
            block = array[tuple(slice(*span) for span in box)]
            length, runs = block_runs(shape, box)
            for at, index in runs:
                assert (flat[at : at + length] == -1).all()
                flat[at : at + length] = block[index].ravel()
        assert (flat == array.ravel()).all()

    @given(chunked_shapes())
    def test_contiguous_blocks_are_one_run_each_and_in_order(self, chunks):
        shape = tuple(sum(axis) for axis in chunks)
        runs = [
            (length, list(found))
            for length, found in (block_runs(shape, box) for box in block_boxes(chunks))
        ]
        starts = [found[0][0] for _, found in runs]
        in_order = all(len(found) == 1 for _, found in runs) and starts == sorted(starts)
        assert is_contiguous(chunks) == in_order

    @given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 400))
    def test_chosen_blocks_are_contiguous_and_within_the_target(self, shape, target):
        lengths = contiguous_chunks(shape, lambda columns: 2 * columns, target)
        chunks = tuple(
            tuple(min(length, size - at) for at in range(0, size, length))
            for length, size in zip(lengths, shape, strict=True)
        )
        assert is_contiguous(chunks)
        assert 2 * math.prod(lengths) <= max(target, 2 * shape[-1])

    @pytest.mark.parametrize(
        ("chunks", "expected"),
        [
            (((2, 2), (3,), (4,)), True),
            (((1, 1), (2, 1), (4,)), True),
            (((2, 2), (2, 1), (4,)), False),
            (((4,), (3,), (2, 2)), False),
        ],
    )
    def test_blocks_are_contiguous_if_each_is_one_run_of_the_file(self, chunks, expected):
        assert is_contiguous(chunks) == expected
