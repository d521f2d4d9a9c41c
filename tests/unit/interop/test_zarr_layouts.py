"""Blocks of a new Zarr array, and splitting them to verify them."""

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
    """Return how often the positions of an array are covered by boxes."""
    times = np.zeros(shape, int)
    for box in boxes:
        times[box] += 1
    return set(times.ravel().tolist())


class TestLevel:
    @given(sizes)
    @examples(100)
    def test_parts_of_all_blocks_are_whole_chunks_and_cover_the_array(
        self, axes: list[tuple[int, int, int]]
    ) -> None:
        shape, chunks, many = zip(*axes, strict=True)
        block = tuple(chunk * n for chunk, n in zip(chunks, many, strict=True))
        made = level(shape, chunks, block)
        assert coverage(shape, made.boxes) == {1}
        found = [piece for box in made.boxes for piece in split_box(box, made.array.chunks)]
        assert coverage(shape, found) == {1}
        assert all(
            part.start % chunk == 0 and (part.stop % chunk == 0 or part.stop == size)
            for box in found
            for part, chunk, size in zip(box, chunks, shape, strict=True)
        )

    def test_block_is_split_into_quarters(self) -> None:
        made = level((64, 2048, 2048), (64, 64, 64), (64, 512, 2048))
        found = list(split_box(made.boxes[1], made.array.chunks))
        assert [piece[1].start for piece in found] == [512, 640, 768, 896]
        assert all(piece[::2] == (slice(0, 64), slice(0, 2048)) for piece in found)
