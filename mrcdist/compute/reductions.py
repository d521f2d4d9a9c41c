"""Reductions of frames: a few numbers per frame, or one frame for all.

They process tiles of a few frames. With numba, their loops are compiled (`compiled`); without it,
numpy gives the same results. Sums of integer pixels, which have at most 16 bits, are exact: in
numpy's matrix products, sums of 2**16 pixels with weights of at most 127 (7 bits) and positions of
14 bits stay below 2**53 and are exact in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import Detector, FrameShape

try:
    from mrcdist.compute import compiled as compiled
except ImportError:  # numba is an extra
    compiled = None  # type: ignore[assignment]

Array = npt.NDArray[Any]
Window = tuple[range, range]
"""Rows and columns of a frame."""


@dataclass(frozen=True)
class Tile:
    """A few frames, or a band of rows of one frame.

    `pixels` have shape (frames, rows, columns) and are contiguous; they are arrays of `module`,
    numpy or a replacement. `numbers` are the frame numbers, counted from the start of the block;
    `describe` returns where a frame is, for error messages.
    """

    pixels: Array
    rows: range
    columns: range
    numbers: Sequence[int]
    describe: Callable[[int], str]
    compiled: bool  # whether to use the compiled loops
    module: Any = np


@dataclass(frozen=True, eq=False)
class Reduction:
    """A computation over frames, and the rule that combines results of consecutive blocks.

    Unless a subclass says otherwise, the result has one row per frame.
    """

    frame_shape: FrameShape

    max_joined: ClassVar = 1000  # results joined in one task, at most
    whole_frames: ClassVar = False  # whether tiles must contain all rows
    per_frame: ClassVar = True

    @functools.cached_property
    def window(self) -> Window:
        """Rows and columns of the frames that are needed."""
        return range(self.frame_shape[0]), range(self.frame_shape[1])

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return the result before any pixel has been added."""
        raise NotImplementedError

    def add(self, result: Array, tile: Tile) -> Array:
        """Add a tile to the result, and return it or its replacement.

        If there is one row per frame, `result` consists of the rows of the tile's frames.
        """
        raise NotImplementedError

    def join(self, parts: Sequence[Array]) -> Array:
        """Combine the results of consecutive blocks."""
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class PixelSums(Reduction):
    """Weighted sums over the pixels of each frame.

    The result has shape (frames, 1), or (frames, 3) with `moments`: Σ w·I, Σ w·y·I, Σ w·x·I, where
    y and x are row and column in the frame. For integer pixels and integer weights it is int64 and
    exact, else float64. Pixels with weight 0 have no influence, even if they are NaN.
    """

    detector: Detector
    moments: bool

    @functools.cached_property
    def window(self) -> Window:
        """Rows and columns with non-zero weights."""
        return self.detector.window(self.frame_shape)

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return zeros."""
        exact = dtype.kind in "iu" and self.detector.has_integer_weights
        return np.zeros((n_frames, 3 if self.moments else 1), np.int64 if exact else np.float64)

    def add(self, result: Array, tile: Tile) -> Array:
        """Add the sums of a tile."""
        rows, columns = (
            range(max(ours.start, theirs.start), min(ours.stop, theirs.stop))
            for ours, theirs in zip(self.window, (tile.rows, tile.columns), strict=True)
        )
        if not rows or not columns:
            return result
        first = tile.rows.start, tile.columns.start
        runs = _runs(self.detector, rows, columns, first) if tile.compiled else None
        if runs is not None:
            compiled.sum_runs(tile.pixels, runs, *first, result)
            return result
        pixels = tile.pixels[
            :,
            rows.start - first[0] : rows.stop - first[0],
            columns.start - first[1] : columns.stop - first[1],
        ]
        height = max(2**16 // len(columns), 1)  # sums of more pixels would not be exact
        for top in range(0, len(rows), height):
            weights = tile.module.asarray(
                band_weights(self.detector, rows[top : top + height], columns, self.moments)
            )
            flat = pixels[:, top : top + height].reshape(len(pixels), -1).astype(np.float64)
            if pixels.dtype.kind == "f":
                flat[:, weights[:, 0] == 0] = 0
            result += (flat @ weights).astype(result.dtype)
        return result


# Weights and runs are the same for all tiles of a task. Detectors that contain arrays are compared
# by identity: a worker unpickles each of them once per task.
@functools.lru_cache(maxsize=64)
def band_weights(detector: Detector, rows: range, columns: range, moments: bool) -> Array:
    """Return the weights of a band as float64, shape (rows · columns, 1 or 3): a column per sum."""
    weights = detector.weights(rows, columns)
    kinds = [weights]
    if moments:
        y, x = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
        kinds += [weights * y[:, None], weights * x]
    return np.stack([kind.ravel() for kind in kinds], axis=1)


@functools.lru_cache(maxsize=64)
def _runs(detector: Detector, rows: range, columns: range, first: tuple[int, int]) -> Array | None:
    """Return the runs of pixels with weight 1 in a band; None if there are weights besides 0 and 1.

    As int64 of shape (runs, 3): row, first column and last column + 1, counted from the pixel
    `first`.
    """
    weights = detector.weights(rows, columns)
    inside = weights == 1
    if not (inside | (weights == 0)).all():
        return None
    edges = np.diff(np.pad(inside, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    runs = [
        (y, x, min(x + compiled.LONGEST_RUN, end))
        for y, begin, end in zip(row, start, stop, strict=True)
        for x in range(begin, end, compiled.LONGEST_RUN)
    ]
    right = columns.start - first[1]
    moved = np.array([rows.start - first[0], right, right])
    from_first: Array = np.array(runs, np.int64).reshape(-1, 3) + moved
    return from_first


@dataclass(frozen=True)
class FrameSum(Reduction):
    """Sum of all frames, pixel by pixel; uint64 or int64 for integer pixels, else float64."""

    max_joined: ClassVar = 4  # the sum of large frames can take 128 MiB
    per_frame: ClassVar = False
    _combine: ClassVar[np.ufunc] = np.add

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return zeros."""
        wide = {"u": np.uint64, "i": np.int64}.get(dtype.kind, np.float64)
        return np.zeros(self.frame_shape, wide)

    def add(self, result: Array, tile: Tile) -> Array:
        """Add frames."""
        part = _part(result, tile)
        if tile.compiled:
            compiled.add_frames(tile.pixels, part)
        else:
            part += tile.pixels.sum(axis=0, dtype=part.dtype)
        return result

    def join(self, parts: Sequence[Array]) -> Array:
        """Combine in the given order, so that the result is reproducible."""
        total = np.array(parts[0])
        for part in parts[1:]:
            self._combine(total, part, out=total)
        return total


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
    """Maximum of each pixel, in the dtype of the pixels; NaN if one of the values is NaN."""

    _combine = np.maximum

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return the smallest value of the dtype."""
        smallest = -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
        return np.full(self.frame_shape, smallest, dtype)

    def add(self, result: Array, tile: Tile) -> Array:
        """Keep the larger value; numpy is as fast as a compiled loop."""
        part, pixels = _part(result, tile), tile.pixels
        largest = pixels[0] if len(pixels) == 1 else pixels.max(axis=0)
        tile.module.maximum(part, largest, out=part)
        return result


def _part(result: Array, tile: Tile) -> Array:
    """Return the part of a frame-sized result that a tile belongs to."""
    return result[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]


@dataclass(frozen=True, eq=False)
class RadialSums(Reduction):
    """Sums of each frame over rings, or over any other sets of pixels.

    `bins`, in the shape of a frame, is the number of the ring to which each pixel belongs, or -1.
    """

    bins: npt.NDArray[np.int32]
    n_bins: int

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return zeros."""
        return np.zeros((n_frames, self.n_bins), np.int64 if dtype.kind in "iu" else np.float64)

    def add(self, result: Array, tile: Tile) -> Array:
        """Add the sums of a tile."""
        bins = _part(self.bins, tile)
        if tile.compiled:
            compiled.sum_bins(tile.pixels, bins, result)
            return result
        # Positions, because a mask could belong to another module.
        [inside] = map(tile.module.asarray, np.nonzero(bins.ravel() >= 0))
        ring = tile.module.asarray(bins.ravel())[inside]
        for sums, frame in zip(result, tile.pixels.reshape(len(tile.pixels), -1), strict=True):
            added = tile.module.bincount(ring, frame[inside].astype(np.float64), self.n_bins)
            sums += added.astype(sums.dtype)
        return result
