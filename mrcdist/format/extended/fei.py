"""FEI's extended headers: one record a section, written by EPU, Velox and Tomography.

The layouts of FEI1 and FEI2 are those of `mrcfile.dtypes`, after the EPU manual: 768 bytes for
FEI1, 888 for FEI2, which appends fields. The first integer of a record is its size, and that is the
stride from one record to the next, whatever follows the last known field. Four bit masks say which
fields were written: bit k of a mask stands for the k-th field behind it, where the 48 unused bytes
count as six fields.

Before MRC2014, a record had 128 bytes, and there were 1024 or 8192 of them. Nothing in the file
names it: it is known by its size alone, so the numbers must make sense as what they should be
before anything is taken from them. IMOD's programs keep the records of the sections that they copy,
with NINT 0 and NREAL 32, in an extended header of any size. The layout is that of FEI's
description, which IMOD and the TOM toolbox follow: 16 float32 (tilts and tilt axis in degrees,
lengths in m, exposure in s, high tension in V), then 64 unused bytes. Some writers store lengths in
another unit than the metre; values above 1 give them away.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from mrcfile.dtypes import get_ext_header_dtype

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import (
    Columns,
    Decoded,
    Decoder,
    ExtendedKind,
    PhysicalQuantity,
    RecordedScan,
    convert,
    doubtful,
    not_decoded,
    read_records,
)
from mrcdist.format.extended.nint_nreal import looks_like_floats
from mrcdist.format.header import decode_text
from mrcdist.warning_notes import Note

_STANDARD_BYTES = {"FEI1": 768, "FEI2": 888}
# Between these, a size can be told from its own bytes in the wrong order.
_SMALLEST, _LARGEST = 768, 0xFFFF
_UNUSED = "Unused range"
_SERPENTINE = 2
# This version stores angles times 180/π twice, as IMOD knows.
_CONVERTED_TWICE = "4.4.0.4981"
_ANGLES = ("Alpha tilt", "Beta tilt")

_OLD_BYTES = 128
_OLD_NAMES = (
    "a_tilt", "b_tilt", "x_stage", "y_stage", "z_stage", "x_shift", "y_shift", "defocus",
    "exp_time", "mean_int", "tilt_axis", "pixel_size", "magnification", "ht", "binning",
    "applied_defocus",
)  # fmt: skip
_OLD_TILTS = ("a_tilt", "b_tilt")

_QUANTITIES = (
    PhysicalQuantity("TEM.beam_energy", "HT", 1e-3, above=1000, unit="V"),
    PhysicalQuantity("TEM.magnification", "Magnification", above=0),
    PhysicalQuantity("TEM.camera_length", "Camera length", 1e3, above=0),
    PhysicalQuantity(
        "TEM.convergence_angle", "Convergence angle", 1e3, above=0, limit=1, unit="rad"
    ),
    PhysicalQuantity("TEM.dwell_time", "Dwell time", above=0),
    PhysicalQuantity("TEM.defocus", "Defocus", 1e9, limit=1, unit="m"),
    PhysicalQuantity("TEM.dose", "Dose", 1e-20, above=0),
    PhysicalQuantity("TEM.Stage.tilt_alpha", "Alpha tilt", limit=360, unit="degrees"),
    PhysicalQuantity("TEM.Stage.tilt_beta", "Beta tilt", limit=360, unit="degrees"),
    PhysicalQuantity("TEM.Stage.x", "X-Stage", 1e3, limit=1, unit="m"),
    PhysicalQuantity("TEM.Stage.y", "Y-Stage", 1e3, limit=1, unit="m"),
    PhysicalQuantity("TEM.Stage.z", "Z-Stage", 1e3, limit=1, unit="m"),
    PhysicalQuantity("TEM.Detector.Camera.exposure", "Integration time", above=0),
    PhysicalQuantity("pixel_size_x", "Pixel size X", 1e9, above=0, limit=1, unit="m"),
    PhysicalQuantity("pixel_size_y", "Pixel size Y", 1e9, above=0, limit=1, unit="m"),
    PhysicalQuantity("scan_width", "Full scan FOV X", 1e9, above=0, limit=1, unit="m"),
    PhysicalQuantity("scan_height", "Full scan FOV Y", 1e9, above=0, limit=1, unit="m"),
)
# The old records have some of them, in the same units.
_OLD_COLUMNS = {
    "HT": "ht", "Magnification": "magnification", "Defocus": "defocus", "Alpha tilt": "a_tilt",
    "Beta tilt": "b_tilt", "X-Stage": "x_stage", "Y-Stage": "y_stage", "Z-Stage": "z_stage",
    "Integration time": "exp_time", "Pixel size X": "pixel_size", "Pixel size Y": "pixel_size",
}  # fmt: skip
_OLD_QUANTITIES = tuple(
    quantity._replace(column=_OLD_COLUMNS[quantity.column])
    for quantity in _QUANTITIES
    if quantity.column in _OLD_COLUMNS
)


def _mask_bits() -> dict[str, tuple[str, int]]:
    """Field → its mask and bit, counted off the layout."""
    bits: dict[str, tuple[str, int]] = {}
    mask, bit = "", 0
    for name in get_ext_header_dtype(b"FEI2").names:
        if name.startswith("Bitmask"):
            mask, bit = name, 0
        elif mask:
            bits[name] = (mask, bit)
            bit += 6 if name == _UNUSED else 1
    return bits


_MASK_BITS = _mask_bits()


def _record_dtype(layout: str, size: int, byteorder: ByteOrder) -> np.dtype[Any]:
    """Spread the known layout to the stated size; fields that do not fit are left out."""
    known = get_ext_header_dtype(layout.encode(), byteorder)
    fields = [(name, *known.fields[name][:2]) for name in known.names]
    fields = [field for field in fields if field[2] + field[1].itemsize <= size]
    return np.dtype(
        {
            "names": [name for name, _, _ in fields],
            # A byte that is neither 0 nor 1 is no valid numpy bool.
            "formats": [np.dtype("u1") if dtype.kind == "b" else dtype for _, dtype, _ in fields],
            "offsets": [offset for _, _, offset in fields],
            "itemsize": size,
        }
    )


def _column(stored: npt.NDArray[Any]) -> npt.NDArray[Any] | list[str]:
    """Copy one field of the records: native-endian numbers, bools, or text."""
    if stored.dtype.kind == "S":
        raw_texts: list[bytes] = stored.tolist()
        # The texts of all records are mostly the same few.
        texts = {raw: decode_text(raw) for raw in set(raw_texts)}
        return [texts[raw] for raw in raw_texts]
    if stored.dtype == np.uint8:
        return np.asarray(stored != 0)
    return stored.astype(stored.dtype.newbyteorder("="))


def _stored(columns: Columns, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return a column and where its mask bit is set; both empty where there is no such column.

    Angles are in degrees, also those that one version of the software converted twice.
    """
    if name not in columns:
        return np.empty(0), np.empty(0, np.bool_)
    mask, bit = _MASK_BITS[name]
    stored = np.asarray(columns[name])
    if name in _ANGLES:
        versions = columns["Application version"]
        twice = np.array([version == _CONVERTED_TWICE for version in versions])
        stored = np.where(twice, np.deg2rad(stored), stored)
    return stored, (np.asarray(columns[mask]) >> np.uint32(bit)) & 1 == 1


