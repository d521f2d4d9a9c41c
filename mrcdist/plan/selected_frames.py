"""Frames selected by scan points, frame numbers, a range of these or a mask over the scan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError

__all__ = ["selected_frames"]

_REMEDY = (
    "pass a boolean array of the navigation axes' shape, a list of points with one index per "
    "navigation axis, or a list or slice of numbers that count along them, the last axis fastest"
)


def selected_frames(which: Any, navigation_shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the selected positions, counted along the navigation axes, in the order given.

    `which` is of bool, shape `navigation_shape`: where it is true, in array order. Of int, shape
    (n, number of navigation axes): an index along each axis. Of int, shape (n,), or a slice:
    positions counted in array order. Negative indices count from the end, as in numpy.
    """
    if isinstance(which, slice):
        return _sliced(which, math.prod(navigation_shape))
    try:
        wanted = np.asarray(which)
    except ValueError:  # lists of different lengths
        raise _invalid(repr(which), "its rows have different lengths") from None
    if wanted.size == 0 and wanted.dtype != bool:
        return np.empty(0, np.int64)
    shown = f"an array of {wanted.dtype}, shape {wanted.shape}"
    if wanted.dtype == bool:
        if wanted.shape != navigation_shape:
            raise _invalid(shown, f"the navigation axes have the shape {navigation_shape}")
        return np.flatnonzero(wanted).astype(np.int64)
    if wanted.dtype.kind not in "iu":
        raise _invalid(shown, "indices are integers")
    if wanted.ndim == 1:
        size = math.prod(navigation_shape)
        return _from_start(wanted, size, f"there are {size:,} frames")
    if wanted.ndim != 2 or wanted.shape[1] != len(navigation_shape):
        raise _invalid(shown, f"there are {len(navigation_shape)} navigation axes")
    along = [
        _from_start(wanted[:, axis], size, f"navigation axis {axis} has {size:,} positions")
        for axis, size in enumerate(navigation_shape)
    ]
    return np.ravel_multi_index(along, navigation_shape).astype(np.int64, copy=False)


def _sliced(which: slice, size: int) -> npt.NDArray[np.int64]:
    try:
        return np.arange(*which.indices(size), dtype=np.int64)
    except (TypeError, ValueError) as error:  # no integers, or a step of 0
        raise _invalid(repr(which), str(error)) from None


def _from_start(indices: npt.NDArray[Any], size: int, cause: str) -> npt.NDArray[np.int64]:
    outside = (indices < -size) | (indices >= size) if size else np.ones(indices.shape, bool)
    if outside.any():
        raise _invalid(f"index {indices[outside][0]}", cause)
    counted = indices.astype(np.int64)
    return np.where(counted < 0, counted + size, counted)


def _invalid(what: str, cause: str) -> ArgumentError:
    return ArgumentError(
        f"{what} does not select frames",
        code="frames-invalid",
        argument="which",
        cause=cause,
        remedy=_REMEDY,
    )
