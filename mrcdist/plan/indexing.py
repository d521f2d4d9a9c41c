"""A basic index into the array as ranges of positions along each axis."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

__all__ = ["Selection", "select"]


@dataclass(frozen=True)
class Selection:
    """The positions asked for along every axis of an array.

    Attributes
    ----------
    ranges : tuple of range
        One for each axis of the array; any step but 0, possibly empty.
    kept : tuple of bool
        False for axes that an integer removed from the result.
    """

    ranges: tuple[range, ...]
    kept: tuple[bool, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape before the axes that integers removed are dropped."""
        return tuple(len(r) for r in self.ranges)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(len(r) for r, kept in zip(self.ranges, self.kept, strict=True) if kept)


def select(index: Any, shape: tuple[int, ...]) -> Selection:
    """Resolve integers, slices and one Ellipsis against a shape.

    Parameters
    ----------
    index : int, slice, Ellipsis or tuple of them
    shape : tuple of int
        Shape of the array.

    Returns
    -------
    Selection

    Raises
    ------
    IndexError
        Out of bounds, too many indices, or an index that is none of these kinds.
    """
    parts = index if isinstance(index, tuple) else (index,)
    n_ellipses = sum(part is Ellipsis for part in parts)
    n_given = len(parts) - n_ellipses
    if n_ellipses > 1 or n_given > len(shape):
        raise IndexError(f"index {index!r} does not fit an array of {len(shape)} axes")
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    filler = (slice(None),) * (len(shape) - n_given)
    full = (*parts[:at], *filler, *parts[at + 1 :])

    ranges, kept = [], []
    for axis, (part, size) in enumerate(zip(full, shape, strict=True)):
        if isinstance(part, slice):
            ranges.append(range(size)[part])
        else:
            ranges.append(_one(part, axis, size))
        kept.append(isinstance(part, slice))
    return Selection(tuple(ranges), tuple(kept))


def _one(part: Any, axis: int, size: int) -> range:
    try:
        position = operator.index(part)
    except TypeError:
        raise IndexError(
            f"index {part!r} on axis {axis}: integers, slices and Ellipsis are read directly; "
            "index the dask array for anything else"
        ) from None
    if not -size <= position < size:
        raise IndexError(f"index {position} is out of bounds for axis {axis} of size {size}")
    return range(position % size, position % size + 1)
