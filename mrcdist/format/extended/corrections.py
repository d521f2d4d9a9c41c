"""Corrections of the main header by the extended one: whether that is there, and the pixel size.

A file whose size does not fit NSYMBT leaves it open whether there is an extended header. Programs
drop it and keep NSYMBT; files are truncated. Where as many bytes are missing as NSYMBT announces,
both look alike, and reading one as the other shifts every pixel. The bytes behind the main header
decide, or the file is refused.

The pixel size is the main header's, as a rule. But FEI's older software left 1 Å there, as a
placeholder, and wrote the pixel size to the records. IMOD's programs multiply the placeholder when
they bin the images, and set their flag 2 once they have corrected it.
"""

from __future__ import annotations

import dataclasses
import math

from mrcdist.errors import FormatError
from mrcdist.format.extended.decoder import ExtendedKind
from mrcdist.format.extended.registry import (
    ExtendedHeader,
    decoder_named,
    extended_kind,
    recorded_scan,
    section_pixel_size,
)
from mrcdist.format.header import HEADER_BYTES, Header, require_map
from mrcdist.warning_notes import Note

# As much as the largest block of records that is written whatever the number of sections.
_MAX_BYTES = 2**20

_PIXEL_SIZE_CORRECTED = 2
_COLUMN, _ROW, _SECTION = range(3)
# Of a placeholder that was written as a float, and of sizes that are one and the same.
_EXACT, _SAME = 1e-4, 1e-2


def presence_bytes(header: Header) -> int:
    """Count the bytes behind the main header that `settle_presence` wants; 0 if sizes settle it."""
    missing = header.missing_bytes
    if missing > 0 and header.nsymbt > 0:
        return min(header.nsymbt, _MAX_BYTES)
    if missing < 0 and header.nsymbt == 0 and header.exttyp:
        return min(-missing, _MAX_BYTES)
    return 0


def settle_presence(header: Header, start: bytes) -> Header:
    """Decide by its bytes whether an extended header is there.

    `start` is what `presence_bytes` asks for; fewer bytes where the file ends. The header returned
    has another NSYMBT and a note where the file has another one. `FormatError` is raised where it
    is not known where the data begin, or neither the word MAP nor the size is that of an MRC file.
    """
    settled = (_unannounced if header.nsymbt == 0 else _announced)(header, start)
    require_map(settled)
    return settled


def _announced(header: Header, start: bytes) -> Header:
    """Whether the bytes that NSYMBT announces are there."""
    kind = extended_kind(header)
    if kind is None or _proven(kind, start, header):
        return header
    decoder = decoder_named(kind.name)
    contradicted = any(start) and not decoder.fits(kind, start, header.byteorder, header.nz)
    if header.missing_bytes != header.nsymbt:
        if contradicted and decoder.decisive:
            raise _undecided(header, f"its bytes are not those of {decoder.name}")
        return header
    if not any(start):
        text = (
            f"the file is truncated by NSYMBT = {header.nsymbt} bytes, and as many zeros follow "
            "the main header: they are taken for the extended header"
        )
        return dataclasses.replace(header, notes=(*header.notes, Note("zeros-extended", text)))
    # Where not one pixel would be left, what is there are the data.
    if contradicted or header.nsymbt >= (header.data_bytes or 0):
        text = (
            f"NSYMBT = {header.nsymbt}, but the file has no extended header: data begin at byte "
            f"{HEADER_BYTES}"
        )
        note = Note("extended-header-absent", text)
        return dataclasses.replace(header, nsymbt=0, missing_bytes=0, notes=(*header.notes, note))
    raise _undecided(header, "the content does not show which")


def _unannounced(header: Header, start: bytes) -> Header:
    """Whether the bytes that the file has too many are the extended header that EXTTYP names."""
    nsymbt = -header.missing_bytes
    announced = dataclasses.replace(header, nsymbt=nsymbt)
    kind = extended_kind(announced)
    if kind is None or not _proven(kind, start, header):
        return header
    text = (
        f"NSYMBT = 0, but the bytes after the main header are an extended header of type "
        f"{header.exttyp}: data begin at byte {HEADER_BYTES + nsymbt}, where they end with the file"
    )
    note = Note("extended-header-unannounced", text)
    return dataclasses.replace(announced, missing_bytes=0, notes=(*header.notes, note))


def _proven(kind: ExtendedKind, start: bytes, header: Header) -> bool:
    return any(
        decoder_named(name).proves(kind, start, header.byteorder, header.nz)
        for name in (kind.name, *kind.candidates)
    )


def _undecided(header: Header, why: str) -> FormatError:
    return FormatError(
        f"NSYMBT = {header.nsymbt}, and {header.missing_bytes} bytes are missing: the file is "
        f"truncated, or it has no extended header; {why}",
        code="extended-header-doubtful",
        cause="the acquisition or the copy is incomplete, or a program removed the extended header "
        "but kept its size",
        remedy="copy the file again, or compare it with its source; if the data begin at byte "
        "1024, write NSYMBT = 0 (bytes 92 to 95)",
    )


def correct_pixel_size(header: Header, extended: ExtendedHeader | None) -> Header:
    """Put the records' pixel size in the cell edges where the header's is a placeholder."""
    if extended is None or (header.imod_flags or 0) & _PIXEL_SIZE_CORRECTED:
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
