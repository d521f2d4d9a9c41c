"""Choice of the frames, and the rows of them, that a preview reads within its budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import FrameTable, Layout
from mrcdist.preview.sample import (
    ImagesSample,
    Piece,
    PreviewBudget,
    Sample,
    VolumeSample,
    bands,
    lines_of,
    spread,
    too_small,
    whole_frames,
)
from mrcdist.preview.sample_scan import sample_scan
from mrcdist.preview.view import View

__all__ = ["choose_sample"]

# Tiles that fill a montage; fewer, larger ones where the budget does not reach for more.
_MONTAGES = (12, 9, 6, 4, 3, 2, 1)

# With fewer whole sections in the budget, the plane across rows is sampled line by line instead.
_LEAST_SECTIONS = 8

# A tile with fewer lines shows stripes.
_LEAST_LINES = 256


def choose_sample(
    layout: Layout,
    view: View,
    limits: PreviewBudget,
    *,
    table: FrameTable | None = None,
    virtual_image: bool = True,
    max_images: int = 12,
) -> Sample:
    """Choose what to read.

    Parameters
    ----------
    layout : Layout
    view : View
        How the file will be looked at.
    limits : PreviewBudget
    table : ndarray of int, shape ``layout.navigation_shape``, optional
        The frame at each navigation position, where they are not in the file's order.
    virtual_image : bool, default True
        Read enough points of a scan for a virtual image; else enough for a mean pattern only.
    max_images : int, default 12
        In a montage.

    Returns
    -------
    Sample
        `ScanSample`, `VolumeSample` or `ImagesSample`. All pieces together have at most
        ``limits.budget`` bytes and ``limits.reads`` members. Of a compressed stream that is larger
        than the budget the first frames are chosen, whatever the view.

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
        sample = sample_scan(layout, view.plane, limits, table, virtual_image=virtual_image)
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
        chosen = lines_of(layout, limits.budget // count, limits.reads // count)
        least = min(_LEAST_LINES, rows) if count > 1 else 1
        if chosen == full or (len(chosen) >= least and not only_whole):
            shown = tuple(positions[i] for i in _evenly(n_frames, count))
            frames = shown if table is None else tuple(int(table.flat[at]) for at in shown)
            pieces = (
                whole_frames(frames, rows)
                if chosen == full
                else tuple(Piece(range(i, i + 1), band) for i in frames for band in chosen)
            )
            return ImagesSample(pieces, frames, chosen, shown)
    if only_whole:
        raise too_small(limits.budget, layout.frame_bytes, "one frame")
    raise too_small(limits.budget, layout.row_bytes, "one row")


def _evenly(size: int, count: int) -> tuple[int, ...]:
    """Positions from the first to the last; the middle one where it is one."""
    return (
        ((size - 1) // 2,) if count == 1 else tuple(int(i) for i in np.linspace(0, size - 1, count))
    )


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
        raise too_small(limits.budget, layout.frame_bytes, "one section")
    sections = spread(n_sections, -(-n_sections // most))
    full = (range(rows),)
    at = (sections[len(sections) // 2], rows // 2, columns // 2)
    return VolumeSample(whole_frames(sections, rows), at, full, sections, sections, full)


def _sparse_volume(layout: Layout, limits: PreviewBudget, n_sections: int) -> VolumeSample:
    rows, columns = layout.frame_shape
    row_bytes = layout.row_bytes
    few_reads = max(limits.reads // 4, 1)
    most_rows = min(few_reads, limits.budget // 4 // row_bytes)
    if most_rows < 1:
        raise too_small(limits.budget, 4 * row_bytes, "the least of a few rows")
    along_row = spread(n_sections, -(-n_sections // most_rows))
    rest = limits.budget - len(along_row) * row_bytes

    section = column_rows = lines_of(layout, layout.frame_bytes, 1)
    most_whole = min(rest // layout.frame_bytes, few_reads)
    if most_whole < _LEAST_SECTIONS:
        section = lines_of(layout, rest // 2, few_reads)
        most_whole = max(math.isqrt(min(few_reads, rest // 2 // row_bytes)), 1)
        column_rows = bands(rows, min(most_whole, rows), 1)
    along_column = spread(n_sections, -(-n_sections // most_whole))
    at = (along_column[len(along_column) // 2], rows // 2, columns // 2)

    wanted = {(at[0], band) for band in section}
    wanted |= {(i, band) for i in along_column for band in column_rows}
    wanted |= {(i, range(at[1], at[1] + 1)) for i in along_row}
    return VolumeSample(_joined(wanted), at, section, along_row, along_column, column_rows)


def _joined(wanted: set[tuple[int, range]]) -> tuple[Piece, ...]:
    """Join the wanted rows of each frame where they overlap."""
    pieces: list[Piece] = []
    for frame, rows in sorted(wanted, key=lambda part: (part[0], part[1].start, part[1].stop)):
        frames = range(frame, frame + 1)
        last = pieces[-1] if pieces else None
        if last is not None and last.frames == frames and rows.start < last.rows.stop:
            joined = range(last.rows.start, max(last.rows.stop, rows.stop))
            pieces[-1] = Piece(frames, joined)
        else:
            pieces.append(Piece(frames, rows))
    return tuple(pieces)
