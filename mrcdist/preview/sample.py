"""What a preview reads of a file, and within which limits: pieces, and what they are for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import Frames, Layout

__all__ = [
    "Band",
    "ImagesSample",
    "Piece",
    "ReadLimits",
    "Sample",
    "ScanSample",
    "VolumeSample",
    "bands",
    "grid_words",
    "least_step",
    "lines_of",
    "spread",
    "too_small",
    "whole_frames",
]

# More lines than a screen has are not seen.
_MOST_LINES = 1024


@dataclass(frozen=True)
class ReadLimits:
    """How much may be read, and what the file allows to be read alone.

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


@dataclass(frozen=True, order=True)
class Piece:
    """Rows of a frame, or several whole frames, that lie in the file one behind the other.

    Attributes
    ----------
    first, frames : int
        The first frame, counted as the file stores them, and how many.
    top, rows : int
        The first row, and how many: all of them where there are several frames.
    """

    first: int
    frames: int
    top: int
    rows: int


@dataclass(frozen=True, order=True)
class Band:
    """Neighbouring rows of a frame.

    Attributes
    ----------
    top, rows : int
        The first row, and how many.
    """

    top: int
    rows: int


@dataclass(frozen=True)
class Sample:
    """What to read.

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
    band : Band
        The rows that are read of each, for a virtual image.
    patterns : tuple of int
        Frames that are read whole, for the mean pattern.
    single : tuple of int
        (y, x), positions in `ys` and `xs`, of one that is read whole, near the middle.
    """

    ys: range
    xs: range
    frames: Frames
    band: Band
    patterns: tuple[int, ...]
    single: tuple[int, int]


@dataclass(frozen=True)
class VolumeSample(Sample):
    """Three planes through the middle of a volume.

    Attributes
    ----------
    at : tuple of int
        (section, row, column) in which the planes meet.
    section : tuple of Band
        Rows of section ``at[0]``.
    along_row : range
        Sections of which row ``at[1]`` is read.
    along_column : range
        Sections of which column ``at[2]`` is read, in these rows:
    column_rows : tuple of Band
    """

    at: tuple[int, int, int]
    section: tuple[Band, ...]
    along_row: range
    along_column: range
    column_rows: tuple[Band, ...]


@dataclass(frozen=True)
class ImagesSample(Sample):
    """A few frames.

    Attributes
    ----------
    frames : tuple of int
    bands : tuple of Band
        The rows that are read of each.
    """

    frames: tuple[int, ...]
    bands: tuple[Band, ...]


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
    """Gather whole frames to as few pieces as there are runs of neighbours.

    Parameters
    ----------
    frames : iterable of int
        In any order; repeated ones count once.
    rows : int
        Of a frame.
    """
    pieces: list[Piece] = []
    first = last = -2
    for frame in sorted(set(frames)):
        if frame == last + 1:
            pieces[-1] = Piece(first, frame - first + 1, 0, rows)
        else:
            first = frame
            pieces.append(Piece(frame, 1, 0, rows))
        last = frame
    return tuple(pieces)


def bands(rows: int, count: int, height: int) -> tuple[Band, ...]:
    """Spread bands of rows over a frame.

    Parameters
    ----------
    rows : int
        Of the frame.
    count : int
        Bands, at most one a row.
    height : int
        Rows of a band; less where it would reach into the next one.
    """
    tops = [i * rows // count for i in range(count)]
    return tuple(
        Band(top, min(height, stop - top))
        for top, stop in zip(tops, [*tops[1:], rows], strict=True)
    )


def lines_of(layout: Layout, budget: int, reads: int) -> tuple[Band, ...]:
    """All rows of a frame in one band, or as many bands of them as the limits allow.

    Parameters
    ----------
    layout : Layout
    budget, reads : int
        Bytes and bands at most.

    Returns
    -------
    tuple of Band
        Empty where not one row fits.
    """
    rows = layout.frame_shape[0]
    if layout.frame_bytes <= budget and reads:
        return (Band(0, rows),)
    lines = min(_MOST_LINES, rows, reads, budget // layout.row_bytes)
    return bands(rows, lines, budget // (lines * layout.row_bytes)) if lines > 0 else ()


def spread(size: int, step: int) -> range:
    """Every step-th position of an axis, with as much left over before the first as after the last.

    Parameters
    ----------
    size, step : int
        At least 1.
    """
    count = -(-size // step)
    return range((size - 1 - (count - 1) * step) // 2, size, step)


def grid_words(ys: range, xs: range) -> str:
    """Say how sparse a grid of scan points is."""
    step = ys.step if len(ys) > 1 else xs.step
    return "every point" if step == 1 else f"1 of {step} × {step} points"


def least_step(sizes: Sequence[int], most: int) -> int:
    """Return the least step along all axes of a grid that leaves at most so many points."""
    step = 1
    while math.prod(-(-size // step) for size in sizes) > most:
        step += 1
    return step
