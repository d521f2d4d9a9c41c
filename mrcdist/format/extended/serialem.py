"""SerialEM's extended header: NINT bytes a section, with an item for each bit of NREAL.

After IMOD's description of its MRC files. The items are in the order of the bits. This reading
holds only if they add up to NINT; otherwise NINT and NREAL count numbers, see `agard`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import Decoded, Decoder, ExtendedKind
from mrcdist.format.extended.quantities import Columns, PhysicalQuantity, convert
from mrcdist.warning_notes import Note

__all__ = ["DECODERS"]

# Two-byte integers of each bit of NREAL. The last five bits are reserved.
_ITEMS: tuple[tuple[str, ...], ...] = (
    ("tilt_angle",),
    ("piece_x", "piece_y", "piece_z"),
    ("stage_x", "stage_y"),
    ("magnification",),
    ("intensity",),
    ("exposure_dose", "exposure_dose_low"),
    ("reserved_6",),
    ("reserved_7", "reserved_7_low"),
    ("reserved_8",),
    ("reserved_9", "reserved_9_low"),
    ("reserved_10",),
)
_SCALES = {
    "tilt_angle": 1 / 100,
    "stage_x": 1 / 25,
    "stage_y": 1 / 25,
    "magnification": 100.0,
    "intensity": 1 / 25000,
}
_LARGEST_ANGLE = 180
_QUANTITIES = (
    PhysicalQuantity("TEM.magnification", "magnification", above=0),
    PhysicalQuantity("TEM.dose", "exposure_dose", above=0),
    PhysicalQuantity("TEM.Stage.tilt_alpha", "tilt_angle"),
    PhysicalQuantity("TEM.Stage.x", "stage_x", 1e-3),
    PhysicalQuantity("TEM.Stage.y", "stage_y", 1e-3),
)


def _record_bytes(kind: ExtendedKind) -> int:
    """NINT, if the items that NREAL announces add up to it; else 0."""
    if not 0 < kind.nreal < 2 ** len(_ITEMS):
        return 0
    return kind.nint if 2 * len(_fields(kind.nreal)) == kind.nint else 0


def _fields(nreal: int) -> list[str]:
    announced = (items for bit, items in enumerate(_ITEMS) if nreal >> bit & 1)
    return [name for items in announced for name in items]


def _serialem_float(
    first: npt.NDArray[np.int16], second: npt.NDArray[np.int16]
) -> npt.NDArray[np.float64]:
    """Join the two shorts in which SerialEM stores a float.

    sign(first) (256 |first| + |second| mod 256) 2^(sign(second) (|second| div 256)), after IMOD's
    description of its MRC files.
    """
    one, two = first.astype(np.int64), second.astype(np.int64)
    mantissa = np.where(one < 0, -1.0, 1.0) * (np.abs(one) * 256 + np.abs(two) % 256)
    return np.asarray(np.ldexp(mantissa, np.sign(two) * (np.abs(two) // 256)), np.float64)


class _SerialEM(Decoder):
    """An item for each bit of NREAL."""

    def recognises(self, kind: ExtendedKind, n_sections: int) -> bool:
        """Whether the items add up, and all sections fit."""
        size = _record_bytes(kind)
        return size > 0 and size * n_sections <= kind.nsymbt

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether the tilts are angles; where NINT and NREAL describe no record, any bytes fit."""
        if not self.recognises(kind, n_sections):
            return True
        tilts = self.decode(kind, raw, order, n_sections).columns.get("tilt_angle")
        return tilts is None or bool((np.abs(np.asarray(tilts)) <= _LARGEST_ANGLE).all())

    def bytes_needed(self, kind: ExtendedKind, n_sections: int, first_bytes: bytes) -> int:
        return _record_bytes(kind) * n_sections

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Decode the records: all items but the reserved ones.

        ``tilt_angle`` (degrees), ``piece_x``, ``piece_y``, ``piece_z`` (pixels; montage section),
        ``stage_x``, ``stage_y`` (µm), ``magnification``, ``intensity``, ``exposure_dose`` (e⁻/Å²).
        """
        size = _record_bytes(kind)
        if size == 0:
            text = (
                f"the extended header is SerialEM's, but the items of NREAL = {kind.nreal} do not "
                f"add up to NINT = {kind.nint} bytes a section: not decoded"
            )
            return Decoded({}, [Note("extended-header-not-decoded", text)])
        n_records = min(max(n_sections, 0), len(raw) // size)
        if n_records == 0:
            return Decoded({}, [])
        table = np.frombuffer(raw, order + "i2", count=n_records * size // 2)
        stored = dict(zip(_fields(kind.nreal), table.reshape(n_records, -1).T, strict=True))
        columns: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int16]] = {}
        for name, column in stored.items():
            if name.startswith("reserved") or name.endswith("_low"):
                continue
            if f"{name}_low" in stored:
                columns[name] = _serialem_float(column, stored[f"{name}_low"])
            elif name in _SCALES:
                columns[name] = column * _SCALES[name]
            else:
                columns[name] = column.astype(np.int16)
        return Decoded(columns, [])

    def quantities(self, columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
        known = {q: np.asarray(columns[q.column]) for q in _QUANTITIES if q.column in columns}
        return {
            q.name: convert(q, values, np.ones(len(values), bool)) for q, values in known.items()
        }


DECODERS = (_SerialEM("SERI", "SERI"),)
