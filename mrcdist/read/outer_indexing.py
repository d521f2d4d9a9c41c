"""Outer indexing: positions along each axis, as Zarr and xarray ask for them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from mrcdist.config import read_settings
from mrcdist.read.source import MrcSource

# Per axis a position, a slice, or positions in any order, also repeated.
OuterIndex = tuple["SupportsIndex | slice | npt.NDArray[np.integer[Any]]", ...]
Block = npt.NDArray[Any]


def read_outer(source: MrcSource, index: OuterIndex) -> Block:
    """Read the positions given for each axis, as with `numpy.ix_`; an int takes away its axis.

    Of frames and of rows only those asked for are read, as far as gaps are larger than what a
    request costs; of columns, those from the first to the last.
    """
    index = tuple(_simplest(part, size) for part, size in zip(index, source.shape, strict=True))
    n_navigation = len(source.layout.navigation_shape)
    navigation, signal = index[:n_navigation], index[n_navigation:]
    if any(isinstance(part, np.ndarray) for part in navigation):
        along = [
            np.atleast_1d(np.arange(size)[part])
            for part, size in zip(navigation, source.shape, strict=False)
        ]
        shape = source.layout.navigation_shape
        source = source.select(np.ravel_multi_index(np.ix_(*along), shape))
        navigation = tuple(0 if isinstance(part, int) else slice(None) for part in navigation)
    return _read_signal(source, navigation, signal)


def take_outer(array: Block, index: OuterIndex) -> Block:
    """Return the positions given for each axis of an array in memory, as `read_outer` does."""
    axis = 0
    for part in index:
        if isinstance(part, slice | np.ndarray):
            array = array[(slice(None),) * axis + (part,)]
            axis += 1
        else:
            array = array[(slice(None),) * axis + (operator.index(part),)]
    return array


def _simplest(part: Any, size: int) -> Any:
    """Return an int, a slice, or an array of positions from 0 that are no slice."""
    if isinstance(part, slice):
        return part
    positions = np.asarray(part)
    outside = (positions < -size) | (positions >= size)
    if outside.any():
        raise IndexError(f"index {positions[outside][0]} is out of bounds for size {size}")
    positions = positions % max(size, 1)
    if positions.ndim == 0:
        return int(positions)
    if positions.size == 0:
        return slice(0, 0)
    first, last = int(positions[0]), int(positions[-1])
    step = int(positions[1]) - first if positions.size > 1 else 1
    if step > 0 and np.all(np.diff(positions) == step):
        return slice(first, last + 1, step)
    return positions


def _read_signal(source: MrcSource, navigation: tuple[Any, ...], signal: Sequence[Any]) -> Block:
    """Read rows and columns of frames: from the first to the last, but no long gaps of rows."""
    rows, *others = signal
    spans = [_span(part) for part in others]
    picked: list[Any] = [
        part - span.start if isinstance(part, np.ndarray) else slice(None)
        for part, span in zip(others, spans, strict=True)
        if not isinstance(part, int)
    ]
    axis = sum(not isinstance(part, int) for part in navigation)
    row_bytes = source.layout.row_bytes
    max_gap = read_settings().max_gap
    longest_gap = source.limits.read_gap if max_gap is None else max_gap
    if isinstance(rows, slice) and (abs(rows.step or 1) - 1) * row_bytes > longest_gap:
        rows = np.arange(source.layout.frame_shape[0])[rows]
        rows = rows if rows.size else slice(0, 0)
    if isinstance(rows, np.ndarray):
        wanted, places = np.unique(rows, return_inverse=True)
        # Where it takes longer to read what is between than to skip it.
        too_far = np.flatnonzero((np.diff(wanted) - 1) * row_bytes > longest_gap) + 1
        pieces = [
            take_outer(
                source[(*navigation, _span(group), *spans)],
                (*(slice(None),) * axis, group - group[0]),
            )
            for group in np.split(wanted, too_far)
        ]
        block = np.concatenate(pieces, axis=axis)
        picked = [places, *picked]
    else:
        block = source[(*navigation, rows, *spans)]
        picked = [slice(None)] * isinstance(rows, slice) + picked
    return take_outer(block, (*(slice(None),) * axis, *picked))


def _span(part: Any) -> Any:
    """Return the slice from the first to the last position of an array; anything else as it is."""
    if isinstance(part, np.ndarray):
        return slice(int(part.min()), int(part.max()) + 1)
    return part
