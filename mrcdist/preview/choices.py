"""What a preview may read, and what it can choose."""

from __future__ import annotations

from dataclasses import dataclass

from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import Frames
from mrcdist.preview.pieces import Band, Piece

__all__ = ["Choice", "ImagesChoice", "Limits", "ScanChoice", "VolumeChoice", "too_small"]


@dataclass(frozen=True)
class Limits:
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


@dataclass(frozen=True)
class Choice:
    """What to read.

    Attributes
    ----------
    pieces : tuple of Piece
        In the order of the file, disjoint.
    """

    pieces: tuple[Piece, ...]


@dataclass(frozen=True, eq=False)
class ScanChoice(Choice):
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
class VolumeChoice(Choice):
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
class ImagesChoice(Choice):
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
