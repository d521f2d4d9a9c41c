"""Loops over the pixels of a few frames, compiled by numba.

Frames have the shape (frames, rows, columns) and are contiguous; pixels are integers of at most 16
bits, or floats. Slices, rather than positions, are looped over: numba would check each position for
being negative, and such a loop uses no vector instructions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

__all__ = [
    "LONGEST",
    "add_frames",
    "add_squares",
    "keep_largest",
    "sum_bins",
    "sum_masked",
    "sum_runs",
]

# So many 16-bit pixels have a sum that fits into 32 bits, also with sign.
LONGEST = 2**15

_NARROW = {"u": np.uint32, "i": np.int32}

# Pixels of a frame that are added up, over many frames, in the level 1 cache.
_BAND = 4096

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    """Compile a function once for each combination of array types, and keep the code on disk.

    Numba keeps the code for all types of a function under one name, and numbers the files. Two
    processes that compile for different types at once can take the same number, and later processes
    then run code for the wrong type (`numba.core.caching.IndexDataCacheFile.save`). So each
    combination is a function with a name, and so a file, of its own.
    """
    made: dict[tuple[str, ...], Callable[..., Any]] = {}

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        key = tuple(_array_type(each) for each in arguments if isinstance(each, np.ndarray))
        compiled = made.get(key) or made.setdefault(key, _compile(function, "_".join(key)))
        return compiled(*arguments)

    return cast("_F", call)


def _array_type(array: npt.NDArray[Any]) -> str:
    """Return what numba distinguishes of an array."""
    flags = array.flags
    order = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
    kind = f"{array.dtype.char}{array.ndim}{order}"
    return kind + "r" * (not flags.writeable) + "u" * (not flags.aligned)


def _compile(function: Callable[..., Any], suffix: str) -> Callable[..., Any]:
    named = FunctionType(
        function.__code__, function.__globals__, function.__name__, None, function.__closure__
    )
    named.__qualname__ = f"{function.__qualname__}_{suffix}"
    # Floats may be added in any order, as vector instructions do; what is not a number stays so.
    njit = functools.partial(numba.njit, nogil=True, fastmath={"reassoc"}, error_model="numpy")
    try:
        return cast("Callable[..., Any]", njit(cache=True)(named))
    except RuntimeError:  # there is no folder in which to keep the code
        return cast("Callable[..., Any]", njit(named))


def _sum_runs(narrow: Any, wide: Any) -> Any:
    """Make the functions that sum the pixels of a run as `narrow`, and runs as `wide`."""

    @_compiled
    def sum_runs(frames: Any, runs: Any, out: Any) -> None:
        for i in range(frames.shape[0]):
            mass = wide(0)
            for k in range(runs.shape[0]):
                pixels = frames[i, runs[k, 0], runs[k, 1] : runs[k, 2]]
                total = narrow(0)
                for x in range(pixels.shape[0]):
                    total = narrow(total + narrow(pixels[x]))
                mass += wide(total)
            out[i, 0] += mass

    @_compiled
    def sum_moments(frames: Any, runs: Any, first_row: Any, first_column: Any, out: Any) -> None:
        # Sums of columns, so that there is one product per column, not per pixel.
        columns = np.empty(frames.shape[2], narrow)
        left, right = frames.shape[2], 0
        for k in range(runs.shape[0]):
            left, right = min(left, runs[k, 1]), max(right, runs[k, 2])
        for i in range(frames.shape[0]):
            mass, by_row, by_column = wide(0), wide(0), wide(0)
            for first in range(0, runs.shape[0], LONGEST):
                columns[left:right] = 0
                for k in range(first, min(first + LONGEST, runs.shape[0])):
                    pixels = frames[i, runs[k, 0], runs[k, 1] : runs[k, 2]]
                    sums = columns[runs[k, 1] : runs[k, 2]]
                    total = narrow(0)
                    for x in range(pixels.shape[0]):
                        value = narrow(pixels[x])
                        total = narrow(total + value)
                        sums[x] = narrow(sums[x] + value)
                    mass += wide(total)
                    by_row += wide(first_row + runs[k, 0]) * wide(total)
                for x in range(left, right):
                    by_column += wide(first_column + x) * wide(columns[x])
            out[i, 0] += mass
            out[i, 1] += by_row
            out[i, 2] += by_column

    return sum_runs, sum_moments


_unsigned, _signed, _float = (
    _sum_runs(*kinds)
    for kinds in ((np.uint32, np.int64), (np.int32, np.int64), (np.float64, np.float64))
)


def sum_runs(frames: Any, runs: Any, first_row: int, first_column: int, out: Any) -> None:
    """Add the sum of each frame over runs of pixels to `out`, and its first moments.

    Parameters
    ----------
    frames : ndarray
    runs : ndarray of int64, shape (runs, 3)
        Row, first column and last column + 1, within `frames`; of at most `LONGEST` pixels. In the
        order of the rows.
    first_row, first_column : int
        What the first row and column of `frames` count as in the moments.
    out : ndarray of int64 or float64, shape (frames, 1) or (frames, 3)
    """
    kind = {"u": _unsigned, "i": _signed}.get(frames.dtype.kind, _float)
    sums, moments = kind
    if out.shape[1] == 1:
        sums(frames, runs, out)
    else:
        moments(frames, runs, first_row, first_column, out)


def add_frames(frames: Any, total: Any) -> None:
    """Add frames to their sum."""
    narrow = np.empty(_BAND, _NARROW.get(frames.dtype.kind, np.float64))
    _add_frames(_flat(frames), total.reshape(-1), narrow)


@_compiled
def _add_frames(frames: Any, total: Any, scratch: Any) -> None:
    """Add so many frames as fit into the 32 bits of a scratch array, then that to the sum."""
    narrow = scratch.dtype.type
    for first in range(0, frames.shape[1], scratch.shape[0]):
        into = total[first : first + scratch.shape[0]]
        stop = first + into.shape[0]
        sums = scratch[: into.shape[0]]
        for start in range(0, frames.shape[0], LONGEST):
            end = min(start + LONGEST, frames.shape[0])
            sums[:] = 0
            for i in range(start, end - 3, 4):
                a, b = frames[i, first:stop], frames[i + 1, first:stop]
                c, d = frames[i + 2, first:stop], frames[i + 3, first:stop]
                for x in range(sums.shape[0]):
                    pair = narrow(narrow(a[x]) + narrow(b[x]))
                    other = narrow(narrow(c[x]) + narrow(d[x]))
                    sums[x] = narrow(sums[x] + narrow(pair + other))
            for i in range(end - (end - start) % 4, end):
                a = frames[i, first:stop]
                for x in range(sums.shape[0]):
                    sums[x] = narrow(sums[x] + narrow(a[x]))
            for x in range(sums.shape[0]):
                into[x] += sums[x]


def add_squares(frames: Any, total: Any) -> None:
    """Add the squares of the pixels to their sum."""
    # The square of 16 bits has 32, also without sign.
    square = np.float64 if frames.dtype.kind == "f" else np.uint32
    _add_squares(_flat(frames), total.reshape(-1), np.empty(0, square))


@_compiled
def _add_squares(frames: Any, total: Any, example: Any) -> None:
    square, wide = example.dtype.type, total.dtype.type
    n = frames.shape[0]
    for first in range(0, frames.shape[1], _BAND):
        sums = total[first : first + _BAND]
        stop = first + sums.shape[0]
        for i in range(0, n - 1, 2):
            a, b = frames[i, first:stop], frames[i + 1, first:stop]
            for x in range(sums.shape[0]):
                one, other = square(a[x]), square(b[x])
                sums[x] += wide(square(one * one)) + wide(square(other * other))
        for i in range(n - n % 2, n):
            a = frames[i, first:stop]
            for x in range(sums.shape[0]):
                one = square(a[x])
                sums[x] += wide(square(one * one))


def keep_largest(frames: Any, largest: Any) -> None:
    """Keep the largest value of each pixel; what is not a number stays so."""
    _keep_largest(_flat(frames), largest.reshape(-1))


@_compiled
def _keep_largest(frames: Any, largest: Any) -> None:
    for first in range(0, frames.shape[1], _BAND):
        kept = largest[first : first + _BAND]
        for i in range(frames.shape[0]):
            a = frames[i, first : first + kept.shape[0]]
            for x in range(kept.shape[0]):
                value, known = a[x], kept[x]
                kept[x] = value if (value > known) | (value != value) else known


def _flat(frames: Any) -> Any:
    return frames.reshape(len(frames), math.prod(frames.shape[1:]))


def sum_masked(
    frames: Any, mask: Any, rows: range, first_row: int, first_column: int, out: Any
) -> None:
    """Add the sum of each frame of integers over a mask to `out`, and its first moments.

    Faster than by runs where these are short: a loop has no beginning and end for each.

    Parameters
    ----------
    frames : ndarray of int
    mask : ndarray of the same dtype, shape (len(rows), columns)
        All bits are set inside, none outside.
    rows : range
        Of `frames`.
    first_row, first_column : int
        What the first row and column of the mask count as in the moments.
    out : ndarray of int64, shape (frames, 1) or (frames, 3)
    """
    narrow = np.empty(0 if out.shape[1] == 1 else mask.shape[1], _NARROW[frames.dtype.kind])
    first = rows.start * frames.shape[2]
    if out.shape[1] == 1:
        _sum_masked(_flat(frames), mask.reshape(-1), narrow, first, out)
    else:
        _moments_masked(_flat(frames), mask, narrow, first, first_row, first_column, out)


@_compiled
def _sum_masked(frames: Any, mask: Any, example: Any, first: Any, out: Any) -> None:
    narrow = example.dtype.type
    for i in range(frames.shape[0]):
        for start in range(0, mask.shape[0], LONGEST):
            inside = mask[start : start + LONGEST]
            pixels = frames[i, first + start : first + start + inside.shape[0]]
            total = narrow(0)
            for x in range(inside.shape[0]):
                total = narrow(total + narrow(pixels[x] & inside[x]))
            out[i, 0] += np.int64(total)


@_compiled
def _moments_masked(
    frames: Any, mask: Any, columns: Any, first: Any, first_row: Any, first_column: Any, out: Any
) -> None:
    narrow = columns.dtype.type
    width = mask.shape[1]
    for i in range(frames.shape[0]):
        for top in range(0, mask.shape[0], LONGEST):
            columns[:] = 0
            for y in range(top, min(top + LONGEST, mask.shape[0])):
                pixels = frames[i, first + y * width : first + (y + 1) * width]
                inside = mask[y]
                total = narrow(0)
                for x in range(inside.shape[0]):
                    value = narrow(pixels[x] & inside[x])
                    total = narrow(total + value)
                    columns[x] = narrow(columns[x] + value)
                out[i, 1] += np.int64(first_row + y) * np.int64(total)
            for x in range(width):
                out[i, 0] += np.int64(columns[x])
                out[i, 2] += np.int64(first_column + x) * np.int64(columns[x])


@_compiled
def sum_bins(frames: Any, bins: Any, out: Any) -> None:
    """Add the pixels of each frame to the bins that they belong to; negative ones to none."""
    for i in range(frames.shape[0]):
        sums = out[i]
        for y in range(frames.shape[1]):
            a, at = frames[i, y], bins[y]
            for x in range(a.shape[0]):
                if at[x] >= 0:
                    sums[at[x]] += a[x]
