"""One pass over a block of frames, in tiles that stay in a core's cache meanwhile.

So each byte comes from memory once, however many results are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

try:
    from mrcdist.compute import compiled
except ImportError:  # numba is an extra
    compiled = None  # type: ignore[assignment]

__all__ = ["FunctionFailedError", "Reduction", "Tile", "compiled", "join_all", "reduce_block"]

Array = npt.NDArray[Any]

# A core's share of the level 3 cache of common processors. Calls from Python take some 10 µs per
# tile and result, in which a core adds 0.2 MiB.
_TILE_BYTES = 2**21

_COMPILED_DTYPES = frozenset("BbHhfd")


class FunctionFailedError(Exception):
    """A function of the user's own failed; its error is the cause.

    Attributes
    ----------
    numbers : sequence of int
        Of the frames with which it was called, counted from the first of the block.
    alone : int or None
        The first of them with which it fails if it is called with nothing else.
    """

    def __init__(self, numbers: Sequence[int], alone: int | None) -> None:
        super().__init__(numbers, alone)
        self.numbers, self.alone = numbers, alone


@dataclass(frozen=True)
class Tile:
    """A few frames, or a band of rows of one.

    Attributes
    ----------
    pixels : ndarray, shape (frames, rows, columns)
        Contiguous.
    first : int
        Row of the first frame in a result with one row per frame.
    rows, columns : range
        Of the detector.
    compiled : bool
        Whether to use the compiled loops.
    numbers : sequence of int
        Of the frames, counted from the first of the block.
    """

    pixels: Array
    first: int
    rows: range
    columns: range
    compiled: bool
    numbers: Sequence[int]


class Reduction(Protocol):
    """A computation over frames, and the rule that combines results of consecutive blocks."""

    @property
    def window(self) -> tuple[range, range]:
        """Rows and columns of the frames that are needed."""

    @property
    def joined_at_once(self) -> int:
        """Maximum number of results to join in one task."""

    @property
    def whole_frames(self) -> bool:
        """Whether tiles have to hold all rows."""

    @property
    def per_frame(self) -> bool:
        """Whether the result has one row per frame."""

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return the result of no pixel at all."""

    def add(self, result: Array, tile: Tile) -> Array:
        """Add a tile to the result, and return it: the same array, or one that takes its place."""

    def join(self, parts: Sequence[Array]) -> Array:
        """Combine the results of consecutive blocks."""


def reduce_block(
    frames: Array,
    window: tuple[range, range],
    reductions: Sequence[Reduction],
    present: npt.NDArray[np.bool_] | None = None,
    *,
    compile_loops: bool = True,
    tile_bytes: int = _TILE_BYTES,
) -> tuple[Array, ...]:
    """Reduce a block of frames in one pass.

    Parameters
    ----------
    frames : ndarray, shape (frames, rows, columns)
        Cropped to the window.
    window : tuple of range
        Rows and columns of the detector that `frames` has; at least those of all reductions.
    reductions : sequence of Reduction
    present : ndarray of bool, shape (frames,), optional
        Which frames are there. Default: all. No reduction is given others: rows for them stay as
        `Reduction.begin` made them.
    compile_loops : bool, default True
        Use numba if it is installed and knows the dtype.
    tile_bytes : int
        About how much goes through all reductions at a time.

    Returns
    -------
    tuple of ndarray
        A result per reduction.
    """
    results = [each.begin(len(frames), frames.dtype) for each in reductions]
    fast = compile_loops and compiled is not None and frames.dtype.char in _COMPILED_DTYPES
    rows, columns = window
    frame_bytes = max(len(rows) * len(columns) * frames.itemsize, 1)
    together = max(tile_bytes // frame_bytes, 1)
    height = len(rows) if together > 1 else max(tile_bytes * len(rows) // frame_bytes, 1)
    whole = [at for at, each in enumerate(reductions) if each.whole_frames]
    banded = [at for at, each in enumerate(reductions) if not each.whole_frames]
    for first in range(0, len(frames), together):
        some = frames[first : first + together]
        there = None if present is None else present[first : first + together]
        if there is not None and not there.any():
            continue
        for places, step in ((whole, len(rows)), (banded, height)):
            if not places:
                continue
            for top in range(0, len(rows), max(step, 1)):
                pixels = np.ascontiguousarray(some[:, top : top + step])
                numbers = range(first, first + len(pixels))
                tile = Tile(pixels, first, rows[top : top + step], columns, fast, numbers)
                found = None if there is None or there.all() else _only(tile, there)
                for at in places:
                    each = reductions[at]
                    if found is None:
                        results[at] = each.add(results[at], tile)
                    elif each.per_frame:
                        results[at][found.numbers] = each.add(results[at][found.numbers], found)
                    else:
                        results[at] = each.add(results[at], found)
    return tuple(results)


def _only(tile: Tile, there: npt.NDArray[np.bool_]) -> Tile:
    """Return the frames of a tile that are there, for a result with rows for these alone."""
    numbers = [int(number) for number in np.asarray(tile.numbers)[there]]
    return replace(tile, pixels=tile.pixels[there], first=0, numbers=numbers)


def join_all(
    reductions: Sequence[Reduction], parts: Sequence[tuple[Array, ...]]
) -> tuple[Array, ...]:
    """Combine the results of consecutive blocks, for each reduction."""
    return tuple(
        reduction.join(results)
        for reduction, results in zip(reductions, zip(*parts, strict=True), strict=True)
    )
