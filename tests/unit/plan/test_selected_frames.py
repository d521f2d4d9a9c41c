"""Lists of points, lists of numbers and masks select what numpy's indexing selects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcdist.errors import ArgumentError
from mrcdist.plan.selected_frames import selected_frames
from tests.support.examples import examples

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)


def numbered(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape)).reshape(shape)


@given(data=st.data(), shape=SHAPES)
@examples(100)
def test_mask_selects_as_in_numpy(data: st.DataObject, shape: tuple[int, ...]) -> None:
    mask = data.draw(hnp.arrays(bool, shape))
    np.testing.assert_array_equal(selected_frames(mask, shape), numbered(shape)[mask])


@given(data=st.data(), shape=SHAPES)
@examples(100)
def test_points_select_as_in_numpy(data: st.DataObject, shape: tuple[int, ...]) -> None:
    points = data.draw(st.lists(st.tuples(*(st.integers(-n, n - 1) for n in shape)), min_size=1))
    expected = numbered(shape)[tuple(np.array(points).T)]
    np.testing.assert_array_equal(selected_frames(points, shape), expected)


@given(data=st.data(), shape=SHAPES)
@examples(100)
def test_numbers_count_in_array_order(data: st.DataObject, shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    numbers = data.draw(st.lists(st.integers(-size, size - 1)))
    expected = numbered(shape).ravel()[np.array(numbers, int)]
    np.testing.assert_array_equal(selected_frames(numbers, shape), expected)


@given(data=st.data(), shape=SHAPES)
@examples(100)
def test_slices_count_in_array_order(data: st.DataObject, shape: tuple[int, ...]) -> None:
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
def test_what_selects_nothing_is_an_error(which: Any, cause: str) -> None:
    with pytest.raises(ArgumentError) as error:
        selected_frames(which, (3, 4))
    assert error.value.code == "frames-invalid"
    assert cause in str(error.value.cause)
