"""Which sections and rows of a volume to read for three planes through its middle."""

from __future__ import annotations

import math
from dataclasses import replace

from mrcdist.plan.layout import Layout
from mrcdist.preview.sample import (
    Band,
    Piece,
    ReadLimits,
    VolumeSample,
    bands,
    lines_of,
    spread,
    too_small,
    whole_frames,
)

__all__ = ["sample_volume"]

# With fewer whole sections in the budget, the plane across rows is sampled line by line instead.
_LEAST_SECTIONS = 8


def sample_volume(layout: Layout, limits: ReadLimits) -> VolumeSample:
    """Choose what to read of the first volume of a file.

    The plane of a section is contiguous; that along the rows takes one row of each section; that
    across them touches every row of every section and is the one that costs, so that sections are
    left out there.

    Parameters
    ----------
    layout : Layout
        The last navigation axis counts a volume's sections.
    limits : ReadLimits

    Raises
    ------
    ArgumentError
        The budget is too small.
    """
    rows, columns = layout.frame_shape
    n_sections = min(layout.navigation_shape[-1], layout.present)
    fits = n_sections * layout.frame_bytes <= limits.budget
    if not fits and not limits.whole:
        return _sparse(layout, limits, n_sections)
    most = n_sections if fits else min(limits.budget // layout.frame_bytes, limits.reads)
    if not most:
        raise too_small(limits.budget, layout.frame_bytes, "one section")
    sections = spread(n_sections, -(-n_sections // most))
    full = (Band(0, rows),)
    at = (sections[len(sections) // 2], rows // 2, columns // 2)
    return VolumeSample(whole_frames(sections, rows), at, full, sections, sections, full)


def _sparse(layout: Layout, limits: ReadLimits, n_sections: int) -> VolumeSample:
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
    wanted |= {(i, Band(at[1], 1)) for i in along_row}
    return VolumeSample(_joined(wanted), at, section, along_row, along_column, column_rows)


def _joined(wanted: set[tuple[int, Band]]) -> tuple[Piece, ...]:
    """Join the wanted rows of each frame where they overlap."""
    pieces: list[Piece] = []
    for frame, band in sorted(wanted):
        last = pieces[-1] if pieces else None
        if last is not None and last.first == frame and band.top < last.top + last.rows:
            stop = max(last.top + last.rows, band.top + band.rows)
            pieces[-1] = replace(last, rows=stop - last.top)
        else:
            pieces.append(Piece(frame, 1, band.top, band.rows))
    return tuple(pieces)
