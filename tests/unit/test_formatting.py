"""Formatting of numbers, units, shapes and positions."""

from __future__ import annotations

import pytest

from mrcdist.format.axis import Axis
from mrcdist.formatting import (
    format_list,
    format_position,
    format_shape,
    format_steps,
    format_unit,
)


@pytest.mark.parametrize(
    ("axis", "index", "text"),
    [
        (Axis("z", 9, True), 4, "z 4 of 9"),
        (Axis("tilt", 3, True, 3.0, -60.0, "deg"), 2, "tilt −54 deg"),
        (Axis("tilt", 3, True, units="deg", values=(-60.0, 1.5, 60.0)), 1, "tilt 1.5 deg"),
        (Axis("time", 9, True, 0.25, 0.0, "s"), 2, "time 0.5 s"),
    ],
)
def test_positions_are_formatted_in_the_units_of_the_axis(axis, index, text):
    assert format_position(axis, index) == text


@pytest.mark.parametrize(
    ("axis", "text"),
    [
        (Axis("tilt", 3, True, units="deg", values=(0.0, 3.0, -3.0)), "not monotonic, −3 to 3 deg"),
        (
            Axis("tilt", 3, True, units="deg", values=(60.0, 1.5, -60.0)),
            "uneven steps, −60 to 60 deg",
        ),
        (Axis("tilt", 3, True, -3.0, 6.0, "deg"), "−3 deg per step, from 6 deg"),
        (Axis("kx", 5, False, 0.5, -1.0, "nm^-1"), "0.5 nm⁻¹ per step, from −1 nm⁻¹"),
        (Axis("x", 5, False, 0.5, 0.0, "nm"), "0.5 nm per step"),
        (Axis("x", 5, False, 0.106512, 0.0, "nm"), "0.106512 nm per step"),
        (Axis("z", 9, True), "uncalibrated"),
    ],
)
def test_calibration_of_an_axis_is_described(axis, text):
    assert format_steps(axis) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.0, 3.0, -3.0], "3 values from −3 to 3"),
        ([2, 1], "[2, 1]"),
        (["a", "b", "c"], "['a', 'b', 'c']"),
        ([], "[]"),
    ],
)
def test_long_lists_of_numbers_are_summarised(values, text):
    assert format_list(values) == text


@pytest.mark.parametrize(
    ("units", "text"), [("nm", "nm"), ("nm^-1", "nm⁻¹"), ("e/nm^2", "e/nm²"), ("a^b", "a^b")]
)
def test_powers_in_units_are_superscripts(units, text):
    assert format_unit(units) == text


def test_shapes_are_formatted_as_products():
    assert format_shape((4, 256, 1)) == "4 × 256 × 1"
    assert format_shape(()) == "()"
