"""Records that NINT and NREAL of the main header describe: SerialEM's and Agard's.

SerialEM's have NINT bytes, with an item for each bit of NREAL, in the order of the bits (after
IMOD's description of its MRC files). Agard's are NINT 4-byte integers and NREAL 4-byte floats, and
so are those of others that IMOD keeps. That format does not name the numbers; IMOD's programs take
the first float for the tilt angle in degrees and the 12th for the pixel size in m.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import (
    Columns,
    Decoded,
    Decoder,
    ExtendedKind,
    PhysicalQuantity,
    convert,
    not_decoded,
    read_records,
)

# Two-byte integers of each bit of NREAL, with what they are multiplied by; those without a factor
# are integers, or the two shorts of a float. The last five bits are reserved.
_ITEMS: tuple[dict[str, float | None], ...] = (
    {"tilt_angle": 1 / 100},
    {"piece_x": None, "piece_y": None, "piece_z": None},
    {"stage_x": 1 / 25, "stage_y": 1 / 25},
    {"magnification": 100.0},
    {"intensity": 1 / 25000},
    {"exposure_dose": None, "exposure_dose_low": None},
    {"reserved_6": None},
    {"reserved_7": None, "reserved_7_low": None},
    {"reserved_8": None},
    {"reserved_9": None, "reserved_9_low": None},
    {"reserved_10": None},
)
_LARGEST_ANGLE = 180
_QUANTITIES = (
    PhysicalQuantity("TEM.magnification", "magnification", above=0),
    PhysicalQuantity("TEM.dose", "exposure_dose", above=0),
    PhysicalQuantity("TEM.Stage.tilt_alpha", "tilt_angle"),
    PhysicalQuantity("TEM.Stage.x", "stage_x", 1e-3),
    PhysicalQuantity("TEM.Stage.y", "stage_y", 1e-3),
)

_AGARD_TILT = PhysicalQuantity("TEM.Stage.tilt_alpha", "reals", limit=360)
_AGARD_PIXEL_SIZES = tuple(
    PhysicalQuantity(name, "reals", 1e9, above=0, limit=1, unit="m")
    for name in ("pixel_size_x", "pixel_size_y")
)
_NTH_PIXEL_SIZE = 12
# Bytes that are no floats make tiny and huge ones.
_SMALLEST, _LARGEST = 1e-20, 1e20


def looks_like_floats(numbers: npt.NDArray[np.float32]) -> bool:
    """Whether bytes were written as floats: none is infinite, no number, tiny or huge."""
    size = np.abs(numbers[numbers != 0])
    return bool(((size >= _SMALLEST) & (size <= _LARGEST)).all())


def _items(nreal: int) -> dict[str, float | None]:
    announced = (items for bit, items in enumerate(_ITEMS) if nreal >> bit & 1)
    return {name: factor for items in announced for name, factor in items.items()}


def _join_shorts(
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

    def record_bytes(self, kind: ExtendedKind, raw: bytes) -> int:
        """NINT, if the items that NREAL announces add up to it; else 0."""
        known = 0 < kind.nreal < 2 ** len(_ITEMS)
        return kind.nint if known and 2 * len(_items(kind.nreal)) == kind.nint else 0

    def recognises(self, kind: ExtendedKind, n_sections: int) -> bool:
        """Whether the items add up, and all sections fit."""
        size = self.record_bytes(kind, b"")
        return size > 0 and size * n_sections <= kind.nsymbt

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether the tilts are angles; where NINT and NREAL describe no record, any bytes fit."""
        if not self.recognises(kind, n_sections):
            return True
        tilts = self.decode(kind, raw, order, n_sections).columns.get("tilt_angle")
        return tilts is None or bool((np.abs(np.asarray(tilts)) <= _LARGEST_ANGLE).all())

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Decode the records: all items but the reserved ones.

        ``tilt_angle`` (degrees), ``piece_x``, ``piece_y``, ``piece_z`` (pixels; montage section),
        ``stage_x``, ``stage_y`` (µm), ``magnification``, ``intensity``, ``exposure_dose`` (e⁻/Å²).
        """
        size = self.record_bytes(kind, raw)
        if size == 0:
            return not_decoded(
                f"the extended header is SerialEM's, but the items of NREAL = {kind.nreal} do not "
                f"add up to NINT = {kind.nint} bytes a section: not decoded"
            )
        table = read_records(raw, order + "i2", size, n_sections)
        items = _items(kind.nreal)
        stored = dict(zip(items, table.T, strict=True)) if len(table) else {}
        columns: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int16]] = {}
        for name, column in stored.items():
            if name.startswith("reserved") or name.endswith("_low"):
                continue
            if f"{name}_low" in stored:
                columns[name] = _join_shorts(column, stored[f"{name}_low"])
            elif (factor := items[name]) is not None:
                columns[name] = column * factor
            else:
                columns[name] = column.astype(np.int16)
        return Decoded(columns, [])

    def quantities(self, columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
        known = [q for q in _QUANTITIES if q.column in columns]
        return {q.name: convert(q, np.asarray(columns[q.column]), np.True_) for q in known}


class _Agard(Decoder):
    """NINT integers and NREAL floats a section."""

    largest_placeholder = 4  # binned by IMOD's programs

    def record_bytes(self, kind: ExtendedKind, raw: bytes) -> int:
        """Return 0 where NINT and NREAL describe no record."""
        return 4 * (kind.nint + kind.nreal) if kind.nint >= 0 and kind.nreal >= 0 else 0

    def may_be(self, kind: ExtendedKind, n_sections: int) -> bool:
        needed = self.bytes_needed(kind, n_sections, b"")
        return kind.nreal > 0 and 0 < needed <= kind.nsymbt

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether floats look like such, and tilts like angles; without EXTTYP some are not 0."""
        reals = self.decode(kind, raw, order, n_sections).columns.get("reals")
        if reals is None:
            return bool(kind.exttyp)  # nothing says what is there
        reals = np.asarray(reals)
        return (
            looks_like_floats(reals)
            and bool((np.abs(reals[:, :1]) <= _AGARD_TILT.limit).all())
            and bool(kind.exttyp or reals.any())
        )

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Decode ``integers`` (int32, NINT a record) and ``reals`` (float32, NREAL a record)."""
        size = self.record_bytes(kind, raw)
        if size == 0:
            return not_decoded(
                f"the extended header is Agard's, but NINT = {kind.nint} and NREAL = {kind.nreal} "
                "describe no record: not decoded"
            )
        words = read_records(raw, order + "u4", size, n_sections).astype(np.uint32)
        if len(words) == 0:
            return Decoded({}, [])
        integers, reals = words[:, : kind.nint].copy(), words[:, kind.nint :].copy()
        return Decoded({"integers": integers.view(np.int32), "reals": reals.view(np.float32)}, [])

    def quantities(self, columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
        reals = np.asarray(columns.get("reals", np.empty((0, 0))))
        nreal = reals.shape[1]
        if nreal == 0 or not looks_like_floats(reals[:, 0]):
            return {}
        # A record of zeros may be a tilt of 0; only where all are, none was written.
        written = reals.any()
        found = {_AGARD_TILT.name: convert(_AGARD_TILT, reals[:, 0], written)}
        if nreal >= _NTH_PIXEL_SIZE:
            sizes = reals[:, _NTH_PIXEL_SIZE - 1]
            found |= {q.name: convert(q, sizes, written) for q in _AGARD_PIXEL_SIZES}
        return found


SERIALEM, AGARD = _SerialEM("SERI"), _Agard("AGAR")
