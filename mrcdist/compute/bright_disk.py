"""Locate the bright disk of a diffraction pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from mrcdist.compute.detectors import Ring
from mrcdist.compute.schedule import Task
from mrcdist.errors import ArgumentError

# Largest spread, twice the mean squared distance from the centre ÷ the squared radius of a circle
# of the same area: 1 for a disk, 1.5 for two touching disks.
_MAX_SPREAD = 1.25

# Rows filtered at a time, to limit memory: the median copies the neighbours of each pixel.
_ROWS_AT_A_TIME = 256

# Number of frames, evenly spread over the scan, in whose mean the bright disk is located.
SAMPLED_FRAMES = 32
_FRAMES_PER_TASK = 4


def find_disk(pattern: npt.NDArray[Any]) -> Ring:
    """Return centre and radius of the bright disk, defined by its half-maximum.

    A median filter over 3 × 3 pixels removes hot pixels. The threshold is half-way between the
    background (5th percentile) and the maximum of the filtered pattern. The disk consists of the
    filtered pixels at or above the threshold, and of their neighbours that are at or above it
    unfiltered, since the median erodes the edge. Its centre is the unweighted mean position of
    these pixels, its radius that of a circle with the same area. Both are accurate to about half a
    pixel. An error is raised if there is no contrast, or the bright pixels do not form one round
    disk.
    """
    raw = np.asarray(pattern, np.float64)
    neighbours, smooth = _neighbours(raw), np.empty_like(raw)
    for top in range(0, len(raw), _ROWS_AT_A_TIME):
        rows = slice(top, top + _ROWS_AT_A_TIME)
        smooth[rows] = np.median(neighbours[rows], axis=(2, 3))
    background, maximum = float(np.percentile(smooth, 5)), float(smooth.max())
    if not np.isfinite(maximum) or maximum <= background:
        raise _not_found(
            "no bright disk was found", cause="the mean pattern is uniform or not finite"
        )
    threshold = (background + maximum) / 2
    core = smooth >= threshold
    near_core = _neighbours(core).any(axis=(2, 3))
    y, x = np.nonzero(near_core & (core | (raw >= threshold)))
    cy, cx = float(y.mean()), float(x.mean())
    radius = float(np.sqrt(y.size / np.pi))
    spread = 2 * float(np.mean((y - cy) ** 2 + (x - cx) ** 2)) / radius**2
    if spread > _MAX_SPREAD:
        raise _not_found(
            "the bright pixels of the mean pattern do not form one round disk",
            cause=f"the {y.size} pixels above half-maximum are centred at row {cy:.1f}, column "
            f"{cx:.1f} and {spread:.2f} times as spread out as a disk",
        )
    return Ring(cy, cx, 0.0, radius)


def _neighbours(pattern: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a view of the 3 × 3 pixels around each pixel, with the edges of the frame repeated."""
    return sliding_window_view(np.pad(pattern, 1, mode="edge"), (3, 3))


def _not_found(problem: str, cause: str) -> ArgumentError:
    return ArgumentError(
        problem,
        code="bright-disk-not-found",
        argument="detector",
        cause=cause,
        remedy="look at the mean pattern and pass `detector='circle:CY,CX,R'`",
    )


def sample_tasks(
    navigation_shape: tuple[int, ...], present: range | npt.NDArray[np.int64]
) -> list[Task]:
    """Return tasks that read single frames, evenly spread over the positions that have one.

    `present` are these positions, at least one, counted in array order.
    """
    count = min(SAMPLED_FRAMES, len(present))
    sampled = [present[(2 * i + 1) * len(present) // (2 * count)] for i in range(count)]
    positions = np.transpose(np.unravel_index(sampled, navigation_shape)).tolist()
    blocks = [tuple((index, index + 1) for index in position) for position in positions]
    return [
        tuple(blocks[first : first + _FRAMES_PER_TASK])
        for first in range(0, count, _FRAMES_PER_TASK)
    ]
