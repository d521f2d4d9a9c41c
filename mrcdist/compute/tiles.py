"""One pass over a block of frames, in tiles that stay in a core's cache meanwhile.

So each byte comes from memory once, however many results are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

try:
    from mrcdist.compute import compiled
except ImportError:  # numba is an extra
    compiled = None  # type: ignore[assignment]

__all__ = ["Reduction", "Tile", "compiled", "join_all", "reduce_block"]

Array = npt.NDArray[Any]

# A core's share of the level 3 cache of common processors. Calls from Python take some 10 µs per
# tile and result, in which a core adds 0.2 MiB.
_TILE_BYTES = 2**21

_COMPILED_DTYPES = frozenset("BbHhfd")


@dataclass(frozen=True)
class Tile:
    """A few frames, or a band of rows of one.

    Attributes
    ----------
    pixels : ndarray, shape (frames, rows, columns)
        Contiguous.
    first : int
        Which frame of the block is the first.
    rows, columns : range
        Of the detector.
    compiled : bool
        Whether to use the compiled loops.
    """

    pixels: Array
    first: int
    rows: range
    columns: range
    compiled: bool


class Reduction(Protocol):
    """What is made of frames, and how results of consecutive blocks are combined."""

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
        """Whether the result has one row per frame; else frames that are missing are left out."""

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return the result of no pixel at all."""

    def add(self, result: Array, tile: Tile) -> None:
        """Add a tile to the result."""

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
        Which frames are there. Default: all. Others are left out of what is not per frame.
    compile_loops : bool, default True
        Use numba if it is installed and knows the dtype.
    tile_bytes : int
        About how much goes through all reductions at a time.

    Returns
    -------
    tuple of ndarray
        A result per reduction.
    """
    results = tuple(each.begin(len(frames), frames.dtype) for each in reductions)
    fast = compile_loops and compiled is not None and frames.dtype.char in _COMPILED_DTYPES
    rows, columns = window
    frame_bytes = max(len(rows) * len(columns) * frames.itemsize, 1)
    together = max(tile_bytes // frame_bytes, 1)
    height = len(rows) if together > 1 else max(tile_bytes * len(rows) // frame_bytes, 1)
    whole = [pair for pair in zip(reductions, results, strict=True) if pair[0].whole_frames]
    banded = [pair for pair in zip(reductions, results, strict=True) if not pair[0].whole_frames]
    for first in range(0, len(frames), together):
        some = frames[first : first + together]
        there = None if present is None else present[first : first + together]
        for pairs, step in ((whole, len(rows)), (banded, height)):
            if not pairs:
                continue
            for top in range(0, len(rows), max(step, 1)):
                pixels = np.ascontiguousarray(some[:, top : top + step])
                tile = Tile(pixels, first, rows[top : top + step], columns, fast)
                found = tile if there is None or there.all() else _only(tile, there)
                for reduction, result in pairs:
                    reduction.add(result, tile if reduction.per_frame else found)
    return results


def _only(tile: Tile, there: npt.NDArray[np.bool_]) -> Tile:
    return Tile(tile.pixels[there], tile.first, tile.rows, tile.columns, tile.compiled)


def join_all(
    reductions: Sequence[Reduction], parts: Sequence[tuple[Array, ...]]
) -> tuple[Array, ...]:
    """Combine the results of consecutive blocks, for each reduction."""
    return tuple(
        reduction.join(results)
        for reduction, results in zip(reductions, zip(*parts, strict=True), strict=True)
    )