def _shared(columns: Columns, name: str) -> Any:
    """The value that all valid records have, as a Python object; None where there is none."""
    stored, valid = _stored(columns, name)
    values = set(stored[valid].tolist())
    return values.pop() if len(values) == 1 else None


class _Fei(Decoder):
    """Records that begin with their size."""

    def _stated(self, raw: bytes) -> tuple[int, ByteOrder | None]:
        """Return the size of a record as the first one states it, and in which byte order.

        The layout's standard size and None where the first four bytes state none in either order.
        """
        orders: tuple[ByteOrder, ...] = ("<", ">")
        for order in orders if len(raw) >= 4 else ():
            (size,) = struct.unpack(order + "i", raw[:4])
            if _SMALLEST <= size <= _LARGEST:
                return size, order
        return _STANDARD_BYTES[self.name], None

    def record_bytes(self, kind: ExtendedKind, raw: bytes) -> int:
        return self._stated(raw)[0]

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        return self._stated(raw)[1] is not None

    def proves(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether the first record has the layout's size, or the second says the same size."""
        size, stated = self._stated(raw)
        return stated is not None and (
            size == _STANDARD_BYTES[self.name]
            or (len(raw) >= 2 * size and self._stated(raw[size:]) == (size, stated))
        )

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Decode the records: fields in the file's units (V, m, degrees, s), texts as a list.

        The size that the records state overrules the main header's byte order. In big-endian
        records the bit masks are little-endian, as the EPU manual has it.
        """
        notes: list[str] = []
        size, stated = self._stated(raw)
        if stated is None and raw:
            text = f"the first {self.name} record does not begin with its size ({raw[:4].hex(' ')})"
            notes.append(Note("record-size-unstated", f"{text}: read as records of {size} bytes"))
        elif stated is not None and stated != order:
            order = stated
            text = (
                f"the {self.name} records have the other byte order than the main header: read so"
            )
            notes.append(Note("records-other-byte-order", text))

        dtype = _record_dtype(self.name, size, order)
        records = read_records(raw, dtype, size, n_sections)[:, 0]
        if len(records) == 0:
            return Decoded({}, notes)
        columns = {
            name: _column(records[name])
            for name in dtype.names or ()
            if name != _UNUSED and "reserved" not in name
        }
        odd = int(np.count_nonzero(np.asarray(columns["Metadata size"]) != size))
        if odd and stated is not None:
            text = f"{odd} of {len(records)} {self.name} records do not state their size, {size} "
            notes.append(Note("record-size-unstated", f"{text}bytes"))
        masks = [np.asarray(columns[name]) for name in columns if name.startswith("Bitmask")]
        if blank := int(np.count_nonzero(np.bitwise_or.reduce(masks) == 0)):
            text = (
                f"{blank} of {len(records)} {self.name} records mark no field as valid: "
                "their values are kept unchanged but not used"
            )
            notes.append(Note("records-blank", text))
        notes += filter(None, (doubtful(q, *_stored(columns, q.column)) for q in _QUANTITIES))
        return Decoded(columns, notes)

    def quantities(self, columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
        """Compute the quantities of each section; NaN where bit masks do not mark them valid."""
        return {q.name: convert(q, *_stored(columns, q.column)) for q in _QUANTITIES}

    def words(self, columns: Columns) -> dict[str, str]:
        """Return what the records say in words, where all valid ones say the same.

        Where both a camera and a STEM detector are named, the records do not tell which of them
        took the data.
        """
        modes = {1: "TEM", 2: "STEM"}
        camera = _shared(columns, "Camera name")
        stem_detector = _shared(columns, "STEM Detector name")
        both = camera and stem_detector
        words = {
            "TEM.microscope": _shared(columns, "Microscope type"),
            "TEM.acquisition_mode": modes.get(_shared(columns, "Instrument mode")),
            "TEM.Detector.detector_type": None if both else camera or stem_detector,
        }
        return {name: word for name, word in words.items() if word}

    def scan(self, columns: Columns) -> RecordedScan | None:
        """Return the area that was scanned; None where the records do not tell, or disagree."""
        names = ("bottom", "top", "right", "left")
        edges = [_shared(columns, f"Scan size {name}") for name in names]
        if None in edges:
            return None
        bottom, top, right, left = edges
        if bottom <= top or right <= left:
            return None
        modes, valid = _stored(columns, "Scan mode enumeration")
        return RecordedScan((bottom - top, right - left), bool((modes[valid] == _SERPENTINE).any()))


def _written(columns: Columns) -> npt.NDArray[np.bool_]:
    """Return which old records are not all zeros, as preallocated ones are.

    Where the records hold nothing but tilts, one of zeros may be a tilt of 0.
    """
    written = {name: np.asarray(column) != 0 for name, column in columns.items()}
    if not any(one.any() for name, one in written.items() if name not in _OLD_TILTS):
        return np.full(len(written["a_tilt"]), bool(written["a_tilt"].any()))
    return np.asarray(np.any(list(written.values()), axis=0))


def _make_sense(table: npt.NDArray[np.float32]) -> bool:
    column = dict(zip(_OLD_NAMES, table.T, strict=True))
    amounts = (column["exp_time"], column["pixel_size"], column["magnification"], column["ht"])
    magnification = column["magnification"]
    return (
        looks_like_floats(table)
        and all((np.abs(column[name]) <= 360).all() for name in (*_OLD_TILTS, "tilt_axis"))
        and all((amount >= 0).all() for amount in amounts)
        and bool(((magnification == 0) | (magnification >= 1)).all())
    )


class _OldFei(Decoder):
    """128 bytes a section."""

    largest_placeholder = 4  # binned by IMOD's programs
    has_exttyp = False

    def recognises(self, kind: ExtendedKind, n_sections: int) -> bool:
        """Whether there is a block of 1024 records, or for more sections of 8192."""
        return kind.nsymbt == _OLD_BYTES * (1024 if n_sections <= 1024 else 8192)

    def may_be(self, kind: ExtendedKind, n_sections: int) -> bool:
        """Whether a record per section is all that there is, or NINT and NREAL describe them."""
        needed = _OLD_BYTES * n_sections
        described = (kind.nint, kind.nreal) == (0, _OLD_BYTES // 4)
        return 0 < needed == kind.nsymbt or (described and 0 < needed <= kind.nsymbt)

    def record_bytes(self, kind: ExtendedKind, raw: bytes) -> int:
        return _OLD_BYTES

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        columns = self.decode(kind, raw, order, n_sections).columns
        return bool(columns) and bool(_written(columns).any())

    def proves(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether a pixel size and a magnification are those of a microscope; pixels are not."""
        if not self.fits(kind, raw, order, n_sections):
            return False
        columns = self.decode(kind, raw, order, n_sections).columns
        written = _written(columns)
        size, magnification = (
            np.asarray(columns[name])[written] for name in ("pixel_size", "magnification")
        )
        return bool(((size > 1e-13) & (size < 1e-4) & (magnification >= 10)).all())

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Decode the records, in the file's units; nothing where the bytes are no such records."""
        stored = read_records(raw, order + "f4", _OLD_BYTES, n_sections)
        if len(stored) == 0:
            return Decoded({}, [])
        table = stored[:, : len(_OLD_NAMES)].astype(np.float32)
        if not _make_sense(table):
            return not_decoded(
                "the extended header has the size of an old FEI one "
                f"({len(table)} records looked at), but its numbers make no sense as tilts, "
                "positions and magnifications: not decoded"
            )
        columns = {name: table[:, i].copy() for i, name in enumerate(_OLD_NAMES)}
        written = _written(columns)
        notes: list[str] = []
        if blank := int(np.count_nonzero(~written)):
            text = f"{blank} of {len(table)} records of the FEI extended header are blank"
            notes.append(Note("records-blank", text))
        distinct = {quantity.column: quantity for quantity in _OLD_QUANTITIES}.values()
        notes += filter(None, (doubtful(q, columns[q.column], written) for q in distinct))
        return Decoded(columns, notes)

    def quantities(self, columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
        """Compute the quantities of each section; NaN in blank records."""
        if not columns:
            return {}
        written = _written(columns)
        return {q.name: convert(q, np.asarray(columns[q.column]), written) for q in _OLD_QUANTITIES}


FEI1, FEI2, OLD_FEI = _Fei("FEI1"), _Fei("FEI2"), _OldFei("FEI")
