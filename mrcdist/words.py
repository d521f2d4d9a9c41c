"""Numbers, units and positions as they are printed."""

from __future__ import annotations

from mrcdist.format.axis import Axis

__all__ = ["number_words", "position_words", "unit_words"]


def number_words(value: float) -> str:
    """Return four digits of a number, with a true minus."""
    return f"{value:.4g}".replace("-", "−")


def unit_words(units: str) -> str:
    """Return units as they are printed: "nm⁻¹" for "nm^-1"."""
    return units.replace("^-1", "⁻¹")


def position_words(axis: Axis, index: int) -> str:
    """Say where on an axis a position is: "z 60 of 120", "tilt −12 deg"."""
    if axis.values is not None:
        return f"{axis.name} {number_words(axis.values[index])} {axis.units or ''}".rstrip()
    if axis.units in ("deg", "s"):
        return f"{axis.name} {number_words(axis.offset + index * axis.scale)} {axis.units}"
    return f"{axis.name} {index} of {axis.size}"
