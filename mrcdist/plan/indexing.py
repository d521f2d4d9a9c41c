"""Basic indexing: an index → ranges of positions along each axis."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

__all__ = ["Selection", "select"]


@dataclass(frozen=True)
class Selection:
    """Positions selected along each axis of an array.

    Attributes
    ----------
    ranges : tuple of range
        One per axis of the array; may be empty, and steps may be negative.
    kept : tuple of bool
        False for axes removed from the result by an integer.
    """

    ranges: tuple[range, ...]
    kept: tuple[bool, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape with axes indexed by integers kept as length 1."""
        return tuple(len(r) for r in self.ranges)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(len(r) for r, kept in zip(self.ranges, self.kept, strict=True) if kept)


def select(index: Any, shape: tuple[int, ...]) -> Selection:
    """Return the positions selected by integers, slices and at most one Ellipsis.

    Others, too many, and such as are out of bounds raise an IndexError.
    """
    parts = index if isinstance(index, tuple) else (index,)
    n_ellipses = sum(part is Ellipsis for part in parts)
    n_given = len(parts) - n_ellipses
    if n_ellipses > 1 or n_given > len(shape):
        raise IndexError(f"index {index!r} does not fit an array of {len(shape)} axes")
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    filler = (slice(None),) * (len(shape) - n_given)
    full = (*parts[:at], *filler, *parts[at + 1 :])

    ranges = tuple(
        range(size)[part] if isinstance(part, slice) else _one(part, axis, size)
        for axis, (part, size) in enumerate(zip(full, shape, strict=True))
    )
    return Selection(ranges, tuple(isinstance(part, slice) for part in full))


def _one(part: Any, axis: int, size: int) -> range:
    try:
        position = operator.index(part)
    except TypeError:
        raise IndexError(
            f"index {part!r} on axis {axis}: only integers, slices and Ellipsis are supported; "
            "index the dask array for anything else"
        ) from None
    if not -size <= position < size:
        raise IndexError(f"index {position} is out of bounds for axis {axis} of size {size}")
    return range(position % size, position % size + 1)
