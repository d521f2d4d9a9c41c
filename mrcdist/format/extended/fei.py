"""FEI's extended headers: one record per section, written by EPU, Velox and Tomography.

The layouts of FEI1 and FEI2 are those of `mrcfile.dtypes`, from the EPU manual: 768 bytes for FEI1,
888 for FEI2, which appends fields. The first integer of a record is its size, which is the stride
from one record to the next, even if it is larger than the known fields. Four bit masks mark the
fields that were written: bit k of a mask stands for the k-th field after it, where the 48 unused
bytes count as six fields.

Before MRC2014, a record had 128 bytes, and there were 1024 or 8192 of them. Such an extended header
is identified only by its size, so nothing is used unless all its numbers are plausible. IMOD's
programs keep the records of the sections that they copy, with NINT 0 and NREAL 32, in an extended
header of any size. The layout is that of FEI's description, which IMOD and the TOM toolbox follow:
16 float32 (tilts and tilt axis in degrees, lengths in m, exposure in s, high tension in V), then 64
unused bytes. Some writers store lengths in another unit than the metre, which values above 1
reveal.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from mrcfile.dtypes import get_ext_header_dtype

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import (
    Array,
    Columns,
    Decoded,
    Decoder,
    PhysicalQuantity,
    RecordedScan,
    Valid,
    looks_like_floats,
    not_decoded,
    read_records,
)
from mrcdist.format.header import decode_text
from mrcdist.warning_notes import Note, Notes

# With its bytes reversed, a size in this range is outside it.
_MIN_BYTES, _MAX_BYTES = 768, 0xFFFF
_UNUSED = "Unused range"
_SERPENTINE = 2
# This version multiplies angles by 180/π twice, as IMOD's programs know.
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


def _mask_bits() -> dict[str, tuple[str, int]]:
    """Return the mask and the bit that mark each field, counted in the order of the layout."""
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


class _Fei(Decoder):
    """Decoder of records that begin with their size."""

    table = _QUANTITIES
    size_bytes = 4
    per_section = has_metadata = True
    standard_bytes: ClassVar[int]

    def _stated_size(self, raw: bytes) -> tuple[int, ByteOrder | None]:
        """Return the size that the first record states, and its byte order.

        If it states none in either order, the standard size of the layout and None.
        """
        orders: tuple[ByteOrder, ...] = ("<", ">")
        for order in orders if len(raw) >= 4 else ():
            (size,) = struct.unpack(order + "i", raw[:4])
            if _MIN_BYTES <= size <= _MAX_BYTES:
                return size, order
        return self.standard_bytes, None

    def record_bytes(self, raw: bytes) -> int:
        return self._stated_size(raw)[0]

    def fits(self, raw: bytes) -> bool:
        return self._stated_size(raw)[1] is not None

    def is_certain(self, raw: bytes) -> bool:
        """Whether the first record has the standard size, or the second states the same size."""
        size, order = self._stated_size(raw)
        return order is not None and (
            size == self.standard_bytes
            or (len(raw) >= 2 * size and self._stated_size(raw[size:]) == (size, order))
        )

    def decode(self, raw: bytes) -> Decoded:
        """Decode the records: fields in the file's units (V, m, degrees, s), texts as a list.

        The byte order is that of the stated size, even if the main header has another. In
        big-endian records the bit masks are little-endian, as the EPU manual says.
        """
        notes = Notes()
        size, order = self._stated_size(raw)
        stated = order is not None
        if not stated and raw:
            text = f"the first {self.kind} record does not begin with its size ({raw[:4].hex(' ')})"
            notes.add(Note("record-size-unstated", f"{text}: read as records of {size} bytes"))
        elif stated and order != self.header.byteorder:
            text = f"the {self.kind} records and the main header have different byte orders"
            notes.add(Note("records-other-byte-order", f"{text}: each is read with its own"))

        dtype = _record_dtype(self.kind, size, order or self.header.byteorder)
        n_records = min(self.header.nz, len(raw) // size)
        if n_records == 0:
            return Decoded({}, tuple(notes))
        records = np.ndarray(n_records, dtype, raw, strides=(size,))
        columns = {
            name: _column(records[name])
            for name in dtype.names or ()
            if name != _UNUSED and "reserved" not in name
        }
        others = int(np.count_nonzero(np.asarray(columns["Metadata size"]) != size))
        if others and stated:
            text = f"{others} of {len(records)} {self.kind} records do not state their size"
            notes.add(Note("record-size-unstated", f"{text}, {size} bytes"))
        masks = [np.asarray(columns[name]) for name in columns if name.startswith("Bitmask")]
        if blank := int(np.count_nonzero(np.bitwise_or.reduce(masks) == 0)):
            text = (
                f"{blank} of {len(records)} {self.kind} records mark no field as valid: "
                "their values are kept unchanged but not used"
            )
            notes.add(Note("records-blank", text))
        return Decoded(columns, (*notes, *self.unit_notes(columns)))

    def stored(self, columns: Columns, name: str) -> tuple[Array, Valid]:
        """Return a column and whether its mask bit is set in each record; empty if absent.

        Angles are in degrees, also in records of the version that converts them twice.
        """
        if name not in columns:
            return np.empty(0), np.empty(0, np.bool_)
        mask, bit = _MASK_BITS[name]
        values = np.asarray(columns[name])
        if name in _ANGLES:
            versions = columns["Application version"]
            converted_twice = np.array([version == _CONVERTED_TWICE for version in versions])
            with np.errstate(invalid="ignore"):  # signalling NaN
                values = np.where(converted_twice, np.deg2rad(values), values)
        return values, (np.asarray(columns[mask]) >> np.uint32(bit)) & 1 == 1

    def _common(self, columns: Columns, name: str) -> Any:
        """Return the value that all valid records share, as a Python object, or None."""
        values, valid = self.stored(columns, name)
        distinct = set(values[valid].tolist())
        return distinct.pop() if len(distinct) == 1 else None

    def texts(self, columns: Columns) -> dict[str, str]:
        """Return the texts that all valid records share.

        There is no detector type if both a camera and a STEM detector are named: the records do not
        say which of them recorded the data.
        """
        camera = self._common(columns, "Camera name")
        stem_detector = self._common(columns, "STEM Detector name")
        ambiguous = camera and stem_detector
        texts = {
            "TEM.microscope": self._common(columns, "Microscope type"),
            "TEM.acquisition_mode": {1: "TEM", 2: "STEM"}.get(
                self._common(columns, "Instrument mode")
            ),
            "TEM.Detector.detector_type": None if ambiguous else camera or stem_detector,
        }
        return {name: text for name, text in texts.items() if text}

    def scan(self, columns: Columns) -> RecordedScan | None:
        """Return the scanned area; None if the records contain none or differ."""
        edges = ("bottom", "top", "right", "left")
        bottom, top, right, left = (self._common(columns, f"Scan size {edge}") for edge in edges)
        if None in (bottom, top, right, left) or bottom <= top or right <= left:
            return None
        modes, valid = self.stored(columns, "Scan mode enumeration")
        return RecordedScan((bottom - top, right - left), bool((modes[valid] == _SERPENTINE).any()))


class Fei1(_Fei):
    """Decoder of FEI1."""

    kind = "FEI1"
    standard_bytes = 768


class Fei2(_Fei):
    """Decoder of FEI2."""

    kind = "FEI2"
    standard_bytes = 888


def _record_dtype(kind: str, size: int, byteorder: ByteOrder) -> np.dtype[Any]:
    """Return the layout of a record, without the fields that do not fit into `size` bytes."""
    known = get_ext_header_dtype(kind.encode(), byteorder)
    fields = {name: known.fields[name] for name in known.names}
    fitting = [name for name, (field, at) in fields.items() if at + field.itemsize <= size]
    return np.dtype(
        {
            "names": fitting,
            "formats": [fields[name][0] for name in fitting],
            "offsets": [fields[name][1] for name in fitting],
        }
    )


def _column(field: npt.NDArray[Any]) -> npt.NDArray[Any] | list[str]:
    """Copy one field of the records as native-endian numbers, bools or text."""
    if field.dtype.kind == "S":
        raw_texts: list[bytes] = field.tolist()
        # Most records have the same few texts.
        texts = {raw: decode_text(raw) for raw in set(raw_texts)}
        return [texts[raw] for raw in raw_texts]
    if field.dtype.kind == "b":  # a byte that is neither 0 nor 1 is not a valid numpy bool
        return np.asarray(field.view(np.uint8) != 0)
    return field.astype(field.dtype.newbyteorder("="))


class OldFei(Decoder):
    """Decoder of FEI's records from before MRC2014, 128 bytes per section."""

    kind = "FEI"
    table = tuple(
        quantity._replace(column=_OLD_COLUMNS[quantity.column])
        for quantity in _QUANTITIES
        if quantity.column in _OLD_COLUMNS
    )
    largest_placeholder = 4  # after binning by IMOD's programs

    @property
    def sizes_identify(self) -> bool:
        """Whether there is a block of 1024 records, or of 8192 for more sections."""
        return self.header.nsymbt == _OLD_BYTES * (1024 if self.header.nz <= 1024 else 8192)

    @property
    def sizes_allow(self) -> bool:
        """Whether there is one record per section, or NINT and NREAL describe the records."""
        header = self.header
        described = (header.nint, 4 * header.nreal) == (0, _OLD_BYTES) and self.records_fit
        return described or header.nsymbt == _OLD_BYTES * header.nz

    def record_bytes(self, raw: bytes) -> int:
        """Return the size of a record."""
        return _OLD_BYTES

    def fits(self, raw: bytes) -> bool:
        """Whether all numbers are plausible and not all records are blank."""
        columns = self.decode(raw).columns
        return bool(columns) and bool(_written(columns).any())

    def is_certain(self, raw: bytes) -> bool:
        """Whether pixel size and magnification are those of a microscope, which pixels are not."""
        if not self.fits(raw):
            return False
        columns = self.decode(raw).columns
        size, written = self.stored(columns, "pixel_size")
        magnification = np.asarray(columns["magnification"])
        plausible = (size > 1e-13) & (size < 1e-4) & (magnification >= 10)
        return bool(plausible[written].all())

    def decode(self, raw: bytes) -> Decoded:
        """Decode the records, in the file's units; empty if their numbers are implausible."""
        records = read_records(raw, self.header.byteorder + "f4", _OLD_BYTES, self.header.nz)
        if len(records) == 0:
            return Decoded({})
        table = records[:, : len(_OLD_NAMES)].astype(np.float32)
        if not _is_plausible(table):
            return not_decoded(
                "the extended header has the size of one in FEI's old format, but its numbers "
                "cannot be tilts, positions and magnifications "
                f"({len(table)} records examined): not decoded"
            )
        columns = {name: table[:, i].copy() for i, name in enumerate(_OLD_NAMES)}
        notes = Notes()
        if blank := int(np.count_nonzero(~_written(columns))):
            text = f"{blank} of {len(table)} records of the FEI extended header are blank"
            notes.add(Note("records-blank", text))
        return Decoded(columns, (*notes, *self.unit_notes(columns)))

    def stored(self, columns: Columns, name: str) -> tuple[Array, Valid]:
        """Return a column, which is valid where records are not blank."""
        if not columns:
            return np.empty(0), np.False_
        return np.asarray(columns[name]), _written(columns)


def _written(columns: Columns) -> npt.NDArray[np.bool_]:
    """Return which records are not all zeros, as preallocated ones are.

    If the records contain nothing but tilts, a record of zeros may be a tilt of 0.
    """
    nonzero = {name: np.asarray(column) != 0 for name, column in columns.items()}
    if not any(one.any() for name, one in nonzero.items() if name not in _OLD_TILTS):
        return np.full(len(nonzero["a_tilt"]), bool(nonzero["a_tilt"].any()))
    return np.asarray(np.any(list(nonzero.values()), axis=0))


def _is_plausible(table: npt.NDArray[np.float32]) -> bool:
    columns = dict(zip(_OLD_NAMES, table.T, strict=True))
    positive = ("exp_time", "pixel_size", "magnification", "ht")
    magnification = columns["magnification"]
    return (
        looks_like_floats(table)
        and all((np.abs(columns[name]) <= 360).all() for name in (*_OLD_TILTS, "tilt_axis"))
        and all((columns[name] >= 0).all() for name in positive)
        and bool(((magnification == 0) | (magnification >= 1)).all())
    )
