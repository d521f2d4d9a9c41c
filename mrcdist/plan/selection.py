"""The selected part of an array: by an index, frames of the scan, or ranges along the axes."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis

Box = tuple[slice, ...]

_FRAMES = (
    "pass a boolean array of the navigation axes' shape, a list of points with one index per "
    "navigation axis, or a list or slice of numbers that count along them, the last axis fastest"
)


@dataclass(frozen=True)
class Selection:
    """Positions selected along each axis of an array; steps may be negative, and ranges empty.

    Axes that are not `kept` are removed from the result by an integer.
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


def selected_frames(which: Any, navigation_shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the selected positions, counted along the navigation axes, in the order given.

    `which` is of bool, shape `navigation_shape`: where it is true, in array order. Of int, shape
    (n, number of navigation axes): an index along each axis. Of int, shape (n,), or a slice:
    positions counted in array order. Negative indices count from the end, as in numpy.
    """
    if isinstance(which, slice):
        try:
            return np.arange(*which.indices(math.prod(navigation_shape)), dtype=np.int64)
        except (TypeError, ValueError) as error:  # no integers, or a step of 0
            raise _no_frames(repr(which), str(error)) from None
    try:
        wanted = np.asarray(which)
    except ValueError:  # lists of different lengths
        raise _no_frames(repr(which), "its rows have different lengths") from None
    if wanted.size == 0 and wanted.dtype != bool:
        return np.empty(0, np.int64)
    shown = f"an array of {wanted.dtype}, shape {wanted.shape}"
    if wanted.dtype == bool:
        if wanted.shape != navigation_shape:
            raise _no_frames(shown, f"the navigation axes have the shape {navigation_shape}")
        return np.flatnonzero(wanted).astype(np.int64)
    if wanted.dtype.kind not in "iu":
        raise _no_frames(shown, "indices are integers")
    if wanted.ndim == 1:
        size = math.prod(navigation_shape)
        return _from_start(wanted, size, f"there are {size:,} frames")
    if wanted.ndim != 2 or wanted.shape[1] != len(navigation_shape):
        raise _no_frames(shown, f"there are {len(navigation_shape)} navigation axes")
    along = [
        _from_start(wanted[:, axis], size, f"navigation axis {axis} has {size:,} positions")
        for axis, size in enumerate(navigation_shape)
    ]
    return np.ravel_multi_index(along, navigation_shape).astype(np.int64, copy=False)


def _from_start(indices: npt.NDArray[Any], size: int, cause: str) -> npt.NDArray[np.int64]:
    outside = (indices < -size) | (indices >= size) if size else np.ones(indices.shape, bool)
    if outside.any():
        raise _no_frames(f"index {indices[outside][0]}", cause)
    counted = indices.astype(np.int64)
    return np.where(counted < 0, counted + size, counted)


def _no_frames(what: str, cause: str) -> ArgumentError:
    return ArgumentError(
        f"{what} does not select frames",
        code="frames-invalid",
        argument="which",
        cause=cause,
        remedy=_FRAMES,
    )


def selected_box(select: str | Sequence[slice], shape: tuple[int, ...]) -> Box:
    """Return a slice for each axis, with start and stop, of what the caller gives."""
    given = _parsed(select) if isinstance(select, str) else tuple(select)
    if len(given) > len(shape):
        raise _no_box(
            f"select: {len(given)} ranges for an array of {len(shape)} axes",
            f"the array has the shape {shape}",
            "give at most one range an axis",
        )
    if not all(isinstance(part, slice) for part in given):
        raise _no_box(
            f"select={select!r}",
            "it has one slice an axis",
            "pass slice(3, 4) for a position, so that the axis stays",
        )
    index = (*given, *(slice(None),) * (len(shape) - len(given)))
    if any(part.step not in (None, 1) for part in index):
        raise _no_box(
            "select has steps",
            "what is written is one box of the array",
            "give ranges without a step",
        )
    whole = tuple(slice(*part.indices(size)[:2]) for part, size in zip(index, shape, strict=True))
    if any(part.stop <= part.start for part in whole):
        raise _no_box(
            f"select leaves nothing of an array of the shape {shape}",
            "a range is empty",
            "give ranges with at least one position",
        )
    return whole


def _parsed(text: str) -> Box:
    try:
        return tuple(parse_range(part) for part in text.split(","))
    except ValueError:
        raise _no_box(
            f"select={text}",
            "it has one range an axis, slowest first: start:stop, either of which may be left out",
            "pass something like 0:10,:,64:192,64:192",
        ) from None


def parse_range(text: str) -> slice:
    """Parse ``START:STOP`` or ``START:STOP:STEP``, of which each number may be left out.

    Other text raises a ValueError.
    """
    numbers = text.strip().split(":")
    if len(numbers) not in (2, 3):
        raise ValueError(text)
    return slice(*(int(number) if number else None for number in numbers))


def _no_box(problem: str, cause: str, remedy: str) -> ArgumentError:
    return ArgumentError(
        problem, code="select-invalid", argument="select", cause=cause, remedy=remedy
    )


def numbers_in(box: Box, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the numbers of the positions in a box of an array, counted in C order."""
    along = np.ix_(*(np.arange(part.start, part.stop) for part in box))
    return np.asarray(np.ravel_multi_index(along, shape), np.int64)


def cropped(axis: Axis, part: slice) -> Axis:
    """Return the part of an axis between start and stop."""
    values = None if axis.values is None else axis.values[part]
    offset = axis.offset + part.start * axis.scale
    return replace(axis, size=part.stop - part.start, offset=offset, values=values)
