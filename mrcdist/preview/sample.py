"""The sample that a preview reads: its pieces, their purpose and their limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import Frames, Layout

__all__ = [
    "DEFAULT_BUDGET",
    "ImagesSample",
    "Piece",
    "PreviewBudget",
    "Sample",
    "ScanSample",
    "VolumeSample",
    "bands",
    "describe_grid",
    "lines_of",
    "min_step",
    "spread",
    "too_small",
    "whole_frames",
]

# More lines than a screen has are not seen.
_MAX_LINES = 1024


DEFAULT_BUDGET = 64 * 2**20
"""Bytes that are read to look at a file, unless the caller says otherwise."""


@dataclass(frozen=True)
class PreviewBudget:
    """Limits of a sample: how much may be read, and the pieces that can be read alone.

    Attributes
    ----------
    budget : int
        Bytes, decompressed where they are compressed.
    reads : int, default 2048
        Pieces, at least 16. On an object store each is a request or more, of some 30 ms, 16 at a
        time.
    whole : bool, default False
        Frames are compressed one by one: a part of one costs as much as all of it.
    stream : bool, default False
        The file is one compressed stream, in which nothing is reached but past all before it.
    """

    budget: int
    reads: int = 2048
    whole: bool = False
    stream: bool = False


@dataclass(frozen=True)
class Piece:
    """Rows of a frame, or several whole frames, that lie in the file one behind the other.

    Attributes
    ----------
    frames : range
        Neighbouring frames, counted as the file stores them.
    rows : range
        Neighbouring rows: all of them where there are several frames.
    """

    frames: range
    rows: range


@dataclass(frozen=True)
class Sample:
    """Pieces to read.

    Attributes
    ----------
    pieces : tuple of Piece
        In the order of the file, disjoint.
    """

    pieces: tuple[Piece, ...]


@dataclass(frozen=True, eq=False)
class ScanSample(Sample):
    """Frames on a sparse grid of scan points.

    Attributes
    ----------
    ys, xs : range
        Scan points.
    frames : ndarray of int64, shape (len(ys), len(xs))
        The frame at each, -1 where there is none.
    band : range
        The rows that are read of each, for a virtual image.
    patterns : tuple of int
        Frames that are read whole, for the mean pattern.
    single : tuple of int
        (y, x), positions in `ys` and `xs`, of one that is read whole, near the middle.
    """

    ys: range
    xs: range
    frames: Frames
    band: range
    patterns: tuple[int, ...]
    single: tuple[int, int]


@dataclass(frozen=True)
class VolumeSample(Sample):
    """Three planes through the middle of a volume.

    Attributes
    ----------
    at : tuple of int
        (section, row, column) in which the planes meet.
    section : tuple of range
        Rows of section ``at[0]``.
    along_row : range
        Sections of which row ``at[1]`` is read.
    along_column : range
        Sections of which column ``at[2]`` is read, in these rows:
    column_rows : tuple of range
    """

    at: tuple[int, int, int]
    section: tuple[range, ...]
    along_row: range
    along_column: range
    column_rows: tuple[range, ...]


@dataclass(frozen=True)
class ImagesSample(Sample):
    """A few frames.

    Attributes
    ----------
    frames : tuple of int
    bands : tuple of range
        The rows that are read of each.
    positions : tuple of int
        Where each frame is among the navigation positions, counted in array order.
    """

    frames: tuple[int, ...]
    bands: tuple[range, ...]
    positions: tuple[int, ...]


def too_small(budget: int, least: int, what: str) -> ArgumentError:
    """Build the error for a budget that allows nothing worth looking at."""
    return ArgumentError(
        f"a budget of {budget:,} bytes is too small",
        code="budget-too-small",
        argument="budget",
        cause=f"{what} of this file has {least:,} bytes",
        remedy=f"raise the budget, to {4 * least:,} bytes or more",
    )


def whole_frames(frames: Iterable[int], rows: int) -> tuple[Piece, ...]:
    """Gather whole frames, in any order, to as few pieces as there are runs of neighbours."""
    pieces: list[Piece] = []
    for frame in sorted(set(frames)):
        if pieces and frame == pieces[-1].frames.stop:
            frame_range = range(pieces.pop().frames.start, frame + 1)
        else:
            frame_range = range(frame, frame + 1)
        pieces.append(Piece(frame_range, range(rows)))
    return tuple(pieces)


def bands(rows: int, count: int, height: int) -> tuple[range, ...]:
    """Spread `count` bands of at most `height` rows over the `rows` of a frame, without overlap."""
    tops = [i * rows // count for i in range(count)]
    return tuple(
        range(top, min(top + height, stop))
        for top, stop in zip(tops, [*tops[1:], rows], strict=True)
    )


def lines_of(layout: Layout, budget: int, reads: int) -> tuple[range, ...]:
    """Return all rows of a frame in one band, or as many bands as bytes and reads allow.

    Empty where not one row fits.
    """
    rows = layout.frame_shape[0]
    if layout.frame_bytes <= budget and reads:
        return (range(rows),)
    lines = min(_MAX_LINES, rows, reads, budget // layout.row_bytes)
    return bands(rows, lines, budget // (lines * layout.row_bytes)) if lines > 0 else ()


def spread(size: int, step: int) -> range:
    """Return every step-th position of an axis, with as much left over at both of its ends."""
    count = -(-size // step)
    return range((size - 1 - (count - 1) * step) // 2, size, step)


def describe_grid(ys: range, xs: range) -> str:
    """Describe how sparse a grid of scan points is."""
    step = ys.step if len(ys) > 1 else xs.step
    return "every point" if step == 1 else f"1 of {step} × {step} points"


def min_step(sizes: Sequence[int], most: int) -> int:
    """Return the least step along all axes of a grid that leaves at most so many points."""
    step = 1
    while math.prod(-(-size // step) for size in sizes) > most:
        step += 1
    return step
