"""Stretches of the file: what a preview reads, each without a byte that it does not want."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mrcdist.plan.layout import Layout

__all__ = ["Band", "Piece", "bands", "lines_of", "spread", "whole_frames"]

# More lines than a screen has are not seen.
_MOST_LINES = 1024


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


def spread(size: int, step: int) -> range:
    """Every step-th position of an axis, with as much left over before the first as after the last.

    Parameters
    ----------
    size, step : int
        At least 1.
    """
    count = -(-size // step)
    return range((size - 1 - (count - 1) * step) // 2, size, step)


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
