"""Is the extended header there? A file whose size does not fit NSYMBT leaves it open.

Programs drop an extended header and keep NSYMBT; files are truncated. Where as many bytes are
missing as NSYMBT announces, both look alike, and reading one as the other shifts every pixel. The
bytes behind the main header decide, or the file is refused.
"""

from __future__ import annotations

import dataclasses

from mrcdist.errors import FormatError
from mrcdist.format.extended.decoder import ExtendedKind
from mrcdist.format.extended.registry import decoder_named, extended_kind
from mrcdist.format.header import HEADER_BYTES, Header, require_map
from mrcdist.warning_notes import Note

__all__ = ["presence_bytes", "settle_presence"]

# As much as the largest block of records that is written whatever the number of sections.
_MAX_BYTES = 2**20
_REMEDY = (
    "copy the file again, or compare it with its source; if the data begin at byte 1024, write "
    "NSYMBT = 0 (bytes 92 to 95)"
)


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
    settled = _settled(header, start)
    require_map(settled)
    return settled


def _settled(header: Header, start: bytes) -> Header:
    if header.nsymbt == 0:
        return _unannounced(header, start)
    kind = extended_kind(header)
    if kind is None or _proven(kind, start, header):
        return header
    decoder = decoder_named(kind.name)
    fits = decoder.fits(kind, start, header.byteorder, header.nz)
    contradicted = any(start) and not fits
    data = header.data_bytes or 0
    if header.missing_bytes != header.nsymbt:
        if contradicted and decoder.decisive:
            raise _undecided(header, f"its bytes are none of {decoder.name}")
        return header
    if not any(start):
        text = (
            f"the file is truncated by NSYMBT = {header.nsymbt} bytes, and as many zeros follow "
            "the main header: they are taken for the extended header"
        )
        return dataclasses.replace(header, notes=(*header.notes, Note("zeros-extended", text)))
    # Where not one pixel would be left, what is there are the data.
    if contradicted or header.nsymbt >= data:
        text = (
            f"NSYMBT = {header.nsymbt}, but the file has no extended header: data begin at byte "
            f"{HEADER_BYTES}"
        )
        note = Note("extended-header-absent", text)
        return dataclasses.replace(header, nsymbt=0, missing_bytes=0, notes=(*header.notes, note))
    raise _undecided(header, "nothing tells which")


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
        remedy=_REMEDY,
    )
