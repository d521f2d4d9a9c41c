"""Choice of the scan points to read, and of the part of the frame at each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import Frames, FrameTable, Layout
from mrcdist.preview.sample import (
    Piece,
    PreviewBudget,
    ScanSample,
    min_step,
    spread,
    too_small,
    whole_frames,
)

__all__ = ["sample_scan"]

# A virtual image of fewer points shows nothing: then better more points, with a part of the frame.
_LEAST_POINTS = 24 * 24
_BAND_POINTS = 40 * 40

# Patterns for a mean: more of them change nothing that is seen.
_MEAN_POINTS = 16 * 16
_MEAN_BESIDE_BANDS = 64


def sample_scan(
    layout: Layout,
    plane: Sequence[int],
    limits: PreviewBudget,
    table: FrameTable | None,
    *,
    virtual_image: bool,
) -> ScanSample:
    """Choose a grid of scan points, as fine as the limits allow.

    Frames are read whole where that gives a grid of 24 × 24 at least. Where they are too large for
    it, a few are read whole, for the mean pattern, and of more of them the rows in the middle,
    through which the direct beam goes. `plane` is the positions of (y, x) among the navigation
    axes; the others stay at their first point. For `table` and `virtual_image` see `choose_sample`.

    Raises
    ------
    ArgumentError
        Not one frame fits into the budget, or no chosen point has a frame.
    """
    rows = layout.frame_shape[0]
    grid = _Grid(layout, plane, table)
    most = limits.budget // layout.frame_bytes
    if not most:
        raise too_small(limits.budget, layout.frame_bytes, "one frame")
    if not virtual_image:
        most = min(most, _MEAN_POINTS)
    step = min_step(grid.sizes, most)
    while len(pieces := whole_frames(_present(grid.frames(step)), rows)) > limits.reads:
        step += 1
    coarse = grid.points(step) < min(_LEAST_POINTS, grid.points(1))
    if coarse and virtual_image and not limits.whole and not limits.stream:
        banded = _banded(layout, limits, grid)
        if banded is not None and banded.frames.size > grid.points(step):
            return banded
    frames = grid.frames(step)
    return ScanSample(
        pieces,
        *grid.positions(step),
        frames,
        range(rows),
        tuple(_present(frames)),
        _near_middle(frames),
    )


def _banded(layout: Layout, limits: PreviewBudget, grid: _Grid) -> ScanSample | None:
    """A few whole frames, and of many the rows in the middle; None if the budget is too small."""
    rows, row_bytes = layout.frame_shape[0], layout.row_bytes
    n_whole = max(min(limits.budget // 4 // layout.frame_bytes, _MEAN_BESIDE_BANDS), 1)
    rest = limits.budget - n_whole * layout.frame_bytes
    most = min(_BAND_POINTS, limits.reads - n_whole, rest // row_bytes)
    if most < 1:
        return None
    step = min_step(grid.sizes, most)
    frames = grid.frames(step)
    height = max(min(rest // (frames.size * row_bytes), rows // 4), 1)
    top = (rows - height) // 2
    band = range(top, top + height)
    single = _near_middle(frames)

    there = _present(frames)
    chosen = {there[i] for i in np.linspace(0, len(there) - 1, n_whole - 1).astype(int)}
    chosen.add(int(frames[single]))
    pieces = [
        *whole_frames(chosen, rows),
        *(Piece(range(i, i + 1), band) for i in set(there) - chosen),
    ]
    in_order = tuple(sorted(pieces, key=lambda piece: piece.frames.start))
    patterns = tuple(sorted(chosen))
    return ScanSample(in_order, *grid.positions(step), frames, band, patterns, single)


class _Grid:
    """Sparse grids of scan points."""

    def __init__(self, layout: Layout, plane: Sequence[int], table: FrameTable | None) -> None:
        self._layout = layout
        self._plane = plane
        self._table = table
        self.sizes = [layout.navigation_shape[axis] for axis in plane]

    def positions(self, step: int) -> tuple[range, range]:
        ys, xs = (spread(size, step) for size in self.sizes)
        return ys, xs

    def points(self, step: int) -> int:
        return math.prod(len(spread(size, step)) for size in self.sizes)

    def frames(self, step: int) -> Frames:
        """The frame at each point, shape (y, x); -1 where there is none."""
        box = [range(1)] * len(self._layout.navigation_shape)
        for axis, positions in zip(self._plane, self.positions(step), strict=True):
            box[axis] = positions
        found = self._layout.frames(tuple(box), self._table).reshape([len(r) for r in box])
        by_axes = np.moveaxis(found, self._plane, (0, 1))
        return by_axes.reshape(by_axes.shape[:2])


def _present(frames: Frames) -> list[int]:
    return [int(frame) for frame in frames.ravel() if frame >= 0]


def _near_middle(frames: Frames) -> tuple[int, int]:
    """Position of the frame that is nearest to the middle of a grid, of those that there are."""
    there = np.argwhere(frames >= 0)
    if not there.size:
        raise ArgumentError(
            "none of the scan points that a preview would show has a frame",
            code="shown-frames-missing",
            cause="the acquisition was aborted early, or the scan is sparse",
            remedy="raise the budget, which shows more points, or look at the frames as images",
        )
    middle = (np.asarray(frames.shape) - 1) / 2
    y, x = there[np.abs(there - middle).sum(axis=1).argmin()]
    return int(y), int(x)
