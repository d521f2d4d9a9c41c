"""Sums that one compiled loop computes together: of integer pixels, with integer weights.

A pass has them together because frames are read from memory once for all, and because calls from
Python for each few frames would take longer than the sums.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.reductions import FrameSum, PixelSums, Reduction, Tile, Window, compiled

__all__ = ["FusedSums", "fused_sums"]

Array = npt.NDArray[Any]

# Weights of all sums, which have to stay in a core's cache; in larger frames, runs are as fast.
_MAX_BYTES = 2**19

# Pixels whose products are added up in 32 bits, as many as their weights allow.
_BLOCKS = (1024, 512, 256, 128)


class FusedSums:
    """Those of several reductions that are computed in one loop; `places` says which these are."""

    def __init__(self, reductions: Sequence[Reduction], window: Window) -> None:
        self._middle = np.array([_middle(axis) for axis in window])
        self._total: int | None = None
        self._sums: list[tuple[int, slice]] = []  # reduction, and its weights
        pixels = len(window[0]) * len(window[1])
        found: list[npt.NDArray[np.int16]] = []
        for at, each in enumerate(reductions):
            if type(each) is FrameSum and self._total is None:
                self._total = at
            elif isinstance(each, PixelSums) and each.detector.has_integer_weights:
                stop = len(found) + (3 if each.moments else 1)
                weights = None if 2 * pixels * stop > _MAX_BYTES else _weights(each, *window)
                if weights is not None:
                    self._sums.append((at, slice(len(found), stop)))
                    found.extend(weights)
        self._weights = np.array(found, np.int16).reshape(len(found), pixels)
        self._block = next(size for size in _BLOCKS if _fits(self._weights, size))
        self._spans = _spans(self._weights, self._block)
        # The sum of frames alone is as fast by itself.
        total = () if self._total is None or not self._sums else (self._total,)
        self.places = (*total, *(at for at, _ in self._sums))

    def add(self, results: Sequence[Array], tile: Tile, rows: Any) -> None:
        """Add a tile of whole frames to the results of all reductions.

        `rows` are an index: those of the frames in results with a row per frame.
        """
        sums = np.zeros((len(tile.pixels), len(self._weights)), np.int64)
        total = np.empty((0, 0), np.int64) if self._total is None else results[self._total]
        compiled.sum_together(tile.pixels, total, self._weights, self._spans, self._block, sums)
        for at, weights in self._sums:
            found = sums[:, weights]
            found[:, 1:] += found[:, :1] * self._middle[: found.shape[1] - 1]
            results[at][rows] += found


@functools.lru_cache(maxsize=8)
def fused_sums(reductions: tuple[Any, ...], rows: range, columns: range) -> FusedSums:
    """Return the `FusedSums` of reductions, which are the same for all blocks of a task."""
    return FusedSums(reductions, (rows, columns))


def _weights(sums: Any, rows: range, columns: range) -> npt.NDArray[np.int16] | None:
    """Return the weights of all pixels of a window, shape (1 or 3, pixels); None if too large.

    Positions are counted from the middle of the window, so that they are small.
    """
    weights = np.zeros((len(rows), len(columns)), np.int64)
    inside = weights[
        sums.window[0].start - rows.start : sums.window[0].stop - rows.start,
        sums.window[1].start - columns.start : sums.window[1].stop - columns.start,
    ]
    inside[...] = sums.detector.weights(*sums.window)
    kinds = [weights]
    if sums.moments:
        y, x = np.asarray(rows) - _middle(rows), np.asarray(columns) - _middle(columns)
        kinds += [weights * y[:, None], weights * x]
    found = np.stack([kind.ravel() for kind in kinds])
    if np.abs(found).max() > np.iinfo(np.int16).max or not _fits(found, _BLOCKS[-1]):
        return None
    return found.astype(np.int16)


def _middle(axis: range) -> int:
    return axis.start + len(axis) // 2


def _fits(weights: Array, block: int) -> bool:
    """Whether products with a block of pixels have a sum of 32 bits."""
    sizes = np.abs(weights.astype(np.int64))
    if not sizes.size:
        return True
    sums = np.add.reduceat(sizes, np.arange(0, sizes.shape[1], block), axis=1)
    return bool(sums.max() <= compiled.LARGEST_WEIGHTS)


def _spans(weights: Array, block: int) -> npt.NDArray[np.int64]:
    """Return the first and last pixel + 1 of the blocks in which weights are not 0."""
    spans = np.zeros((len(weights), 2), np.int64)
    for span, row in zip(spans, weights, strict=True):
        [used] = np.nonzero(row)
        if used.size:
            span[:] = used[0] // block * block, min((used[-1] // block + 1) * block, len(row))
    return spans
