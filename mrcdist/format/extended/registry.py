"""Extended headers: which kind it is, which bytes of it the data need, and what they say.

MRC2014 puts the kind in EXTTYP; older files have none and are known by sizes that fit, or by bytes
that do. Each kind has its decoder; this module lists and chooses them, and gives one view of them
all. Nothing here can keep the data from loading: what cannot be decoded is a note and an empty
result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import Columns, Decoder, ExtendedKind, RecordedScan, common
from mrcdist.format.extended.documents import CCP4, HDF5, MRCZ_JSON
from mrcdist.format.extended.fei import FEI1, FEI2, OLD_FEI
from mrcdist.format.extended.nint_nreal import AGARD, SERIALEM
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.format.header import Header
from mrcdist.warning_notes import Note

_UNKNOWN, _MRCO = Decoder("unknown"), Decoder("MRCO")
# In the order in which they are tried on an extended header without EXTTYP.
_DECODERS = (FEI1, FEI2, SERIALEM, OLD_FEI, AGARD, CCP4, MRCZ_JSON, _MRCO, HDF5)
_BY_NAME = {decoder.name: decoder for decoder in _DECODERS}


@dataclass(frozen=True, eq=False)
class ExtendedHeader:
    """Decoded content of an extended header."""

    kind: str  # its name, as in `ExtendedKind`
    # One entry a record, in the file's own names and units, for ``original_metadata``.
    columns: Columns
    text: tuple[str, ...]  # lines of text (CCP4's symmetry operators)
    # A record a section, fewer where the file has fewer, 0 where there are none or they could not
    # be decoded.
    n_records: int
    notes: tuple[str, ...]  # what is odd or was skipped
    document: Mapping[str, Any] | None = None  # named values (the mrcz package's JSON)
    stored: StoredRecords | None = field(default=None, repr=False)  # if it can be written again


def extended_kind(header: Header) -> ExtendedKind | None:
    """Return which kind of extended header a main header announces; None where it has none.

    EXTTYP decides. Without one it is SerialEM's if NINT and NREAL say so and add up, the old FEI
    one if it has exactly that size, and else unknown, with the candidates among which its bytes
    decide.
    """
    if header.nsymbt <= 0:
        return None
    exttyp = header.exttyp.strip("\0 ")
    if not exttyp.isprintable():
        exttyp = ""
    nint, nreal = header.nint, header.nreal
    by_fei = any(f"{label} ".startswith("Fei ") for label in header.labels)
    if (by_fei or header.nsymbt == 131072) and (nint, nreal) == (128, 32):
        nint = 0  # they wrote the bytes of a record where the number of its integers belongs
    kind = ExtendedKind(_UNKNOWN.name, header.nsymbt, exttyp, nint, nreal)
    if exttyp:
        decoder = decoder_named(exttyp)
        return replace(kind, name=decoder.name) if decoder.has_exttyp else kind
    kind = replace(
        kind, candidates=tuple(one.name for one in _DECODERS if one.may_be(kind, header.nz))
    )
    recognised = (one.name for one in _DECODERS if one.recognises(kind, header.nz))
    return replace(kind, name=next(recognised, kind.name))


def bytes_needed(kind: ExtendedKind, *, n_sections: int, first_bytes: bytes = b"") -> int:
    """Count the bytes of the extended header, from its start, that so many sections need.

    FEI1 and FEI2 state the size of their records in the first one. So ask twice: without
    `first_bytes` for a first guess at the standard size, then again with what was fetched, 4 bytes
    or more. If the second number is larger, fetch the difference; it is the same but for unusual
    files.
    """
    wanted = max(
        decoder_named(name).bytes_needed(kind, n_sections, first_bytes)
        for name in (kind.name, *kind.candidates)
    )
    return max(0, min(kind.nsymbt, wanted))


def decode_extended(
    kind: ExtendedKind, raw: bytes, *, byteorder: ByteOrder, n_sections: int
) -> ExtendedHeader:
    """Decode what `bytes_needed` asked for, in the main header's byte order.

    Never raises, whatever the bytes: what cannot be decoded is left out and told in the notes.
    Fewer bytes give fewer records, more do no harm.
    """
    decoder = _choose(kind, raw, byteorder, n_sections)
    columns, notes, text, document = decoder.decode(kind, raw, byteorder, n_sections)
    n_records = len(next(iter(columns.values()))) if columns else 0
    size = decoder.record_bytes(kind, raw)
    name = decoder.name
    stored = StoredRecords.of(name, kind, raw, byteorder, n_records=n_records, size=size)
    header = ExtendedHeader(name, columns, text, n_records, (), document, stored)
    if 0 < n_records < n_sections:
        said = f"the extended header has {n_records} records for {n_sections} sections"
        notes.append(Note("records-missing", said))
    elif n_records == 0 and n_sections > 0 and size > 0 and not notes:
        said = f"the extended header ({kind.nsymbt} bytes, {name}) has no whole record"
        notes.append(Note("records-missing", said))
    if note := pixel_size_note(header):
        notes.append(note)
    return replace(header, notes=tuple(notes))


def extended_metadata(header: ExtendedHeader) -> dict[str, dict[str, Any]]:
    """Return the useful part of an extended header in HyperSpy's names and units.

    Only what holds for all sections is given: a value that changes from section to section (a tilt
    series' tilt) is left to the columns and to `tilt_angles`. Known values that agree within a
    thousandth are the same. Values that FEI's bit masks do not mark as valid are unknown, and so
    are zeros where only a positive value means something. What is unknown is omitted.

    Of a document, it is the branches of HyperSpy's metadata; else
    ``{"Acquisition_instrument": {"TEM": ...}}``, or empty. Under ``TEM``: ``beam_energy`` (keV),
    ``magnification``, ``camera_length`` (mm), ``convergence_angle`` (mrad), ``dwell_time`` (s),
    ``microscope``, ``acquisition_mode`` ("TEM" or "STEM"); in ``Stage``: ``tilt_alpha``,
    ``tilt_beta`` (degrees), ``x``, ``y``, ``z`` (mm); in ``Detector``: ``detector_type`` and
    ``Camera.exposure`` (s). HyperSpy has no name for two more: ``defocus`` (nm) and ``dose``
    (e⁻/Å²).
    """
    found: dict[str, float | str] = {}
    for name, values in _quantities(header).items():
        if name.startswith("TEM.") and (value := common(values)) is not None:
            found[name] = value
    decoder = decoder_named(header.kind)
    found |= decoder.words(header.columns)
    metadata = decoder.metadata(header.document or {})
    for name, word in found.items():
        *branches, leaf = ("Acquisition_instrument", *name.split("."))
        node = metadata
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = word
    return metadata


def section_pixel_size(header: ExtendedHeader) -> tuple[float, float] | None:
    """Return the pixel size that the records state, along y and x in nm.

    None where they have none, where it changes from section to section, and where it is above 1 m,
    which means that the unit is not the metre. In a scan that a camera recorded, it may be the step
    of the scan, which is no pixel of the sections: compare with `scan_step`.
    """
    return _pair(header, "pixel_size_y", "pixel_size_x")


def pixel_size_note(header: ExtendedHeader) -> Note | None:
    """Note that the records' pixel size changes, which is why `section_pixel_size` has none."""
    quantities = _quantities(header)
    sizes = [quantities[name] for name in ("pixel_size_y", "pixel_size_x") if name in quantities]
    if not any(common(size) is None and bool(np.isfinite(size).any()) for size in sizes):
        return None
    text = "the extended header's pixel size changes from section to section: not used"
    return Note("pixel-size-varies", text)


def tilt_angles(header: ExtendedHeader) -> npt.NDArray[np.float64] | None:
    """Return the alpha tilt of each section in degrees; None where not all records have one."""
    tilts = _quantities(header).get("TEM.Stage.tilt_alpha")
    return tilts if tilts is not None and tilts.size and np.isfinite(tilts).all() else None


def recorded_scan(header: ExtendedHeader) -> RecordedScan | None:
    """Return the scan that the records speak of; None where they speak of none."""
    return decoder_named(header.kind).scan(header.columns)


def scan_of_sections(
    header: ExtendedHeader, *, n_sections: int
) -> tuple[tuple[int, int] | None, str | None]:
    """Return the shape (y, x) of the scan that the records mention if its points are the sections.

    None where they do not multiply to `n_sections`, where there is but one section, and in a
    serpentine scan, whose frames are in an order that the records do not settle. Then also a note
    why, for a message where a scan is looked for: a stack of scanned images mentions one too.
    """
    scan = recorded_scan(header)
    if scan is None or n_sections <= 1:
        return None, None
    rows, columns = scan.shape
    if rows * columns == n_sections and not scan.serpentine:
        return scan.shape, None
    other = rows * columns != n_sections
    why = f"the file has {n_sections} sections" if other else "not the order of its frames"
    return None, (
        f"the extended header describes a {'serpentine ' * scan.serpentine}scan of {columns} x "
        f"{rows} points, but {why}: the sections are left in one axis; navigation_shape sets their "
        "shape"
    )


def scan_step(header: ExtendedHeader) -> tuple[float, float] | None:
    """Return the distance of scan points along y and x in nm, if the records tell.

    It is FEI's full scan field of view by the points scanned.
    """
    field = _pair(header, "scan_height", "scan_width")
    scan = recorded_scan(header) if field else None
    return (field[0] / scan.shape[0], field[1] / scan.shape[1]) if field and scan else None


def decoder_named(name: str) -> Decoder:
    """Return the decoder of a kind."""
    return _BY_NAME.get(name, _UNKNOWN)


def _choose(kind: ExtendedKind, raw: bytes, byteorder: ByteOrder, n_sections: int) -> Decoder:
    """The decoder of a kind; without EXTTYP, the first one whose bytes it can be."""
    own = decoder_named(kind.name)
    if own is not _UNKNOWN and (not kind.candidates or own.fits(kind, raw, byteorder, n_sections)):
        return own
    others = (decoder_named(name) for name in kind.candidates)
    return next((one for one in others if one.fits(kind, raw, byteorder, n_sections)), own)


def _quantities(header: ExtendedHeader) -> Mapping[str, npt.NDArray[np.float64]]:
    return decoder_named(header.kind).quantities(header.columns)


def _pair(header: ExtendedHeader, y: str, x: str) -> tuple[float, float] | None:
    quantities = _quantities(header)
    along_y, along_x = (common(quantities[name]) if name in quantities else None for name in (y, x))
    return (along_y, along_x) if along_y is not None and along_x is not None else None
