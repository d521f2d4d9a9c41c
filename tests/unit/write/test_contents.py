"""Order of the axes of data to be written, and their metadata as JSON."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mrcdist.errors import ArgumentError
from mrcdist.write.contents import contents_of, in_angstrom, metadata_items, to_json

NUMBERS = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("signal_axes", "order"),
    [
        ((2, 3), (0, 1, 2, 3)),
        ((0, 1), (2, 3, 0, 1)),
        ((0, 3), (1, 2, 0, 3)),
        ((0,), (0, 1, 2, 3)),
        ((0, 1, 2), (0, 1, 2, 3)),
    ],
)
def test_two_signal_axes_of_four_become_the_axes_of_the_frames(signal_axes, order):
    axes = [{"name": f"axis {i}", "navigate": i not in signal_axes} for i in range(4)]
    contents = contents_of(NUMBERS, axes)
    np.testing.assert_array_equal(contents.array, NUMBERS.transpose(order))
    assert [axis.name for axis in contents.axes] == [f"axis {i}" for i in order]
    assert [axis.size for axis in contents.axes] == list(contents.array.shape)
    assert [axis.navigate for axis in contents.axes] == [True, True, False, False]


@pytest.mark.parametrize("navigation_axis", range(3))
def test_two_signal_axes_of_three_become_the_axes_of_the_frames(navigation_axis):
    axes = [{"navigate": i == navigation_axis} for i in range(3)]
    contents = contents_of(NUMBERS[0], axes)
    np.testing.assert_array_equal(contents.array, np.moveaxis(NUMBERS[0], navigation_axis, 0))


@pytest.mark.parametrize(
    ("data", "axes", "code"),
    [
        (NUMBERS, [{}] * 3, "axes-mismatch"),
        (NUMBERS, [{}, {}, {}, {"name": "rgb"}], "data-not-writable"),
        (NUMBERS[0, 0, 0], None, "data-not-writable"),
        (NUMBERS[:, :, :0], None, "data-not-writable"),
    ],
)
def test_data_that_are_not_frames_with_axes_are_refused(data, axes, code):
    with pytest.raises(ArgumentError) as caught:
        contents_of(data, axes)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ({"scale": 2, "offset": -3, "units": "nm"}, (20.0, -30.0)),
        ({"scale": 2, "offset": -3, "units": " µm "}, (2e4, -3e4)),
        ({"scale": 2, "offset": -3, "units": "nm^-1"}, (None, 0.0)),
        ({"scale": -2, "offset": -3, "units": "nm"}, (None, 0.0)),
        ({"scale": 0, "units": "nm"}, (None, 0.0)),
        ({"scale": 2}, (None, 0.0)),
        ({"units": "nm", "axis": [1, 2, 4, 8, 16]}, (None, 0.0)),
    ],
)
def test_only_calibrated_lengths_are_converted_to_angstrom(axis, expected):
    contents = contents_of(NUMBERS, [{}, {}, {}, axis])
    assert in_angstrom(contents.axes[-1]) == expected


def test_metadata_are_converted_to_the_types_of_json():
    nested = {"a": {"b": None, "c": "", "d": 0, 5: np.float32(2)}, "e": [], "f": math.nan}
    assert dict(metadata_items(nested)) == {
        ("a", "d"): 0,
        ("a", "5"): 2,
        ("e",): [],
        ("f",): pytest.approx(math.nan, nan_ok=True),
    }
    assert to_json({1: (np.arange(2), math.inf, True, 1j)}) == {"1": [[0, 1], None, True, "1j"]}
