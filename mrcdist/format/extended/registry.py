"""Extended headers: choice of the decoder, and one view of the content of all kinds.

MRC2014 stores the kind in EXTTYP; older files have none and are identified by their sizes or their
content. Each kind has its own decoder. No extended header keeps the data from loading: one that
cannot be decoded gives a note and an empty result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.format.extended.decoder import Columns, Decoder, RecordedScan, common_value, convert
from mrcdist.format.extended.documents import Ccp4, Hdf5, Mrco, MrczJson
from mrcdist.format.extended.fei import Fei1, Fei2, OldFei
from mrcdist.format.extended.nint_nreal import Agard, SerialEM
from mrcdist.format.header import Header
from mrcdist.warning_notes import Note, Notes

EXTTYPS = {each.kind: each for each in (Fei1, Fei2, SerialEM, Agard, Ccp4, MrczJson, Mrco, Hdf5)}
# Kinds in files without an EXTTYP, the likeliest first.
_WITHOUT_EXTTYP = (SerialEM, OldFei, Agard, Ccp4)


@dataclass(frozen=True, eq=False)
class ExtendedHeader:
    """Decoded content of an extended header."""

    decoder: Decoder
    # One entry per record, with the file's names and units, for ``original_metadata``.
    columns: Columns
    text: tuple[str, ...] = ()  # lines (CCP4's symmetry operators)
    notes: tuple[Note, ...] = ()
    document: Mapping[str, Any] | None = None  # named values (the mrcz package's JSON)
    # What a new file can contain, see `Decoder.rewritable`.
    records: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def kind(self) -> str:
        """Kind of the extended header, see `Decoder.kind`."""
        return self.decoder.kind

    @property
    def n_records(self) -> int:
        """Number of records, at most one per section; 0 if there are none or none was decoded."""
        return len(next(iter(self.columns.values()), ()))

    def quantity(self, name: str) -> npt.NDArray[np.float64]:
        """Return a physical quantity of each record; empty if the records do not contain it."""
        quantities = (each for each in self.decoder.table if each.name == name)
        if (quantity := next(quantities, None)) is None:
            return np.empty(0)
        return convert(quantity, *self.decoder.stored(self.columns, quantity.column))


def decoder_of(exttyp: str) -> type[Decoder]:
    """Return the decoder of a kind, or the base class for unknown kinds."""
    return EXTTYPS.get(exttyp, Decoder)


def possible_decoders(header: Header) -> tuple[Decoder, ...]:
    """Return decoders of the kinds that an extended header may be of, the likeliest first.

    EXTTYP decides. Without one, the first is the kind that the sizes identify, or unknown, followed
    by the kinds that they allow, among which the content decides. Empty if there is no extended
    header.
    """
    if header.nsymbt <= 0:
        return ()
    exttyp = header.exttyp if header.exttyp.isprintable() else ""
    by_fei = any(f"{label} ".startswith("Fei ") for label in header.labels)
    nint = header.nint
    if (by_fei or header.nsymbt == 131072) and (nint, header.nreal) == (128, 32):
        nint = 0  # not a number of integers: these programs store the bytes per record
    header = replace(header, exttyp=exttyp, nint=nint)
    if exttyp:
        return (decoder_of(exttyp)(header),)
    decoders = [each(header) for each in _WITHOUT_EXTTYP]
    identified = (decoder for decoder in decoders if decoder.sizes_identify)
    allowed = (decoder for decoder in decoders if decoder.sizes_allow)
    return (next(identified, Decoder(header)), *allowed)


def bytes_needed(decoders: Sequence[Decoder], first_bytes: bytes = b"") -> int:
    """Count the bytes of the extended header, from its start, that the sections need.

    FEI1 and FEI2 state the size of their records in the first one. So call it twice: without
    `first_bytes` for a guess with the standard size, then with those that were read, at least 4. If
    the second number is larger, which is rare, read the rest.
    """
    needed = max(decoder.bytes_needed(first_bytes) for decoder in decoders)
    return max(0, min(decoders[0].header.nsymbt, needed))


def decode_extended(decoders: Sequence[Decoder], raw: bytes) -> ExtendedHeader:
    """Decode the first `bytes_needed` bytes of an extended header, or more.

    Never raises: notes name what cannot be decoded. Fewer bytes give fewer records.
    """
    decoder, *candidates = decoders
    if type(decoder) is Decoder or (candidates and not decoder.fits(raw)):
        decoder = next((each for each in candidates if each.fits(raw)), decoder)
    columns, first, text, document = decoder.decode(raw)
    notes = Notes(*first)
    extended = ExtendedHeader(decoder, columns, text, document=document)
    n_records, n_sections = extended.n_records, decoder.header.nz
    if 0 < n_records < n_sections:
        problem = f"the extended header has {n_records} records for {n_sections} sections"
        notes.add(Note("records-missing", problem))
    elif n_records == 0 and n_sections > 0 and decoder.record_bytes(raw) > 0 and not first:
        size = decoder.header.nsymbt
        problem = f"the extended header ({size} bytes, {decoder.kind}) has no complete record"
        notes.add(Note("records-missing", problem))
    if note := pixel_size_note(extended):
        notes.add(note)
    return replace(extended, notes=tuple(notes), records=decoder.rewritable(raw, n_records))


def extended_metadata(extended: ExtendedHeader) -> dict[str, dict[str, Any]]:
    """Return metadata with HyperSpy's names and units.

    Only values that hold for all sections: those that vary, such as the tilt of a tilt series, are
    left to the columns and to `tilt_angles`. Values that agree within a thousandth count as equal.
    Unknown values are omitted: those that FEI's bit masks do not mark as valid, and zeros of
    quantities that are always positive.

    For a document, the branches of HyperSpy's metadata; else ``{"Acquisition_instrument": {"TEM":
    ...}}``, or empty. ``TEM`` contains ``beam_energy`` (keV), ``magnification``, ``camera_length``
    (mm), ``convergence_angle`` (mrad), ``dwell_time`` (s), ``microscope``, ``acquisition_mode``
    ("TEM" or "STEM"); in ``Stage``: ``tilt_alpha``, ``tilt_beta`` (degrees), ``x``, ``y``, ``z``
    (mm); in ``Detector``: ``detector_type`` and ``Camera.exposure`` (s). HyperSpy has no names for
    ``defocus`` (nm) and ``dose`` (e⁻/Å²).
    """
    decoder = extended.decoder
    values = {
        name: value
        for name in (quantity.name for quantity in decoder.table)
        if name.startswith("TEM.") and (value := common_value(extended.quantity(name))) is not None
    }
    metadata = decoder.metadata(extended.document or {})
    for name, entry in {**values, **decoder.texts(extended.columns)}.items():
        *branches, leaf = ("Acquisition_instrument", *name.split("."))
        node = metadata
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = entry
    return metadata


def section_pixel_size(extended: ExtendedHeader) -> tuple[float, float] | None:
    """Return the pixel size in the records, along y and x in nm.

    None if it is unknown, varies from section to section, or is above 1 m, so that its unit cannot
    be the metre. In a scan recorded with a camera, it may be the step of the scan instead of a
    pixel of the sections: compare it with `scan_step`.
    """
    return _pair(extended, "pixel_size_y", "pixel_size_x")


def pixel_size_note(extended: ExtendedHeader) -> Note | None:
    """Note that the records' pixel size varies, so that `section_pixel_size` is None."""
    sizes = [extended.quantity(name) for name in ("pixel_size_y", "pixel_size_x")]
    if not any(common_value(size) is None and bool(np.isfinite(size).any()) for size in sizes):
        return None
    text = "the extended header's pixel size changes from section to section: not used"
    return Note("pixel-size-varies", text)


