"""Outer indexing with positions along each axis, as used by Zarr and xarray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from mrcdist.plan.selection import select
from mrcdist.read.source import MrcSource

# Per axis: a position, a slice, or an array of positions, in any order and possibly repeated.
OuterIndex = tuple["SupportsIndex | slice | npt.NDArray[np.integer[Any]]", ...]
Block = npt.NDArray[Any]


def read_outer(source: MrcSource, index: OuterIndex) -> Block:
    """Read the selected positions of each axis, as with `numpy.ix_`; an int drops its axis.

    Frames and rows in gaps that cost more than another request are not read; columns are read from
    the first to the last.
    """
    index = tuple(_simplified(part, size) for part, size in zip(index, source.shape, strict=True))
    n_navigation = len(source.layout.navigation_shape)
    navigation, signal = index[:n_navigation], index[n_navigation:]
    if any(isinstance(part, np.ndarray) for part in navigation):
        shape = source.layout.navigation_shape
        positions = [
            np.atleast_1d(np.arange(size)[part])
            for part, size in zip(navigation, shape, strict=True)
        ]
        source = source.select(np.ravel_multi_index(np.ix_(*positions), shape))
        navigation = tuple(0 if isinstance(part, int) else slice(None) for part in navigation)
    return _read_signal(source, navigation, signal)


def take_outer(array: Block, index: OuterIndex) -> Block:
    """Return the selected positions of each axis of an array in memory, as `read_outer` does."""
    for axis in reversed(range(len(index))):  # since an int drops its axis
        array = array[(*[slice(None)] * axis, index[axis])]
    return array


def _simplified(part: Any, size: int) -> Any:
    """Return an int, a slice, or an array of non-negative positions that is not a slice."""
    if isinstance(part, slice):
        return part
    positions = np.asarray(part)
    invalid = (positions < -size) | (positions >= size)
    if invalid.any():
        raise IndexError(f"index {positions[invalid][0]} is out of bounds for size {size}")
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
    """Read the distinct rows, and columns from the first to the last; return the selected ones."""
    rows, *others = signal
    spans = [_span(part) for part in others]
    picks: list[Any] = [
        part - span.start if isinstance(part, np.ndarray) else slice(None)
        for part, span in zip(others, spans, strict=True)
        if not isinstance(part, int)
    ]
    distinct = None
    if isinstance(rows, np.ndarray):
        distinct, inverse = np.unique(rows, return_inverse=True)
        picks = [inverse, *picks]
        rows = slice(0, distinct.size)
    elif isinstance(rows, slice):
        picks = [slice(None), *picks]
    block = source.read(select((*navigation, rows, *spans), source.shape), distinct)
    axis = sum(not isinstance(part, int) for part in navigation)
    return take_outer(block, (*(slice(None),) * axis, *picks))


def _span(part: Any) -> Any:
    """Return the slice from the first to the last position of an array; other parts unchanged."""
    if isinstance(part, np.ndarray):
        return slice(int(part.min()), int(part.max()) + 1)
    return part
