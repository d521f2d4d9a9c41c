"""Views of a file, the samples read for them, and the limits of a sample."""

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
"""Default number of bytes to read for a preview, and for the browser's navigator."""


@dataclass(frozen=True)
class View:
    """Kind of view of a file, and the positions of its axes among the navigation axes.

    `plane` has the positions of (y, x) for a scan and that of the section axis for a volume; it is
    empty for images.
    """

    kind: ViewKind
    plane: tuple[int, ...]


def choose_view(
    layout: Layout, axes: Sequence[Axis], *, ispg: int, view: ViewKind | None = None
) -> View:
    """Choose how to show a file, unless the caller requests a `view`.

    `axes` are the axes of the array, in array order. The space group `ispg` of the header is 0
    for images, 1 to 230 for a volume, 401 to 630 for a stack of volumes (MRC2014). Cameras write
    the space group of a volume for stacks of patterns, too. Sections are therefore shown as images
    if their spacing is unknown although the pixel size is known, or if there are so many that they
    may be the points of a scan: planes across such sections would show only lines.

    Raises
    ------
    ArgumentError
        The axes of the file do not allow the requested view.
    """
    navigation = [axis for axis in axes if axis.navigate]
    signal = [axis for axis in axes if not axis.navigate]
    colours = bool(layout.pixels.components)
    # Planes across the frames make sense only in real space, and not for colours.
    real_space = not colours and layout.dtype.kind != "c" and not frames_are_patterns(axes)
    sections = real_space and bool(navigation) and navigation[-1].name in ("x", "y", "z")
    planes: dict[ViewKind, tuple[int, ...] | None] = {
        "scan": None if colours else scan_plane(axes),  # 4D-STEM data have no colours
        "volume": (len(navigation) - 1,) if sections else None,
        "images": (),
    }
    if view is None:
        spaced = sections and (navigation[-1].units is None) == (signal[0].units is None)
        is_volume = spaced and ispg > 0 and guess_scan(axes) is None
        view = "scan" if planes["scan"] else "volume" if is_volume else "images"
    plane = planes[view]
    if plane is None:
        shape = ", ".join(f"{axis.name} ({axis.size})" for axis in axes)
        raise ArgumentError(
            f'`view="{view}"` for an array with the axes {shape}',
            code="view-unsuited",
            argument="view",
            cause="a scan needs navigation axes y and x, a volume sections along x, y or z",
            remedy='use view "images", or pass the scan\'s shape as `navigation_shape`',
        )
    return View(view, plane)


@dataclass(frozen=True)
class SampleLimits:
    """Limits of a sample: how much may be read, and which parts can be read individually.

    `max_reads`, at least 16, is the maximum number of pieces: in an object store, each takes one or
    more requests of about 30 ms, 16 at a time. With `whole_frames`, frames are compressed one by
    one, and part of a frame costs as much as all of it. A `stream` is compressed as a whole, so
    that reaching a frame means decompressing everything before it.
    """

    budget: int
    max_reads: int = 2048
    whole_frames: bool = False
    stream: bool = False


@dataclass(frozen=True)
class Piece:
    """Adjacent rows of one frame, or all rows of adjacent frames, numbered as in the file."""

    frames: range
    rows: range


@dataclass(frozen=True)
class Sample:
    """Pieces to read: disjoint, in file order."""

    pieces: tuple[Piece, ...]


@dataclass(frozen=True, eq=False)
class ScanSample(Sample):
    """Frames on a sparse grid of scan points, `ys` times `xs`.

    `frames` are their numbers, as int64 of shape (len(ys), len(xs)), -1 for missing frames. The
    rows `band` of each are read for virtual images; the frames `patterns` are read whole, for the
    mean pattern. `single`, given as its positions in `ys` and `xs`, is a frame near the centre that
    is also read whole.
    """

    ys: range
    xs: range
    frames: Frames
    band: range
    patterns: tuple[int, ...]
    single: tuple[int, int]


@dataclass(frozen=True)
class VolumeSample(Sample):
    """Three planes of a volume that intersect at ``at``, near its centre: (section, row, column).

    They consist of the rows `section` of section ``at[0]``, row ``at[1]`` of the sections
    `along_row`, and column ``at[2]`` of the sections `along_column` in the rows `column_rows`.
    """

    at: tuple[int, int, int]
    section: tuple[range, ...]
    along_row: range
    along_column: range
    column_rows: tuple[range, ...]


@dataclass(frozen=True)
class ImagesSample(Sample):
    """A few frames, the `bands` of rows read of each, and their flat navigation positions."""

    frames: tuple[int, ...]
    bands: tuple[range, ...]
    positions: tuple[int, ...]


def every(step: int, noun: str) -> str:
    """Describe the positions of a range: "every point", "every 7th point"."""
    if step == 1:
        return f"every {noun}"
    tens, ones = divmod(step, 10)
    if ones in (1, 2, 3) and tens % 10 != 1:
        return f"every {tens or ''}{('1st', '2nd', '3rd')[ones - 1]} {noun}"
    return f"every {step}th {noun}"


def require_budget(budget: int) -> None:
    """Raise unless the budget is positive."""
    if budget < 1:
        raise ArgumentError(
            f"`budget={budget}`",
            code="budget-invalid",
            argument="budget",
            remedy="give a number of bytes, such as 64 * 2**20",
        )
