"""The file as a preview sees it, and the sample that it reads, within limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis, frames_are_patterns, scan_plane
from mrcdist.plan.layout import Frames, Layout
from mrcdist.plan.navigation_shape import guess_scan

ViewKind = Literal["scan", "volume", "images"]
VIEW_KINDS: tuple[ViewKind, ...] = get_args(ViewKind)

DEFAULT_BUDGET = 64 * 2**20
"""Bytes that are read to look at a file, unless the caller says otherwise."""


@dataclass(frozen=True)
class View:
    """View of a file, and the positions of its axes among the navigation axes.

    Of a scan they are those of (y, x), of a volume that of the sections' axis; images have none.
    """

    kind: ViewKind
    plane: tuple[int, ...]


def choose_view(
    layout: Layout, axes: Sequence[Axis], *, ispg: int, view: ViewKind | None = None
) -> View:
    """Decide how to show a file; the caller's own `view` wins, where its axes allow it.

    `axes` are those of the whole array, in array order. The space group `ispg` of the header is 0
    for images, 1 to 230 for a volume, 401 to 630 for a stack of volumes (MRC2014). Cameras write
    stacks of patterns with that of a volume. Sections that have no distance while their pixels have
    a size, and so many that they may be the points of a scan, are therefore shown as images: planes
    across them would be lines.

    Raises
    ------
    ArgumentError
        The file's axes do not allow the view that the caller wants.
    """
    navigation = [axis for axis in axes if axis.navigate]
    signal = [axis for axis in axes if not axis.navigate]
    colours = bool(layout.pixels.components)
    # A scan of colour images is no 4D-STEM data.
    plane = None if colours else scan_plane(axes)
    reciprocal = layout.dtype.kind == "c" or (not colours and frames_are_patterns(axes))
    # Neither colours nor what is not in space makes planes that one would cut.
    sections = bool(navigation) and navigation[-1].name in ("x", "y", "z")
    sections = sections and not reciprocal and not colours
    if view is None:
        measured = sections and (navigation[-1].units is None) == (signal[0].units is None)
        measured = measured and guess_scan(axes) is None
        view = "scan" if plane is not None else "volume" if measured and ispg > 0 else "images"
    elif not {"scan": plane is not None, "volume": sections, "images": True}[view]:
        there = ", ".join(f"{axis.name} ({axis.size})" for axis in axes)
        raise ArgumentError(
            f'view "{view}" of an array with the axes {there}',
            code="view-unsuited",
            argument="view",
            cause="a scan needs navigation axes y and x, a volume sections along x, y or z",
            remedy='use view "images", or pass the scan\'s shape as {navigation_shape}',
        )
    if view == "scan" and plane is not None:
        return View(view, plane)
    return View(view, (len(navigation) - 1,) if view == "volume" else ())


@dataclass(frozen=True)
class PreviewBudget:
    """Limits of a sample: how many bytes may be read, decompressed, and what can be read alone.

    `reads` are pieces, at least 16: on an object store each is a request or more, of some 30 ms, 16
    at a time. `whole` frames are compressed one by one: a part of one costs as much as all of it. A
    `stream` is compressed as a whole: nothing is reached but past all before it.
    """

    budget: int
    reads: int = 2048
    whole: bool = False
    stream: bool = False


@dataclass(frozen=True)
class Piece:
    """Neighbouring rows of a frame, or all rows of neighbouring frames, counted as in the file."""

    frames: range
    rows: range


@dataclass(frozen=True)
class Sample:
    """Pieces to read: disjoint, in the order of the file."""

    pieces: tuple[Piece, ...]


@dataclass(frozen=True, eq=False)
class ScanSample(Sample):
    """Frames on a sparse grid of the scan points `ys` times `xs`.

    `frames` has the frame at each, as int64 of shape (len(ys), len(xs)), -1 where there is none. Of
    each the rows `band` are read, for a virtual image; `patterns`, for the mean pattern, are read
    whole. So is the `single` one near the middle: (y, x), its positions in `ys` and `xs`.
    """

    ys: range
    xs: range
    frames: Frames
    band: range
    patterns: tuple[int, ...]
    single: tuple[int, int]


@dataclass(frozen=True)
class VolumeSample(Sample):
    """Three planes through the middle of a volume, which meet in ``at``: (section, row, column).

    Read are the rows `section` of section ``at[0]``, row ``at[1]`` of the sections `along_row`, and
    column ``at[2]`` of the sections `along_column`, in the rows `column_rows`.
    """

    at: tuple[int, int, int]
    section: tuple[range, ...]
    along_row: range
    along_column: range
    column_rows: tuple[range, ...]


@dataclass(frozen=True)
class ImagesSample(Sample):
    """A few frames, the `bands` of rows that are read of each, and their navigation positions.

    Positions are counted in array order.
    """

    frames: tuple[int, ...]
    bands: tuple[range, ...]
    positions: tuple[int, ...]


def describe_grid(ys: range, xs: range) -> str:
    """Describe how sparse a grid of scan points is."""
    step = ys.step if len(ys) > 1 else xs.step
    return "every point" if step == 1 else f"1 of {step} × {step} points"


def require_budget(budget: int) -> None:
    """Raise unless something may be read."""
    if budget < 1:
        raise ArgumentError(
            f"budget={budget}",
            code="budget-invalid",
            argument="budget",
            remedy="give a number of bytes, such as 64 * 2**20",
        )
