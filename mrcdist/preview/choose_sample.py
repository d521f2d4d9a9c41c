"""Choice of the frames, and the rows of them, that a preview reads within its budget."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import Frames, FrameTable, Layout
from mrcdist.preview.sample import (
    ImagesSample,
    Piece,
    PreviewBudget,
    Sample,
    ScanSample,
    View,
    VolumeSample,
)

# Tiles that fill a montage; fewer, larger ones where the budget does not reach for more.
_MONTAGES = (12, 9, 6, 4, 3, 2, 1)

# With fewer whole sections in the budget, the plane across rows is sampled line by line instead.
_LEAST_SECTIONS = 8

# A tile with fewer lines shows stripes; more lines than a screen has are not seen.
_LEAST_LINES, _MAX_LINES = 256, 1024

# A virtual image of fewer points shows nothing: then better more points, with a part of the frame.
_LEAST_POINTS = 24 * 24
_BAND_POINTS = 40 * 40

# Patterns for a mean: more of them change nothing that is seen.
_MEAN_POINTS = 16 * 16
_MEAN_BESIDE_BANDS = 64


def choose_sample(
    layout: Layout,
    view: View,
    limits: PreviewBudget,
    *,
    table: FrameTable | None = None,
    virtual_image: bool = True,
    max_images: int = 12,
) -> Sample:
    """Choose what to read for a view of a file.

    All pieces together have at most ``limits.budget`` bytes and ``limits.reads`` members. Of a
    compressed stream that is larger than the budget the first frames are chosen, whatever the view.
    A `table` has the frame at each navigation position, where they are not in the file's order.
    Without `virtual_image` only enough of a scan for a mean pattern is read. A montage has at most
    `max_images`.

    Raises
    ------
    ArgumentError
        There is nothing to read, or the budget is too small for anything worth looking at.
    """
    present = min(layout.present, layout.n_frames)
    if 0 in (*layout.frame_shape, present):
        raise ArgumentError(
            "the file holds no pixels",
            code="pixels-missing",
            cause="NX, NY or the number of complete frames is 0",
            remedy="check the header with `mrcdist info`, or copy the file again",
        )
    reached = min(limits.budget // layout.frame_bytes, present) if limits.stream else present
    sample: Sample
    if view.kind == "images" or reached < present:
        sample = _sample_images(layout, limits, table, reached, max_images)
    elif view.kind == "volume":
        sample = _sample_volume(layout, limits)
    else:
        sample = _sample_scan(layout, view.plane, limits, table, virtual_image=virtual_image)
    if limits.stream:
        last = max(piece.frames.stop for piece in sample.pieces)
        return replace(sample, pieces=(Piece(range(last), range(layout.frame_shape[0])),))
    return sample


def _sample_images(
    layout: Layout, limits: PreviewBudget, table: FrameTable | None, reached: int, most: int
) -> ImagesSample:
    """As many frames as fill a montage with whole tiles, or with tiles of lines close together."""
    positions: Sequence[int] = range(reached)
    if table is not None:
        positions = np.flatnonzero((table >= 0) & (table < reached)).tolist()
    n_frames = len(positions)
    rows = layout.frame_shape[0]
    full = (range(rows),)
    only_whole = limits.whole or limits.stream
    for count in sorted({min(n, n_frames, most) for n in _MONTAGES} - {0}, reverse=True):
        chosen = _lines_of(layout, limits.budget // count, limits.reads // count)
        least = min(_LEAST_LINES, rows) if count > 1 else 1
        if chosen == full or (len(chosen) >= least and not only_whole):
            places = np.linspace(0, n_frames - 1, count) if count > 1 else [(n_frames - 1) // 2]
            shown = tuple(positions[int(i)] for i in places)
            frames = shown if table is None else tuple(int(table.flat[at]) for at in shown)
            pieces = pieces_of(itertools.product(frames, chosen), rows)
            return ImagesSample(pieces, frames, chosen, shown)
    if only_whole:
        raise _too_small(limits.budget, layout.frame_bytes, "one frame")
    raise _too_small(limits.budget, layout.row_bytes, "one row")


def _sample_volume(layout: Layout, limits: PreviewBudget) -> VolumeSample:
    """Choose what to read of the first volume of a file.

    The plane of a section is contiguous; that along the rows takes one row of each section; that
    across them touches every row of every section and is the one that costs, so that sections are
    left out there. The last navigation axis counts a volume's sections.
    """
    rows, columns = layout.frame_shape
    n_sections = min(layout.navigation_shape[-1], layout.present)
    fits = n_sections * layout.frame_bytes <= limits.budget
    if not fits and not limits.whole:
        return _sparse_volume(layout, limits, n_sections)
    most = n_sections if fits else min(limits.budget // layout.frame_bytes, limits.reads)
    if not most:
        raise _too_small(limits.budget, layout.frame_bytes, "one section")
    sections = spread(n_sections, -(-n_sections // most))
    full = (range(rows),)
    at = (sections[len(sections) // 2], rows // 2, columns // 2)
    pieces = pieces_of(itertools.product(sections, full), rows)
    return VolumeSample(pieces, at, full, sections, sections, full)


def _sparse_volume(layout: Layout, limits: PreviewBudget, n_sections: int) -> VolumeSample:
    rows, columns = layout.frame_shape
    row_bytes = layout.row_bytes
    few_reads = max(limits.reads // 4, 1)
    most_rows = min(few_reads, limits.budget // 4 // row_bytes)
    if most_rows < 1:
        raise _too_small(limits.budget, 4 * row_bytes, "the least of a few rows")
    along_row = spread(n_sections, -(-n_sections // most_rows))
    rest = limits.budget - len(along_row) * row_bytes

    section = column_rows = _lines_of(layout, layout.frame_bytes, 1)
    most_whole = min(rest // layout.frame_bytes, few_reads)
    if most_whole < _LEAST_SECTIONS:
        section = _lines_of(layout, rest // 2, few_reads)
        most_whole = max(math.isqrt(min(few_reads, rest // 2 // row_bytes)), 1)
        column_rows = bands(rows, min(most_whole, rows), 1)
    along_column = spread(n_sections, -(-n_sections // most_whole))
    at = (along_column[len(along_column) // 2], rows // 2, columns // 2)

    pieces = pieces_of(
        (
            *itertools.product(at[:1], section),
            *itertools.product(along_column, column_rows),
            *((i, range(at[1], at[1] + 1)) for i in along_row),
        ),
        rows,
    )
    return VolumeSample(pieces, at, section, along_row, along_column, column_rows)


def _sample_scan(
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
    axes; the others stay at their first point.
    """
    rows = layout.frame_shape[0]
    grid = _Grid(layout, plane, table)
    most = limits.budget // layout.frame_bytes
    if not most:
        raise _too_small(limits.budget, layout.frame_bytes, "one frame")
    if not virtual_image:
        most = min(most, _MEAN_POINTS)
    step = min_step(grid.sizes, most)
    while (
        len(pieces := pieces_of(((i, range(rows)) for i in _present(grid.frames(step))), rows))
        > limits.reads
    ):
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
    pieces = pieces_of(((i, range(rows) if i in chosen else band) for i in there), rows)
    patterns = tuple(sorted(chosen))
    return ScanSample(pieces, *grid.positions(step), frames, band, patterns, single)


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
            argument="budget",
            cause="the acquisition was aborted early, or the scan is sparse",
            remedy="raise the budget, which shows more points, or look at the frames as images",
        )
    middle = (np.asarray(frames.shape) - 1) / 2
    y, x = there[np.abs(there - middle).sum(axis=1).argmin()]
    return int(y), int(x)


