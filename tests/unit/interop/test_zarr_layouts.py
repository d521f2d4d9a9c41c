"""Blocks of a new Zarr array, and the pieces in which they are verified."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.interop.zarr_layouts import Level, NewArray, Selected, split_box
from mrcdist.plan.selection import Box
from tests.support.examples import examples

sizes = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 8), st.integers(1, 10)), min_size=1, max_size=3
)


def level(shape: tuple[int, ...], chunks: tuple[int, ...], block: tuple[int, ...]) -> Level:
    array = NewArray("data", shape, "uint8", chunks, block)
    return Level(array, Selected(None, (0,) * len(shape), "uint8"), block)  # type: ignore[arg-type]


def coverage(shape: tuple[int, ...], boxes: list[Box]) -> set[int]:
    """Return the numbers of boxes that cover positions of an array."""
    times = np.zeros(shape, int)
    for box in boxes:
        times[box] += 1
    return set(times.ravel().tolist())


class TestLevel:
    @given(sizes)
    @examples(100)
    def test_pieces_of_all_blocks_are_whole_chunks_and_cover_the_array(
        self, axes: list[tuple[int, int, int]]
    ) -> None:
        shape, chunks, many = zip(*axes, strict=True)
        block = tuple(chunk * n for chunk, n in zip(chunks, many, strict=True))
        new_level = level(shape, chunks, block)
        assert coverage(shape, new_level.boxes) == {1}
        found = [
            piece for box in new_level.boxes for piece in split_box(box, new_level.array.chunks)
        ]
        assert coverage(shape, found) == {1}
        assert all(
            part.start % chunk == 0 and (part.stop % chunk == 0 or part.stop == size)
            for box in found
            for part, chunk, size in zip(box, chunks, shape, strict=True)
        )

    def test_block_is_verified_in_quarters(self) -> None:
        new_level = level((64, 2048, 2048), (64, 64, 64), (64, 512, 2048))
        found = list(split_box(new_level.boxes[1], new_level.array.chunks))
        assert [piece[1].start for piece in found] == [512, 640, 768, 896]
        assert all(piece[::2] == (slice(0, 64), slice(0, 2048)) for piece in found)
