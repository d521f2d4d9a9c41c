"""Loops over the pixels of a few frames, compiled by numba.

Frames have the shape (frames, rows, columns) and are contiguous; pixels are integers of at most 16
bits, or floats. Slices, rather than positions, are looped over: numba would check each position for
being negative, and such a loop uses no vector instructions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

__all__ = [
    "LONGEST",
    "LONGEST_WITH_MOMENTS",
    "add_frames",
    "add_squares",
    "keep_largest",
    "sum_bins",
    "sum_runs",
]

# Longest runs whose sums of 16-bit pixels fit into 32 bits, also with sign; and those whose first
# moments do: 2**16 · 256² / 2.
LONGEST, LONGEST_WITH_MOMENTS = 2**15, 2**8

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
    """Make the function that sums the pixels of a run as `narrow`, and runs as `wide`."""

    @_compiled
    def sum_runs(frames: Any, runs: Any, first_row: Any, first_column: Any, out: Any) -> None:
        moments = out.shape[1] == 3
        for i in range(frames.shape[0]):
            mass, by_row, by_column = wide(0), wide(0), wide(0)
            for k in range(runs.shape[0]):
                pixels = frames[i, runs[k, 0], runs[k, 1] : runs[k, 2]]
                total, along = narrow(0), narrow(0)
                if moments:
                    for x in range(pixels.shape[0]):
                        total = narrow(total + narrow(pixels[x]))
                        along = narrow(along + narrow(pixels[x]) * narrow(x))
                    by_row += wide(first_row + runs[k, 0]) * wide(total)
                    by_column += wide(first_column + runs[k, 1]) * wide(total) + wide(along)
                else:
                    for x in range(pixels.shape[0]):
                        total = narrow(total + narrow(pixels[x]))
                mass += wide(total)
            out[i, 0] += mass
            if moments:
                out[i, 1] += by_row
                out[i, 2] += by_column

    return sum_runs


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
        Row, first column and last column + 1, within `frames`; of at most `LONGEST` pixels, or
        `LONGEST_WITH_MOMENTS`.
    first_row, first_column : int
        What the first row and column of `frames` count as in the moments.
    out : ndarray of int64 or float64, shape (frames, 1) or (frames, 3)
    """
    kind = {"u": _unsigned, "i": _signed}.get(frames.dtype.kind, _float)
    kind(frames, runs, first_row, first_column, out)


@_compiled
def add_frames(frames: Any, total: Any) -> None:
    """Add frames to their sum: four at a time, or memory is busy with the sum."""
    n = frames.shape[0]
    wide = total.dtype.type
    for y in range(frames.shape[1]):
        sums = total[y]
        for i in range(0, n - 3, 4):
            a, b, c, d = frames[i, y], frames[i + 1, y], frames[i + 2, y], frames[i + 3, y]
            for x in range(sums.shape[0]):
                sums[x] += (wide(a[x]) + wide(b[x])) + (wide(c[x]) + wide(d[x]))
        for i in range(n - n % 4, n):
            a = frames[i, y]
            for x in range(sums.shape[0]):
                sums[x] += a[x]


@_compiled
def add_squares(frames: Any, total: Any) -> None:
    """Add the squares of the pixels to their sum."""
    for y in range(frames.shape[1]):
        sums = total[y]
        for i in range(frames.shape[0]):
            a = frames[i, y]
            for x in range(sums.shape[0]):
                value = sums.dtype.type(a[x])
                sums[x] += value * value


@_compiled
def keep_largest(frames: Any, largest: Any) -> None:
    """Keep the largest value of each pixel; what is not a number stays so."""
    for y in range(frames.shape[1]):
        kept = largest[y]
        for i in range(frames.shape[0]):
            a = frames[i, y]
            for x in range(kept.shape[0]):
                value, known = a[x], kept[x]
                kept[x] = value if (value > known) | (value != value) else known


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
