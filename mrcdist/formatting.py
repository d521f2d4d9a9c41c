"""Formatting of numbers, units, shapes and positions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from mrcdist.format.axis import Axis
from mrcdist.printable import printable

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_number(value: float, digits: int = 4) -> str:
    """Return a number with significant digits, and with a minus sign rather than a hyphen."""
    return f"{value:.{digits}g}".replace("-", "−")


def format_count(number: int, noun: str) -> str:
    """Return a number with a noun: "1 request", "2,000 requests"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def format_unit(units: str) -> str:
    """Return units with superscripts: "nm⁻¹" for "nm^-1"."""
    return re.sub(r"\^(-?\d+)", lambda match: match[1].translate(_SUPERSCRIPT), units)


def format_shape(shape: Iterable[int]) -> str:
    """Return a shape as a product: "256 × 256"."""
    return " × ".join(map(str, shape)) or "()"


def format_position(axis: Axis, index: int) -> str:
    """Return a position on an axis: "z 60 of 120", "tilt −12 deg"."""
    if axis.values is not None or axis.units in ("deg", "s"):
        return f"{axis.name} {format_number(axis.positions[index])} {axis.units or ''}".rstrip()
    return f"{axis.name} {index} of {axis.size}"


def format_list(values: Sequence[Any]) -> str:
    """Return a list as text; three or more numbers are summarised by their count and range."""
    if len(values) < 3 or not all(isinstance(value, int | float) for value in values):
        return str(list(values))
    return f"{len(values)} values from {format_number(min(values))} to {format_number(max(values))}"


def format_steps(axis: Axis) -> str:
    """Return the calibration of an axis: "0.5 nm per step, from −64 nm", "uncalibrated"."""
    if not axis.units:
        return "uncalibrated"
    units = format_unit(axis.units)
    if axis.values is not None:
        order = "uneven steps" if axis.monotonic else "not monotonic"
        low, high = (format_number(end, 6) for end in (min(axis.values), max(axis.values)))
        return f"{order}, {low} to {high} {units}"
    start = f", from {format_number(axis.offset, 6)} {units}" if axis.offset else ""
    return f"{format_number(axis.scale, 6)} {units} per step{start}"


def figure_text(text: str) -> str:
    """Return text that matplotlib draws literally: no mathtext, no control characters."""
    return printable(text).replace("$", r"\$")
