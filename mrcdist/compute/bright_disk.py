"""Locate the bright disk of a diffraction pattern."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import Ring
from mrcdist.compute.schedule import Task
from mrcdist.errors import ArgumentError

# Twice the mean squared distance from the centre ÷ the squared radius of a circle of the same area:
# 1 for a disk, 1.5 for two touching disks.
_ROUND = 1.25

# Rows processed at a time, to limit memory: the median needs nine shifted copies.
_BAND = 256

# Frames, evenly spread over those that are there, whose mean shows where the bright disk is.
SAMPLED_FRAMES = 32
_SAMPLED_BY_A_TASK = 4


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
    smooth = _median(raw)
    background, top = float(np.percentile(smooth, 5)), float(smooth.max())
    remedy = "look at the mean pattern and pass {detector='circle:CY,CX,R'}"
    if not np.isfinite(top) or top <= background:
        raise ArgumentError(
            "no bright disk was found",
            code="bright-disk-not-found",
            cause="the mean pattern is uniform or not finite",
            remedy=remedy,
        )
    edge = (background + top) / 2
    core = smooth >= edge
    grown = functools.reduce(np.logical_or, _shifted(core))
    y, x = np.nonzero(grown & (core | (raw >= edge)))
    cy, cx = float(y.mean()), float(x.mean())
    found = float(np.sqrt(y.size / np.pi))
    spread = 2 * float(np.mean((y - cy) ** 2 + (x - cx) ** 2)) / found**2
    if spread > _ROUND:
        raise ArgumentError(
            "the bright pixels of the mean pattern do not form one round disk",
            code="bright-disk-not-found",
            cause=f"the {y.size} pixels above half-maximum are centred at row {cy:.1f}, column "
            f"{cx:.1f} and {spread:.2f} times as spread out as a disk",
            remedy=remedy,
        )
    return Ring(cy, cx, 0.0, found)


def _median(pattern: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    near = _shifted(pattern)
    smooth = np.empty_like(pattern)
    for top in range(0, len(pattern), _BAND):
        band = slice(top, top + _BAND)
        smooth[band] = np.median([each[band] for each in near], axis=0)
    return smooth


def _shifted(pattern: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Return the neighbours of all pixels: nine views, which repeat the edges."""
    padded = np.pad(pattern, 1, mode="edge")
    rows, columns = pattern.shape
    return [padded[dy : dy + rows, dx : dx + columns] for dy in range(3) for dx in range(3)]


def sample(navigation_shape: tuple[int, ...], present: range | npt.NDArray[np.int64]) -> list[Task]:
    """Tasks for single frames, spread evenly over the positions that have one.

    These are counted in array order; an error is raised if there is none.
    """
    n_frames = len(present)
    if not n_frames:
        raise ArgumentError(
            "no bright disk was found",
            code="data-not-reducible",
            cause="there are no frames",
            remedy="give a detector in pixels, such as circle:CY,CX,R",
        )
    count = min(SAMPLED_FRAMES, n_frames)
    positions = [present[(2 * i + 1) * n_frames // (2 * count)] for i in range(count)]
    places = np.transpose(np.unravel_index(positions, navigation_shape)).tolist()
    blocks = [tuple((at, at + 1) for at in place) for place in places]
    step = _SAMPLED_BY_A_TASK
    return [tuple(blocks[i : i + step]) for i in range(0, count, step)]
