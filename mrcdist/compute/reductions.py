"""Reductions of frames: a few numbers per frame, or one frame for all.

With numba, loops are compiled (`compiled`); without it, numpy gives the same results. Sums of
integer pixels, which have at most 16 bits, are exact: in numpy's matrix products, sums of 2**16
pixels with weights of at most 127 (7 bits) and positions of 14 bits stay below 2**53 and are exact
in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import Detector, FrameShape
from mrcdist.compute.tiles import Tile, compiled

__all__ = [
    "AllFrames",
    "FrameMaximum",
    "FrameSquares",
    "FrameSum",
    "PerFrame",
    "PixelSums",
    "RadialSums",
]

Array = npt.NDArray[Any]


class PerFrame:
    """Base: results of consecutive blocks follow one another."""

    joined_at_once = 1000
    whole_frames = False
    per_frame = True

    def join(self, parts: Sequence[Array]) -> Array:
        """Concatenate."""
        return np.concatenate(parts)


class AllFrames:
    """Base: one result for all frames, of the size of a frame."""

    # The sum of large frames can take 128 MiB.
    joined_at_once = 4
    whole_frames = False
    per_frame = False

    def join(self, parts: Sequence[Array]) -> Array:
        """Add, in the given order, so that the result is reproducible."""
        total = np.array(parts[0])
        for part in parts[1:]:
            total += part
        return total


@dataclass(frozen=True, eq=False)
class PixelSums(PerFrame):
    """Weighted sums over the pixels of each frame.

    Parameters
    ----------
    detector : Detector
        The weights w.
    window : tuple of range
        Rows and columns outside of which w is 0.
    moments : bool
        Also compute sums weighted with w·y and w·x, where y and x are row and column in the frame.

    Notes
    -----
    The result has shape (frames, 1) or (frames, 3): Σ w·I, Σ w·y·I, Σ w·x·I. For integer pixels and
    integer weights it is int64 and exact, else float64. Pixels with weight 0 have no influence,
    even if they are NaN.
    """

    detector: Detector
    window: tuple[range, range]
    moments: bool

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return zeros."""
        exact = dtype.kind in "iu" and self.detector.has_integer_weights
        return np.zeros((n_frames, 3 if self.moments else 1), np.int64 if exact else np.float64)

    def add(self, result: Array, tile: Tile) -> Array:
        """Add the sums of a tile."""
        rows, columns = _common(self.window[0], tile.rows), _common(self.window[1], tile.columns)
        if not rows or not columns:
            return result
        out = result[tile.first : tile.first + len(tile.pixels)]
        first_row, first_column = tile.rows.start, tile.columns.start
        detector: Any = self.detector  # hashable, which a protocol does not say
        if tile.compiled:
            runs = _runs(detector, rows, columns, (first_row, first_column))
            if runs is not None:
                compiled.sum_runs(tile.pixels, runs, first_row, first_column, out)
                return result
        pixels = tile.pixels[
            :,
            rows.start - first_row : rows.stop - first_row,
            columns.start - first_column : columns.stop - first_column,
        ]
        height = max(2**16 // len(columns), 1)  # more pixels, and sums would not be exact
        for top in range(0, len(rows), height):
            weights = tile.module.asarray(
                _weights(detector, rows[top : top + height], columns, self.moments)
            )
            flat = pixels[:, top : top + height].reshape(len(pixels), -1).astype(np.float64)
            if pixels.dtype.kind == "f":
                flat[:, weights[:, 0] == 0] = 0
            out += (flat @ weights).astype(out.dtype)
        return result


# A task has many tiles, for which weights and runs are the same. Detectors that hold arrays are
# compared by identity: a worker unpickles each of them once a task.
@functools.lru_cache(maxsize=64)
def _weights(detector: Any, rows: range, columns: range, moments: bool) -> Array:
    """Return the weights of a band as float64, shape (rows · columns, 1 or 3): a column per sum."""
    weights = detector.weights(rows, columns)
    kinds = [weights]
    if moments:
        y, x = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
        kinds += [weights * y[:, None], weights * x]
    return np.stack([kind.ravel() for kind in kinds], axis=1)


@functools.lru_cache(maxsize=64)
def _runs(detector: Any, rows: range, columns: range, first: tuple[int, int]) -> Array | None:
    """Find the runs of pixels of weight 1 in a band; None if others have another one than 0.

    Returns
    -------
    ndarray of int64, shape (runs, 3)
        Row, first column and last column + 1, counted from the pixel `first`.
    """
    weights = detector.weights(rows, columns)
    inside = weights == 1
    if not (inside | (weights == 0)).all():
        return None
    edges = np.diff(np.pad(inside, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    found = [
        (y, x, min(x + compiled.LONGEST_RUN, end))
        for y, begin, end in zip(row, start, stop, strict=True)
        for x in range(begin, end, compiled.LONGEST_RUN)
    ]
    right = columns.start - first[1]
    moved = np.array([rows.start - first[0], right, right])
    runs: Array = np.array(found, np.int64).reshape(-1, 3) + moved
    return runs


@dataclass(frozen=True)
class FrameSum(AllFrames):
    """Sum of all frames, pixel by pixel; uint64 or int64 for integer pixels, else float64.

    Parameters
    ----------
    frame_shape : tuple of int
    """

    frame_shape: FrameShape

    @property
    def window(self) -> tuple[range, range]:
        """The whole frame."""
        return range(self.frame_shape[0]), range(self.frame_shape[1])

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return zeros."""
        return np.zeros(self.frame_shape, _wide(dtype))

    def add(self, result: Array, tile: Tile) -> Array:
        """Add frames."""
        part = _part(result, tile)
        if tile.compiled:
            compiled.add_frames(tile.pixels, part)
        else:
            part += tile.pixels.sum(axis=0, dtype=part.dtype)
        return result


@dataclass(frozen=True)
class FrameSquares(FrameSum):
    """Sum of the squares of all frames, pixel by pixel: exact for integer pixels."""

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return zeros."""
        return np.zeros(self.frame_shape, np.uint64 if dtype.kind in "iu" else np.float64)

    def add(self, result: Array, tile: Tile) -> Array:
        """Add squares."""
        part = _part(result, tile)
        if tile.compiled:
            compiled.add_squares(tile.pixels, part)
        else:
            wide = tile.pixels.astype(np.int64 if part.dtype.kind == "u" else np.float64)
            part += (wide * wide).sum(axis=0).astype(part.dtype)
        return result


@dataclass(frozen=True)
class FrameMaximum(FrameSum):
    """The largest value of each pixel, in the dtype of the pixels; NaN if one of them is NaN."""

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return the least value of the dtype."""
        least = -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
        return np.full(self.frame_shape, least, dtype)

    def add(self, result: Array, tile: Tile) -> Array:
        """Keep what is larger."""
        part = _part(result, tile)
        if tile.compiled:
            compiled.keep_largest(tile.pixels, part)
        elif len(tile.pixels):
            tile.module.maximum(part, tile.pixels.max(axis=0), out=part)
        return result

    def join(self, parts: Sequence[Array]) -> Array:
        """Return the largest of each pixel."""
        largest: Array = np.maximum.reduce(parts)
        return largest


@dataclass(frozen=True, eq=False)
class RadialSums(PerFrame):
    """Sums of each frame over rings, or over any other sets of pixels.

    Parameters
    ----------
    bins : ndarray of int32, shape (rows, columns)
        The ring to which each pixel belongs, -1 for none.
    n_bins : int
    """

    bins: npt.NDArray[np.int32]
    n_bins: int

    @property
    def window(self) -> tuple[range, range]:
        """The whole frame."""
        return range(self.bins.shape[0]), range(self.bins.shape[1])

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return zeros."""
        return np.zeros((n_frames, self.n_bins), np.int64 if dtype.kind in "iu" else np.float64)

    def add(self, result: Array, tile: Tile) -> Array:
        """Add the sums of a tile."""
        bins = self.bins[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
        out = result[tile.first : tile.first + len(tile.pixels)]
        if tile.compiled:
            compiled.sum_bins(tile.pixels, bins, out)
            return result
        # Positions, as a mask could be another module's.
        [inside] = map(tile.module.asarray, np.nonzero(bins.ravel() >= 0))
        which = tile.module.asarray(bins.ravel())[inside]
        pixels = tile.pixels.reshape(len(tile.pixels), -1)
        for i in range(len(pixels)):
            found = tile.module.bincount(which, pixels[i, inside].astype(np.float64), self.n_bins)
            out[i] += found.astype(out.dtype)
        return result


def _wide(dtype: np.dtype[Any]) -> type[np.generic]:
    return {"u": np.uint64, "i": np.int64}.get(dtype.kind, np.float64)


def _common(ours: range, theirs: range) -> range:
    return range(max(ours.start, theirs.start), min(ours.stop, theirs.stop))


def _part(result: Array, tile: Tile) -> Array:
    """The part of a frame-sized result that a tile belongs to."""
    return result[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
