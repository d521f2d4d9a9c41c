"""Corrections of the main header from the extended one: NSYMBT, and the pixel size.

If the size of the file does not fit NSYMBT, the extended header may be absent: some programs remove
it and keep NSYMBT. Or the file is truncated. If as many bytes are missing as NSYMBT announces,
both look alike, and the wrong choice shifts every pixel. The bytes after the main header decide, or
the file is rejected.

The pixel size is usually that of the main header. But FEI's older software left 1 Å there as a
placeholder and wrote the pixel size to the records. IMOD's programs multiply the placeholder when
they bin the images, and set their flag 2 once they have corrected it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from mrcdist.errors import FormatError
from mrcdist.format.extended.registry import (
    ExtendedHeader,
    possible_decoders,
    recorded_scan,
    section_pixel_size,
)
from mrcdist.format.header import HEADER_BYTES, Header, require_map
from mrcdist.warning_notes import Note

# The largest block of records that is written for any number of sections.
_MAX_BYTES = 2**20

_PIXEL_SIZE_CORRECTED = 2
_COLUMN, _ROW, _SECTION = range(3)
# Relative tolerances: for a placeholder that was written as a float, and for equal pixel sizes.
_EXACT, _SAME = 1e-4, 1e-2


def presence_bytes(header: Header) -> int:
    """Return how many bytes after the main header `settle_presence` needs; 0 if sizes decide."""
    missing = header.missing_bytes
    if missing > 0 and header.nsymbt > 0:
        return min(header.nsymbt, _MAX_BYTES)
    if missing < 0 and header.nsymbt == 0 and header.exttyp:
        return min(-missing, _MAX_BYTES)
    return 0


def settle_presence(header: Header, start: bytes) -> Header:
    """Decide from its content whether an extended header is present.

    `start` has the length `presence_bytes`, or fewer bytes if the file ends. Returns the header,
    with a corrected NSYMBT and a note if necessary. Raises `FormatError` if the start of the data
    cannot be determined, or if the file has neither the word MAP nor the size of an MRC file.
    """
    settled = (_unannounced if header.nsymbt == 0 else _announced)(header, start)
    require_map(settled)
    return settled


def _announced(header: Header, start: bytes) -> Header:
    """Decide whether the bytes announced by NSYMBT are present."""
    decoders = possible_decoders(header)
    if any(decoder.is_certain(start) for decoder in decoders):
        return header
    contradicted = any(start) and not decoders[0].fits(start)
    if header.missing_bytes != header.nsymbt:
        if contradicted and decoders[0].can_be_certain:
            raise _undecided(header, f"its bytes are not those of {decoders[0].kind}")
        return header
    if not any(start):
        text = (
            f"the file is truncated by NSYMBT = {header.nsymbt} bytes, and as many zeros follow "
            "the main header: they are taken for the extended header"
        )
        return replace(header, notes=(*header.notes, Note("zeros-extended", text)))
    # If the extended header left no room for pixels, the bytes are pixels.
    if contradicted or header.nsymbt >= (header.data_bytes or 0):
        text = (
            f"NSYMBT = {header.nsymbt}, but the file has no extended header: data begin at byte "
            f"{HEADER_BYTES}"
        )
        note = Note("extended-header-absent", text)
        return replace(header, nsymbt=0, missing_bytes=0, notes=(*header.notes, note))
    raise _undecided(header, "the content does not show which")


def _unannounced(header: Header, start: bytes) -> Header:
    """Decide whether the excess bytes of the file are the extended header named by EXTTYP."""
    nsymbt = -header.missing_bytes
    announced = replace(header, nsymbt=nsymbt)
    if not any(decoder.is_certain(start) for decoder in possible_decoders(announced)):
        return header
    text = (
        f"NSYMBT = 0, but the bytes after the main header are an extended header of type "
        f"{header.exttyp}: data begin at byte {HEADER_BYTES + nsymbt}, where they end with the file"
    )
    note = Note("extended-header-unannounced", text)
    return replace(announced, missing_bytes=0, notes=(*header.notes, note))


def _undecided(header: Header, reason: str) -> FormatError:
    return FormatError(
        f"NSYMBT = {header.nsymbt}, and {header.missing_bytes} bytes are missing: the file is "
        f"truncated, or it has no extended header; {reason}",
        code="extended-header-doubtful",
        cause="the acquisition or the copy is incomplete, or a program removed the extended header "
        "but kept its size",
        remedy="copy the file again, or compare it with its source; if the data begin at byte "
        "1024, write NSYMBT = 0 (bytes 92 to 95)",
    )


def correct_pixel_size(header: Header, extended: ExtendedHeader | None) -> Header:
    """Replace a placeholder in the main header by the records' pixel size."""
    if extended is None or (header.imod_flags or 0) & _PIXEL_SIZE_CORRECTED:
        return header
    recorded = section_pixel_size(extended)
    spacing = _placeholder(header, extended.decoder.largest_placeholder)
    # If the records describe a scan, their pixel size may be its step.
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
        cell[header.axis_of(_SECTION)] = 0.0  # the thickness of a section is unknown, too
    notes = header.notes
    if spacing > 1:
        text = (
            f"the header's pixel size of {spacing} Å is taken for a binning by {spacing} of pixels "
            f"of {recorded[1]:g} nm, which the extended header states"
        )
        notes += (Note("pixel-size-binned", text),)
    return replace(header, cell=(cell[0], cell[1], cell[2]), notes=notes)


def _placeholder(header: Header, largest: int) -> int | None:
    """Return the pixel size of rows and columns if it is a whole number of Å up to `largest`."""
    sizes = header.pixel_size(_ROW), header.pixel_size(_COLUMN)
    for spacing in range(1, largest + 1):
        if all(size is not None and math.isclose(size, spacing, rel_tol=_EXACT) for size in sizes):
            return spacing
    return None
