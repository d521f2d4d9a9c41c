"""Selection by an index, as frames or as a box, compared with numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcdist.errors import ArgumentError
from mrcdist.plan.selection import flat_indices, select, selected_frames
from tests.support.examples import examples

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)


@given(data=st.data(), shape=hnp.array_shapes(max_dims=4, max_side=5))
def test_basic_index_selects_as_in_numpy(data: Any, shape: tuple[int, ...]) -> None:
    index = data.draw(hnp.basic_indices(shape, allow_ellipsis=True))
    numbers = np.arange(np.prod(shape)).reshape(shape)
    selection = select(index, shape)
    found = numbers[np.ix_(*selection.ranges)].reshape(selection.result_shape)
    np.testing.assert_array_equal(found, numbers[index])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ((0, 0, 0, 0), "does not fit an array of 3 axes"),
        ((..., 0, ...), "does not fit an array of 3 axes"),
        ((4,), "index 4 is out of bounds for axis 0 of size 4"),
        ((0, -6), "index -6 is out of bounds for axis 1 of size 5"),
        ((0, [1, 2]), "only integers, slices and Ellipsis"),
        (1.0, "only integers, slices and Ellipsis"),
    ],
)
def test_invalid_index_or_list_of_positions_is_an_error(index: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        select(index, (4, 5, 6))


def numbered(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape)).reshape(shape)


@given(data=st.data(), shape=SHAPES)
@examples(100)
def test_mask_selects_as_in_numpy(data: st.DataObject, shape: tuple[int, ...]) -> None:
    mask = data.draw(hnp.arrays(bool, shape))
    np.testing.assert_array_equal(selected_frames(mask, shape), numbered(shape)[mask])


@given(data=st.data(), shape=SHAPES)
@examples(100)
def test_selected_points_are_those_of_numpy(data: st.DataObject, shape: tuple[int, ...]) -> None:
    points = data.draw(st.lists(st.tuples(*(st.integers(-n, n - 1) for n in shape)), min_size=1))
    expected = numbered(shape)[tuple(np.array(points).T)]
    np.testing.assert_array_equal(selected_frames(points, shape), expected)


@given(data=st.data(), shape=SHAPES)
@examples(100)
def test_frame_numbers_count_in_array_order(data: st.DataObject, shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    numbers = data.draw(st.lists(st.integers(-size, size - 1)))
    expected = numbered(shape).ravel()[np.array(numbers, int)]
    np.testing.assert_array_equal(selected_frames(numbers, shape), expected)


@given(data=st.data(), shape=SHAPES)
@examples(100)
def test_slices_of_frames_count_in_array_order(data: st.DataObject, shape: tuple[int, ...]) -> None:
    which = data.draw(st.slices(int(np.prod(shape))))
    np.testing.assert_array_equal(selected_frames(which, shape), numbered(shape).ravel()[which])


@pytest.mark.parametrize(
    ("which", "cause"),
    [
        (slice(0, 5, 0), "zero"),
        (slice(0.5, 5), "indices"),
        ([12], "there are 12 frames"),
        ([-13], "there are 12 frames"),
        ([(3, 0)], "navigation axis 0 has 3 positions"),
        ([(0, -5)], "navigation axis 1 has 4 positions"),
        ([(0, 0, 0)], "there are 2 navigation axes"),
        (5, "there are 2 navigation axes"),
        ([0.5], "indices are integers"),
        (["a"], "indices are integers"),
        ([(0, 1), (2,)], "different lengths"),
        (np.ones((4, 3), bool), "the shape (3, 4)"),
        (np.ones(12, bool), "the shape (3, 4)"),
        (np.empty((0, 4), bool), "the shape (3, 4)"),
        (np.array([2**64 - 1], np.uint64), "there are 12 frames"),
    ],
)
def test_invalid_selection_is_an_error(which: Any, cause: str) -> None:
    with pytest.raises(ArgumentError) as error:
        selected_frames(which, (3, 4))
    assert error.value.code == "frames-invalid"
    assert cause in str(error.value.cause)


@pytest.mark.parametrize("shape", [(), (5,), (4, 6), (3, 4, 5)])
def test_flat_indices_of_a_box_equal_numpy(shape: tuple[int, ...]) -> None:
    box = tuple(slice(1, n - 1) for n in shape)
    expected = np.arange(math.prod(shape)).reshape(shape)[box]
    np.testing.assert_array_equal(flat_indices(box, shape), expected, strict=True)


def test_flat_indices_of_a_box_do_not_depend_on_the_size_of_the_scan() -> None:
    found = flat_indices((slice(5, 6), slice(7, 9)), (10**9, 10**9))
    assert found.tolist() == [[5 * 10**9 + 7, 5 * 10**9 + 8]]
