"""Boxes of an array: the numbers of their positions, and no others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mrcdist.plan.selected_box import numbers_in


@pytest.mark.parametrize("shape", [(), (5,), (4, 6), (3, 4, 5)])
def test_numbers_of_a_box_are_those_of_numpy(shape: tuple[int, ...]) -> None:
    box = tuple(slice(1, n - 1) for n in shape)
    expected = np.arange(math.prod(shape)).reshape(shape)[box]
    np.testing.assert_array_equal(numbers_in(box, shape), expected, strict=True)


def test_a_box_of_a_long_scan_is_counted_alone() -> None:
    found = numbers_in((slice(5, 6), slice(7, 9)), (10**9, 10**9))
    assert found.tolist() == [[5 * 10**9 + 7, 5 * 10**9 + 8]]
