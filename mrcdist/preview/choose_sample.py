"""Choice of the frames, and of their rows, to read for a preview within its limits."""

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
    Sample,
    SampleLimits,
    ScanSample,
    View,
    VolumeSample,
)

# Numbers of images that fill a montage: the largest one that the budget allows is used.
_MONTAGES = (12, 9, 6, 4, 3, 2, 1)

# If fewer whole sections fit into the budget, the plane across rows is sampled line by line.
_MIN_SECTIONS = 8

# An image with fewer lines looks striped; more lines than a screen has are invisible.
_MIN_LINES, _MAX_LINES = 256, 1024

# A virtual image with fewer points shows too little: read more points, but part of each frame.
_MIN_POINTS = 24 * 24
_BAND_POINTS = 40 * 40

# More patterns would not visibly change their mean.
_MEAN_POINTS = 16 * 16
_MEAN_POINTS_WITH_BANDS = 64


def choose_sample(
    layout: Layout,
    view: View,
    limits: SampleLimits,
    *,
    table: FrameTable | None = None,
    virtual_image: bool = True,
    max_images: int = 12,
) -> Sample:
    """Choose what to read for a view of a file.

    There are at most ``limits.max_reads`` pieces, with at most ``limits.budget`` bytes in total. Of
    a compressed stream larger than the budget, the first frames are chosen, whatever the view.
    `table` has the frame number at each navigation position, if these are not in file order.
    Without `virtual_image`, only enough of a scan for a mean pattern is read.

    Raises
    ------
    ArgumentError
        The file is empty, or the budget is too small.
    """
    present = min(layout.present, layout.n_frames)
    if 0 in (*layout.frame_shape, present):
        raise ArgumentError(
            "the file holds no pixels",
            code="pixels-missing",
            argument="data",
            cause="NX, NY or the number of complete frames is 0",
            remedy="check the header with `mrcdist info`, or copy the file again",
        )
    reachable = min(limits.budget // layout.frame_bytes, present) if limits.stream else present
    sample: Sample
    if view.kind == "images" or reachable < present:
        sample = _sample_images(layout, limits, table, reachable, max_images)
    elif view.kind == "volume":
        sample = _sample_volume(layout, limits)
    else:
        sample = _sample_scan(layout, view.plane, limits, table, virtual_image=virtual_image)
    if limits.stream:
        stop = max(piece.frames.stop for piece in sample.pieces)
        return replace(sample, pieces=(Piece(range(stop), range(layout.frame_shape[0])),))
    return sample


def _sample_images(
    layout: Layout, limits: SampleLimits, table: FrameTable | None, reachable: int, max_images: int
) -> ImagesSample:
    """Choose as many evenly spaced frames as can be shown whole or by closely spaced lines."""
    positions: Sequence[int] = range(reachable)
    if table is not None:
        positions = np.flatnonzero((table >= 0) & (table < reachable)).tolist()
    n_frames, rows = len(positions), layout.frame_shape[0]
    only_whole = limits.whole_frames or limits.stream
    for count in sorted({min(n, n_frames, max_images) for n in _MONTAGES} - {0}, reverse=True):
        lines = _choose_lines(layout, limits.budget // count, limits.max_reads // count)
        min_lines = min(_MIN_LINES, rows) if count > 1 else 1
        if lines == (range(rows),) or (len(lines) >= min_lines and not only_whole):
            chosen = np.linspace(0, n_frames - 1, count) if count > 1 else [(n_frames - 1) // 2]
            shown = tuple(positions[int(i)] for i in chosen)
            frames = shown if table is None else tuple(int(table.flat[i]) for i in shown)
            pieces = merge_pieces(itertools.product(frames, lines), rows)
            return ImagesSample(pieces, frames, lines, shown)
    if only_whole:
        raise _too_small(limits.budget, layout.frame_bytes, "one frame")
    raise _too_small(limits.budget, layout.row_bytes, "one row")


def _sample_volume(layout: Layout, limits: SampleLimits) -> VolumeSample:
    """Choose three planes of the first volume of a file.

    A section is contiguous, and the plane along the rows needs one row of each section. The plane
    across the rows is the expensive one: it needs a pixel of every row of every section, so some
    sections are skipped in it. The last navigation axis counts the sections of a volume.
    """
    rows, columns = layout.frame_shape
    n_sections = min(layout.navigation_shape[-1], layout.present)
    fits = n_sections * layout.frame_bytes <= limits.budget
    if not fits and not limits.whole_frames:
        return _sample_sparse_volume(layout, limits, n_sections)
    affordable = min(limits.budget // layout.frame_bytes, limits.max_reads)
    max_sections = n_sections if fits else affordable
    if not max_sections:
        raise _too_small(limits.budget, layout.frame_bytes, "one section")
    sections = spread(n_sections, -(-n_sections // max_sections))
    all_rows = (range(rows),)
    at = (sections[len(sections) // 2], rows // 2, columns // 2)
    pieces = merge_pieces(itertools.product(sections, all_rows), rows)
    return VolumeSample(pieces, at, all_rows, sections, sections, all_rows)


def _sample_sparse_volume(layout: Layout, limits: SampleLimits, n_sections: int) -> VolumeSample:
    rows, columns = layout.frame_shape
    row_bytes = layout.row_bytes
    max_reads = max(limits.max_reads // 4, 1)  # for each plane
    max_rows = min(max_reads, limits.budget // 4 // row_bytes)
    if max_rows < 1:
        raise _too_small(limits.budget, 4 * row_bytes, "four rows")
    along_row = spread(n_sections, -(-n_sections // max_rows))
    rest = limits.budget - len(along_row) * row_bytes

    section: tuple[range, ...] = (range(rows),)
    column_rows = section
    max_sections = min(rest // layout.frame_bytes, max_reads)
    if max_sections < _MIN_SECTIONS:
        section = _choose_lines(layout, rest // 2, max_reads)
        max_sections = max(math.isqrt(min(max_reads, rest // 2 // row_bytes)), 1)
        column_rows = bands(rows, min(max_sections, rows), 1)
    along_column = spread(n_sections, -(-n_sections // max_sections))
    at = (along_column[len(along_column) // 2], rows // 2, columns // 2)

    pieces = merge_pieces(
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
    limits: SampleLimits,
    table: FrameTable | None,
    *,
    virtual_image: bool,
) -> ScanSample:
    """Choose a grid of scan points that is as fine as the limits allow.

    Frames are read whole if that gives a grid of at least 24 × 24 points. If they are too large, a
    few are read whole, for the mean pattern, and only the central rows of others, through which the
    direct beam passes. `plane` has the positions of (y, x) among the navigation axes; the others
    stay at their first point.
    """
    rows = range(layout.frame_shape[0])
    sizes = [layout.navigation_shape[axis] for axis in plane]
    max_points = limits.budget // layout.frame_bytes
    if not max_points:
        raise _too_small(limits.budget, layout.frame_bytes, "one frame")
    if not virtual_image:
        max_points = min(max_points, _MEAN_POINTS)
    for step in itertools.count(min_step(sizes, max_points)):
        ys, xs, frames = _grid(layout, plane, table, step)
        present = frames[frames >= 0].tolist()
        pieces = merge_pieces(((i, rows) for i in present), len(rows))
        if len(pieces) <= limits.max_reads:
            break
    coarse = frames.size < min(_MIN_POINTS, math.prod(sizes))
    if coarse and virtual_image and not limits.whole_frames and not limits.stream:
        band_sample = _sample_bands(layout, plane, limits, table)
        if band_sample is not None and band_sample.frames.size > frames.size:
            return band_sample
    return ScanSample(pieces, ys, xs, frames, rows, tuple(present), _near_centre(frames))


def _sample_bands(
    layout: Layout, plane: Sequence[int], limits: SampleLimits, table: FrameTable | None
) -> ScanSample | None:
    """Choose a few whole frames, and the central rows of many; None if the budget is too small."""
    rows, row_bytes = layout.frame_shape[0], layout.row_bytes
    sizes = [layout.navigation_shape[axis] for axis in plane]
    n_whole = max(min(limits.budget // 4 // layout.frame_bytes, _MEAN_POINTS_WITH_BANDS), 1)
    rest = limits.budget - n_whole * layout.frame_bytes
    max_points = min(_BAND_POINTS, limits.max_reads - n_whole, rest // row_bytes)
    if max_points < 1:
        return None
    ys, xs, frames = _grid(layout, plane, table, min_step(sizes, max_points))
    height = max(min(rest // (frames.size * row_bytes), rows // 4), 1)
    top = (rows - height) // 2
    band = range(top, top + height)
    single = _near_centre(frames)

    present = frames[frames >= 0].tolist()
    whole = {present[i] for i in np.linspace(0, len(present) - 1, n_whole - 1).astype(int)}
    whole.add(int(frames[single]))
    pieces = merge_pieces(((i, range(rows) if i in whole else band) for i in present), rows)
    return ScanSample(pieces, ys, xs, frames, band, tuple(sorted(whole)), single)


def _grid(
    layout: Layout, plane: Sequence[int], table: FrameTable | None, step: int
) -> tuple[range, range, Frames]:
    """Return ys and xs of every step-th scan point, and their frames, shape (y, x), -1 for none."""
    box = [range(1)] * len(layout.navigation_shape)
    for axis in plane:
        box[axis] = spread(layout.navigation_shape[axis], step)
    frames = layout.frames(tuple(box), table).reshape([len(positions) for positions in box])
    ys, xs = (box[axis] for axis in plane)
    return ys, xs, np.moveaxis(frames, plane, (0, 1)).reshape(len(ys), len(xs))


def _near_centre(frames: Frames) -> tuple[int, int]:
    """Return the position of the existing frame that is nearest to the centre of a grid."""
    existing = np.argwhere(frames >= 0)
    if not existing.size:
        raise ArgumentError(
            "none of the scan points that a preview would show has a frame",
            code="shown-frames-missing",
            argument="budget",
            cause="the acquisition was aborted early, or the scan is sparse",
            remedy="raise the budget, which shows more points, or look at the frames as images",
        )
    centre = (np.asarray(frames.shape) - 1) / 2
    y, x = existing[np.abs(existing - centre).sum(axis=1).argmin()]
    return int(y), int(x)


def _too_small(budget: int, minimum: int, item: str) -> ArgumentError:
    """Return the error for a budget that is too small to show anything."""
    return ArgumentError(
        f"a budget of {budget:,} bytes is too small",
        code="budget-too-small",
        argument="budget",
        cause=f"the smallest sample, {item}, has {minimum:,} bytes",
        remedy=f"raise the budget, to {4 * minimum:,} bytes or more",
    )


def merge_pieces(parts: Iterable[tuple[int, range]], n_rows: int) -> tuple[Piece, ...]:
    """Merge rows of frames, given in any order as (frame, rows), into as few pieces as possible.

    Overlapping rows of one frame are merged, and adjacent frames with all their rows.
    """
    pieces: list[Piece] = []
    for frame, rows in sorted(set(parts), key=lambda part: (part[0], part[1].start)):
        last = pieces[-1] if pieces else None
        if last is not None and frame in last.frames and rows.start < last.rows.stop:
            merged = range(last.rows.start, max(last.rows.stop, rows.stop))
            pieces[-1] = Piece(last.frames, merged)
        elif last is not None and frame == last.frames.stop and rows == last.rows == range(n_rows):
            pieces[-1] = Piece(range(last.frames.start, frame + 1), rows)
        else:
            pieces.append(Piece(range(frame, frame + 1), rows))
    return tuple(pieces)


def bands(rows: int, count: int, height: int) -> tuple[range, ...]:
    """Spread `count` disjoint bands of at most `height` rows over the rows of a frame."""
    edges = [i * rows // count for i in range(count + 1)]
    return tuple(range(top, min(top + height, stop)) for top, stop in itertools.pairwise(edges))


def _choose_lines(layout: Layout, budget: int, max_reads: int) -> tuple[range, ...]:
    """Return one band of all rows of a frame, or as many bands as fit; none if no row fits."""
    rows = layout.frame_shape[0]
    if layout.frame_bytes <= budget and max_reads:
        return (range(rows),)
    lines = min(_MAX_LINES, rows, max_reads, budget // layout.row_bytes)
    return bands(rows, lines, budget // (lines * layout.row_bytes)) if lines > 0 else ()


def spread(size: int, step: int) -> range:
    """Return every step-th position of an axis, centred."""
    count = -(-size // step)
    return range((size - 1 - (count - 1) * step) // 2, size, step)


def min_step(sizes: Sequence[int], max_points: int) -> int:
    """Return the smallest step along all axes for which a grid has at most `max_points`."""
    return next(
        step
        for step in itertools.count(1)
        if math.prod(-(-size // step) for size in sizes) <= max_points
    )
