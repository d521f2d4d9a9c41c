"""Selection of a part of an array: by an index, by frames, or by ranges along the axes."""

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

_FRAMES_REMEDY = (
    "pass a boolean array with the shape of the navigation axes, a list of points with one index "
    "per navigation axis, or a list or slice of frame numbers, counted with the last axis fastest"
)


@dataclass(frozen=True)
class Selection:
    """Selected positions along each axis of an array; steps may be negative, and ranges empty.

    Axes that were indexed by an integer are not `kept` in the result.
    """

    ranges: tuple[range, ...]
    kept: tuple[bool, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in which axes indexed by an integer have length 1."""
        return tuple(len(r) for r in self.ranges)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(len(r) for r, kept in zip(self.ranges, self.kept, strict=True) if kept)


def select(index: Any, shape: tuple[int, ...]) -> Selection:
    """Return the positions selected by integers, slices and at most one Ellipsis.

    Raises an IndexError for any other index, too many of them, and positions out of bounds.
    """
    parts = index if isinstance(index, tuple) else (index,)
    n_ellipses = sum(part is Ellipsis for part in parts)
    n_missing = len(shape) - len(parts) + n_ellipses
    if n_ellipses > 1 or n_missing < 0:
        raise IndexError(f"index {index!r} does not fit an array of {len(shape)} axes")
    split = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    full = (*parts[:split], *(slice(None),) * n_missing, *parts[split + 1 :])
    ranges = tuple(
        range(size)[part] if isinstance(part, slice) else _single(part, axis, size)
        for axis, (part, size) in enumerate(zip(full, shape, strict=True))
    )
    return Selection(ranges, tuple(isinstance(part, slice) for part in full))


def _single(part: Any, axis: int, size: int) -> range:
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
    """Return the selected positions, counted along the navigation axes, in the given order.

    `which` is a mask of shape `navigation_shape`, which selects in array order; or integers of
    shape (n, number of navigation axes), an index along each axis; or integers of shape (n,) or a
    slice, which count positions in array order. Negative indices count from the end, as in numpy.
    """
    n_frames = math.prod(navigation_shape)
    if isinstance(which, slice):
        try:
            return np.arange(*which.indices(n_frames), dtype=np.int64)
        except (TypeError, ValueError) as error:  # not integers, or a step of 0
            raise _frames_invalid(repr(which), str(error)) from None
    try:
        indices = np.asarray(which)
    except ValueError:  # lists of different lengths
        raise _frames_invalid(repr(which), "its rows have different lengths") from None
    if indices.size == 0 and indices.dtype != bool:
        return np.empty(0, np.int64)
    description = f"an array of {indices.dtype}, shape {indices.shape}"
    if indices.dtype == bool:
        if indices.shape != navigation_shape:
            raise _frames_invalid(
                description, f"the navigation axes have the shape {navigation_shape}"
            )
        return np.flatnonzero(indices).astype(np.int64)
    if indices.dtype.kind not in "iu":
        raise _frames_invalid(description, "indices are integers")
    shape = (n_frames,) if indices.ndim == 1 else navigation_shape
    points = indices[:, np.newaxis] if indices.ndim == 1 else indices
    if points.ndim != 2 or points.shape[1] != len(shape):
        raise _frames_invalid(description, f"there are {len(shape)} navigation axes")
    sizes = np.array(shape)
    if (outside := (points < -sizes) | (points >= sizes)).any():
        row, axis = np.argwhere(outside)[0]
        cause = f"navigation axis {axis} has {sizes[axis]:,} positions"
        if indices.ndim == 1:
            cause = f"there are {n_frames:,} frames"
        raise _frames_invalid(f"index {points[row, axis]}", cause)
    points = points.astype(np.int64)
    points = np.where(points < 0, points + sizes, points)
    return np.asarray(np.ravel_multi_index(tuple(points.T), shape), np.int64)


def _frames_invalid(which: str, cause: str) -> ArgumentError:
    return ArgumentError(
        f"{which} does not select frames",
        code="frames-invalid",
        argument="which",
        cause=cause,
        remedy=_FRAMES_REMEDY,
    )


def selected_box(select: str | Sequence[slice], shape: tuple[int, ...]) -> Box:
    """Return the caller's ranges as one slice per axis, each with a start and a stop."""
    parts = _parse_ranges(select) if isinstance(select, str) else tuple(select)
    if len(parts) > len(shape):
        raise _box_invalid(
            f"`select`: {len(parts)} ranges for an array of {len(shape)} axes",
            f"the array has the shape {shape}",
            "pass at most one range per axis",
        )
    if not all(isinstance(part, slice) for part in parts):
        raise _box_invalid(
            f"`select={select!r}`",
            "it must consist of one slice per axis",
            "for a single position, pass a slice such as slice(3, 4), which keeps the axis",
        )
    if any(part.step not in (None, 1) for part in parts):
        raise _box_invalid(
            "`select` has steps",
            "only one contiguous box of the array can be written",
            "pass ranges without a step",
        )
    parts = (*parts, *(slice(None),) * (len(shape) - len(parts)))
    box = tuple(slice(*part.indices(size)[:2]) for part, size in zip(parts, shape, strict=True))
    if any(part.stop <= part.start for part in box):
        raise _box_invalid(
            f"`select` is empty for an array of the shape {shape}",
            "a range is empty",
            "pass ranges with at least one position",
        )
    return box


def _parse_ranges(text: str) -> Box:
    parts = text.split(",") if text else []
    try:
        return tuple(map(parse_range, parts))
    except ValueError:
        raise _box_invalid(
            f"`select={text}`",
            "it must have one range per axis, slowest first: start:stop, both optional",
            "pass ranges such as 0:10,:,64:192,64:192",
        ) from None


def parse_range(text: str) -> slice:
    """Parse ``START:STOP`` or ``START:STOP:STEP``, in which each number is optional.

    Raises a ValueError for any other text.
    """
    numbers = text.strip().split(":")
    if len(numbers) not in (2, 3):
        raise ValueError(text)
    return slice(*(int(number) if number else None for number in numbers))


def _box_invalid(problem: str, cause: str, remedy: str) -> ArgumentError:
    return ArgumentError(
        problem, code="select-invalid", argument="select", cause=cause, remedy=remedy
    )


def flat_indices(box: Box, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the flat indices, in C order, of the elements of a box of an array."""
    indices = np.ix_(*(np.arange(part.start, part.stop) for part in box))
    return np.asarray(np.ravel_multi_index(indices, shape), np.int64)


def crop_axis(axis: Axis, part: slice) -> Axis:
    """Return the part of an axis between start and stop."""
    values = None if axis.values is None else axis.values[part]
    offset = axis.offset + part.start * axis.scale
    return replace(axis, size=part.stop - part.start, offset=offset, values=values)
