"""Choice of a pixel size where main header and records differ.

The main header's, as a rule. But FEI's older software left 1 Å there, as a placeholder, and wrote
the pixel size to the records. IMOD's programs multiply the placeholder when they bin the images,
and set their flag 2 once they have corrected it.
"""

from __future__ import annotations

import dataclasses
import math

from mrcdist.format.extended.registry import (
    ExtendedHeader,
    decoder_named,
    recorded_scan,
    section_pixel_size,
)
from mrcdist.format.header import Header
from mrcdist.warning_notes import Note

__all__ = ["correct_pixel_size"]

_CORRECTED = 2
_COLUMN, _ROW, _SECTION = range(3)
# Of a placeholder that was written as a float, and of sizes that are one and the same.
_EXACT, _SAME = 1e-4, 1e-2


def correct_pixel_size(header: Header, extended: ExtendedHeader | None) -> Header:
    """Put the records' pixel size in the cell edges where the header's is a placeholder."""
    if extended is None or (header.imod_flags or 0) & _CORRECTED:
        return header
    recorded = section_pixel_size(extended)
    spacing = _placeholder(header, decoder_named(extended.kind).largest_placeholder)
    # Where the records speak of a scan, their pixel size may be its step.
    if recorded is None or spacing is None or recorded_scan(extended) is not None:
        return header
    sizes = {_ROW: 10 * recorded[0], _COLUMN: 10 * recorded[1]}  # nm to Å
    if all(math.isclose(size, spacing, rel_tol=_SAME) for size in sizes.values()):
        return header
    cell = list(header.cell)
    for stored, size in sizes.items():
        axis = header.axis_of(stored)
        cell[axis] = size * spacing * header.intervals[axis]
    depth = header.pixel_size(_SECTION)
    if depth is not None and math.isclose(depth, round(depth), rel_tol=_EXACT):
        cell[header.axis_of(_SECTION)] = 0.0  # of no section is the thickness known
    notes = header.notes
    if spacing > 1:
        text = (
            f"the header's pixel size of {spacing} Å is taken for a binning by {spacing} of pixels "
            f"of {recorded[1]:g} nm, which the extended header states"
        )
        notes += (Note("pixel-size-binned", text),)
    return dataclasses.replace(header, cell=(cell[0], cell[1], cell[2]), notes=notes)


def _placeholder(header: Header, largest: int) -> int | None:
    """Return the whole number of Å that rows and columns have, if it may be none."""
    sizes = header.pixel_size(_ROW), header.pixel_size(_COLUMN)
    for whole in range(1, largest + 1):
        if all(size is not None and math.isclose(size, whole, rel_tol=_EXACT) for size in sizes):
            return whole
    return None