def _too_small(budget: int, least: int, what: str) -> ArgumentError:
    """Build the error for a budget that allows nothing worth looking at."""
    return ArgumentError(
        f"a budget of {budget:,} bytes is too small",
        code="budget-too-small",
        argument="budget",
        cause=f"{what} of this file has {least:,} bytes",
        remedy=f"raise the budget, to {4 * least:,} bytes or more",
    )


def pieces_of(wanted: Iterable[tuple[int, range]], rows: int) -> tuple[Piece, ...]:
    """Gather rows of frames, in any order, to as few pieces as there can be.

    Joined are rows of one frame that overlap, and neighbouring frames with all their rows.
    """
    pieces: list[Piece] = []
    for frame, lines in sorted(set(wanted), key=lambda each: (each[0], each[1].start)):
        last = pieces[-1] if pieces else None
        if last is not None and frame in last.frames and lines.start < last.rows.stop:
            joined = range(last.rows.start, max(last.rows.stop, lines.stop))
            pieces[-1] = Piece(last.frames, joined)
        elif last is not None and frame == last.frames.stop and lines == last.rows == range(rows):
            pieces[-1] = Piece(range(last.frames.start, frame + 1), lines)
        else:
            pieces.append(Piece(range(frame, frame + 1), lines))
    return tuple(pieces)


def bands(rows: int, count: int, height: int) -> tuple[range, ...]:
    """Spread `count` bands of at most `height` rows over the `rows` of a frame, without overlap."""
    tops = [i * rows // count for i in range(count)]
    return tuple(
        range(top, min(top + height, stop))
        for top, stop in zip(tops, [*tops[1:], rows], strict=True)
    )


def _lines_of(layout: Layout, budget: int, reads: int) -> tuple[range, ...]:
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


def min_step(sizes: Sequence[int], most: int) -> int:
    """Return the least step along all axes of a grid that leaves at most so many points."""
    step = 1
    while math.prod(-(-size // step) for size in sizes) > most:
        step += 1
    return step
