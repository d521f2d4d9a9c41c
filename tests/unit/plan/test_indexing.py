"""An index selects what numpy would, and is refused where numpy would refuse it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, basic_indices

from mrcdist.plan.indexing import select


@given(data=st.data(), shape=array_shapes(max_dims=4, max_side=5))
def test_any_basic_index_selects_what_numpy_does(data: Any, shape: tuple[int, ...]) -> None:
    index = data.draw(basic_indices(shape, allow_ellipsis=True))
    numbers = np.arange(np.prod(shape)).reshape(shape)
    selection = select(index, shape)
    found = numbers[np.ix_(*selection.ranges)].reshape(selection.result_shape)
    np.testing.assert_array_equal(found, numbers[index])


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ((0, 0, 0, 0), "does not fit an array of 3 axes"),
        ((..., 0, ...), "does not fit an array of 3 axes"),
        ((4,), "index 4 is out of bounds for axis 0 of size 4"),
        ((0, -6), "index -6 is out of bounds for axis 1 of size 5"),
        ((0, [1, 2]), "only integers, slices and Ellipsis"),
        (1.0, "only integers, slices and Ellipsis"),
    ],
)
def test_index_that_numpy_refuses_or_lists_of_positions_are_errors(index: Any, said: str) -> None:
    with pytest.raises(IndexError, match=said):
        select(index, (4, 5, 6))
