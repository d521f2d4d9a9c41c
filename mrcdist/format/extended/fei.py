"""FEI1 and FEI2 extended headers: one record a section, written by EPU, Velox and Tomography.

The layouts are those of `mrcfile.dtypes`, after the EPU manual: 768 bytes for FEI1, 888 for FEI2,
which appends fields. The first integer of a record is its size, and that is the stride from one
record to the next, whatever follows the last known field. Four bit masks say which fields were
written: bit k of a mask stands for the k-th field behind it, where the 48 unused bytes count as six
fields.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from mrcfile.dtypes import get_ext_header_dtype

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import Decoded, Decoder, ExtendedKind, RecordedScan
from mrcdist.format.extended.quantities import Columns, PhysicalQuantity, convert, doubtful
from mrcdist.format.header import decode_text
from mrcdist.warning_notes import Note

__all__ = ["DECODERS", "FeiLayout"]

FeiLayout = Literal["FEI1", "FEI2"]

STANDARD_BYTES: dict[FeiLayout, int] = {"FEI1": 768, "FEI2": 888}
# Between these, a size can be told from its own bytes in the wrong order.
_SMALLEST, _LARGEST = 768, 0xFFFF
_UNUSED = "Unused range"
_SERPENTINE = 2
# This version stores angles times 180/π twice, as IMOD knows.
_CONVERTED_TWICE = "4.4.0.4981"
_ANGLES = ("Alpha tilt", "Beta tilt")

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


def _record_bytes(layout: FeiLayout, first_bytes: bytes) -> tuple[int, ByteOrder | None]:
    """Return the size of a record as the first one states it, and the byte order in which it does.

    The layout's standard size and None where the first four bytes state none in either order.
    """
    orders: tuple[ByteOrder, ...] = ("<", ">")
    for order in orders if len(first_bytes) >= 4 else ():
        (size,) = struct.unpack(order + "i", first_bytes[:4])
        if _SMALLEST <= size <= _LARGEST:
            return size, order
    return STANDARD_BYTES[layout], None


def _record_dtype(layout: FeiLayout, size: int, byteorder: ByteOrder) -> np.dtype[Any]:
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


def _worth_keeping(name: str) -> bool:
    return name != _UNUSED and "reserved" not in name


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


def _blank(columns: Columns) -> npt.NDArray[np.bool_]:
    masks = [np.asarray(columns[name]) for name in columns if name.startswith("Bitmask")]
    return np.asarray(np.bitwise_or.reduce(masks) == 0)


def _stored(columns: Columns, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return a column and where its mask bit is set; both empty where there is no such column."""
    if name not in columns:
        return np.empty(0), np.empty(0, np.bool_)
    mask, bit = _MASK_BITS[name]
    return np.asarray(columns[name]), (np.asarray(columns[mask]) >> np.uint32(bit)) & 1 == 1


def _corrected(columns: Columns, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Like `_stored`, and angles in degrees that one version of the software converted twice."""
    stored, valid = _stored(columns, name)
    if name not in _ANGLES or not stored.size:
        return stored, valid
    twice = np.array([version == _CONVERTED_TWICE for version in columns["Application version"]])
    return np.where(twice, np.deg2rad(stored), stored), valid


def _shared(columns: Columns, name: str) -> Any:
    """The value that all valid records have, as a Python object; None where there is none."""
    stored, valid = _stored(columns, name)
    values = set(stored[valid].tolist())
    return values.pop() if len(values) == 1 else None


class _Fei(Decoder):
    """Records that begin with their size."""

    def __init__(self, layout: FeiLayout) -> None:
        super().__init__(layout, layout)
        self.layout = layout

    def bytes_needed(self, kind: ExtendedKind, n_sections: int, first_bytes: bytes) -> int:
        return _record_bytes(self.layout, first_bytes)[0] * n_sections

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        return _record_bytes(self.layout, raw)[1] is not None

    def proves(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether the first record has the layout's size, or the second says the same size."""
        size, stated = _record_bytes(self.layout, raw)
        return stated is not None and (
            size == STANDARD_BYTES[self.layout]
            or (len(raw) >= 2 * size and _record_bytes(self.layout, raw[size:]) == (size, stated))
        )

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Decode the records: fields in the file's units (V, m, degrees, s), texts as a list.

        The size that the records state overrules the main header's byte order. In big-endian
        records the bit masks are little-endian, as the EPU manual has it.
        """
        notes: list[str] = []
        size, stated = _record_bytes(self.layout, raw)
        if stated is None and raw:
            text = f"the first {self.name} record does not begin with its size ({raw[:4].hex(' ')})"
            notes.append(Note("record-size-unstated", f"{text}: read as records of {size} bytes"))
        elif stated is not None and stated != order:
            order = stated
            text = (
                f"the {self.name} records have the other byte order than the main header: read so"
            )
            notes.append(Note("records-other-byte-order", text))

        n_records = min(max(n_sections, 0), len(raw) // size)
        if n_records == 0:
            return Decoded({}, notes)
        dtype = _record_dtype(self.layout, size, order)
        records = np.frombuffer(raw, dtype, count=n_records)
        columns = {
            name: _column(records[name]) for name in dtype.names or () if _worth_keeping(name)
        }

        odd = int(np.count_nonzero(np.asarray(columns["Metadata size"]) != size))
        if odd and stated is not None:
            text = f"{odd} of {n_records} {self.name} records do not state their size, {size} bytes"
            notes.append(Note("record-size-unstated", text))
        if blank := int(np.count_nonzero(_blank(columns))):
            text = (
                f"{blank} of {n_records} {self.name} records mark no field as valid: "
                "their values are kept as they are and used for nothing"
            )
            notes.append(Note("records-blank", text))
        notes += filter(None, (doubtful(q, *_corrected(columns, q.column)) for q in _QUANTITIES))
        return Decoded(columns, notes)

    def quantities(self, columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
        """Compute the quantities of each section; NaN where bit masks do not mark them valid."""
        return {q.name: convert(q, *_corrected(columns, q.column)) for q in _QUANTITIES}

    def words(self, columns: Columns) -> dict[str, str]:
        """Return what the records say in words, where all valid ones say the same.

        Where both a camera and a STEM detector are named, the records do not tell which of them
        took the data.
        """
        modes = {1: "TEM", 2: "STEM"}
        camera, stem_detector = (
            _shared(columns, "Camera name"),
            _shared(columns, "STEM Detector name"),
        )
        words = {
            "TEM.microscope": _shared(columns, "Microscope type"),
            "TEM.acquisition_mode": modes.get(_shared(columns, "Instrument mode")),
            "TEM.Detector.detector_type": None
            if camera and stem_detector
            else camera or stem_detector,
        }
        return {name: word for name, word in words.items() if word}

    def scan(self, columns: Columns) -> RecordedScan | None:
        """Return the area that was scanned; None where the records do not tell, or disagree."""
        edges = [
            _shared(columns, f"Scan size {edge}") for edge in ("bottom", "top", "right", "left")
        ]
        if any(edge is None for edge in edges):
            return None
        bottom, top, right, left = edges
        if bottom <= top or right <= left:
            return None
        modes, valid = _stored(columns, "Scan mode enumeration")
        return RecordedScan((bottom - top, right - left), bool((modes[valid] == _SERPENTINE).any()))


DECODERS = (_Fei("FEI1"), _Fei("FEI2"))