def tilt_angles(extended: ExtendedHeader) -> npt.NDArray[np.float64] | None:
    """Return the alpha tilt of each section in degrees; None unless all records have one."""
    tilts = extended.quantity("TEM.Stage.tilt_alpha")
    return tilts if tilts.size and np.isfinite(tilts).all() else None


def recorded_scan(extended: ExtendedHeader) -> RecordedScan | None:
    """Return the scan that the records describe, if any."""
    return extended.decoder.scan(extended.columns)


def scan_of_sections(
    extended: ExtendedHeader, *, n_sections: int
) -> tuple[tuple[int, int] | None, str | None]:
    """Return the shape (y, x) of the recorded scan if its points are the sections.

    None for a single section, if the shape does not multiply to `n_sections`, and for a serpentine
    scan, because the records do not determine the order of its frames. The last two come with an
    explanation, to be shown where a scan is expected: stacks of scanned images have such records,
    too.
    """
    scan = recorded_scan(extended)
    if scan is None or n_sections <= 1:
        return None, None
    rows, columns = scan.shape
    if rows * columns == n_sections and not scan.serpentine:
        return scan.shape, None
    differs = rows * columns != n_sections
    reason = f"the file has {n_sections} sections" if differs else "not the order of its frames"
    return None, (
        f"the extended header describes a {'serpentine ' * scan.serpentine}scan of {columns} x "
        f"{rows} points, but {reason}: the sections are left in one axis; `navigation_shape` sets "
        "their shape"
    )


def scan_step(extended: ExtendedHeader) -> tuple[float, float] | None:
    """Return the distance between scan points along y and x in nm, if known.

    It is FEI's full scan field of view divided by the number of points.
    """
    field_of_view = _pair(extended, "scan_height", "scan_width")
    scan = recorded_scan(extended) if field_of_view else None
    if field_of_view is None or scan is None:
        return None
    return field_of_view[0] / scan.shape[0], field_of_view[1] / scan.shape[1]


def _pair(extended: ExtendedHeader, y: str, x: str) -> tuple[float, float] | None:
    along_y, along_x = (common_value(extended.quantity(name)) for name in (y, x))
    return (along_y, along_x) if along_y is not None and along_x is not None else None
