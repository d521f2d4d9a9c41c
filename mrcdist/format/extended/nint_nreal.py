"""Records described by NINT and NREAL of the main header: SerialEM's and Agard's.

SerialEM's have NINT bytes, with an item for each bit of NREAL, in the order of the bits (see IMOD's
description of its MRC files). Agard's are NINT 4-byte integers and NREAL 4-byte floats, as are
records of other formats after IMOD's programs have copied them. The format does not name the
numbers; IMOD's programs use the first float as the tilt angle in degrees and the 12th as the pixel
size in m.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mrcdist.format.extended.decoder import (
    Array,
    Columns,
    Decoded,
    Decoder,
    PhysicalQuantity,
    Valid,
    looks_like_floats,
    not_decoded,
    read_records,
)

# Two-byte integers of each bit of NREAL and their factors. Those without a factor are integers, or
# the two halves of a float. The last five bits are reserved.
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
_MAX_SERIALEM_TILT = 180

_MAX_AGARD_TILT = 360
# Floats of a record, by their index.
_TILT, _PIXEL_SIZE = "real 1", "real 12"
_AGARD_REALS = {_TILT: 0, _PIXEL_SIZE: 11}


def _items(nreal: int) -> dict[str, float | None]:
    return {
        name: factor
        for bit, items in enumerate(_ITEMS)
        if nreal >> bit & 1
        for name, factor in items.items()
    }


def _join_shorts(high: npt.NDArray[np.int16], low: npt.NDArray[np.int16]) -> Array:
    """Join the two shorts in which SerialEM stores a float.

    sign(high) (256 |high| + |low| mod 256) 2^(sign(low) (|low| div 256)), see IMOD's description of
    its MRC files.
    """
    first, second = high.astype(np.int64), low.astype(np.int64)
    mantissa = np.where(first < 0, -1.0, 1.0) * (np.abs(first) * 256 + np.abs(second) % 256)
    return np.asarray(np.ldexp(mantissa, np.sign(second) * (np.abs(second) // 256)))


class SerialEM(Decoder):
    """Decoder of records with an item for each bit of NREAL."""

    kind = "SERI"
    per_section = has_metadata = True
    table = (
        PhysicalQuantity("TEM.magnification", "magnification", above=0),
        PhysicalQuantity("TEM.dose", "exposure_dose", above=0),
        PhysicalQuantity("TEM.Stage.tilt_alpha", "tilt_angle"),
        PhysicalQuantity("TEM.Stage.x", "stage_x", 1e-3),
        PhysicalQuantity("TEM.Stage.y", "stage_y", 1e-3),
    )

    @property
    def sizes_identify(self) -> bool:
        """Whether the items in NREAL add up to NINT."""
        return self.records_fit

    def record_bytes(self, raw: bytes) -> int:
        """Return NINT if the sizes of the items add up to it, else 0."""
        nint, nreal = self.header.nint, self.header.nreal
        known = 0 < nreal < 2 ** len(_ITEMS)
        return nint if known and 2 * len(_items(nreal)) == nint else 0

    def fits(self, raw: bytes) -> bool:
        """Whether the tilts are angles; any bytes fit if the sizes do not."""
        if not self.records_fit:
            return True
        tilts = self.decode(raw).columns.get("tilt_angle")
        return tilts is None or bool((np.abs(np.asarray(tilts)) <= _MAX_SERIALEM_TILT).all())

    def decode(self, raw: bytes) -> Decoded:
        """Decode all items except the reserved ones.

        ``tilt_angle`` (degrees), ``piece_x``, ``piece_y``, ``piece_z`` (pixels; montage section),
        ``stage_x``, ``stage_y`` (µm), ``magnification``, ``intensity``, ``exposure_dose`` (e⁻/Å²).
        """
        size, nreal = self.record_bytes(raw), self.header.nreal
        if size == 0:
            return not_decoded(
                f"the extended header is SerialEM's, but the items of NREAL = {nreal} do not add "
                f"up to NINT = {self.header.nint} bytes per section: not decoded"
            )
        records = read_records(raw, self.header.byteorder + "i2", size, self.header.nz)
        items = _items(nreal)
        stored = dict(zip(items, records.T, strict=True)) if len(records) else {}
        columns: dict[str, Array] = {}
        for name, column in stored.items():
            if name.startswith("reserved") or name.endswith("_low"):
                continue
            if f"{name}_low" in stored:
                columns[name] = _join_shorts(column, stored[f"{name}_low"])
            elif (factor := items[name]) is not None:
                columns[name] = column * factor
            else:
                columns[name] = column.astype(np.int16)
        return Decoded(columns)


class Agard(Decoder):
    """Decoder of NINT integers and NREAL floats per section."""

    kind = "AGAR"
    per_section = has_metadata = True
    table = (
        PhysicalQuantity("TEM.Stage.tilt_alpha", _TILT, limit=_MAX_AGARD_TILT),
        PhysicalQuantity("pixel_size_x", _PIXEL_SIZE, 1e9, above=0, limit=1, unit="m"),
        PhysicalQuantity("pixel_size_y", _PIXEL_SIZE, 1e9, above=0, limit=1, unit="m"),
    )
    largest_placeholder = 4  # after binning by IMOD's programs

    @property
    def sizes_allow(self) -> bool:
        """Whether NINT and NREAL describe records with at least one float."""
        return self.header.nreal > 0 and self.records_fit

    def record_bytes(self, raw: bytes) -> int:
        """Return 0 if NINT and NREAL describe no record."""
        nint, nreal = self.header.nint, self.header.nreal
        return 4 * (nint + nreal) if nint >= 0 and nreal >= 0 else 0

    def fits(self, raw: bytes) -> bool:
        """Whether the floats are plausible and the tilts are angles; not all 0 without EXTTYP."""
        exttyp = bool(self.header.exttyp)
        reals = self.decode(raw).columns.get("reals")
        if reals is None:
            return exttyp
        reals = np.asarray(reals)
        tilts = np.abs(reals[:, :1])
        plausible = looks_like_floats(reals) and bool((tilts <= _MAX_AGARD_TILT).all())
        return plausible and (exttyp or bool(reals.any()))

    def decode(self, raw: bytes) -> Decoded:
        """Decode ``integers`` (int32, NINT each) and ``reals`` (float32, NREAL each)."""
        size, nint = self.record_bytes(raw), self.header.nint
        if size == 0:
            return not_decoded(
                f"the extended header is Agard's, but NINT = {nint} and NREAL = "
                f"{self.header.nreal} describe no record: not decoded"
            )
        words = read_records(raw, self.header.byteorder + "u4", size, self.header.nz)
        if len(words) == 0:
            return Decoded({})
        words = words.astype(np.uint32)
        integers, reals = words[:, :nint].copy(), words[:, nint:].copy()
        return Decoded({"integers": integers.view(np.int32), "reals": reals.view(np.float32)})

    def stored(self, columns: Columns, name: str) -> tuple[Array, Valid]:
        """Return one float of each record; none is valid if all floats of all records are 0.

        A single record of zeros can be a tilt of 0.
        """
        reals = np.asarray(columns.get("reals", np.empty((0, 0))))
        index = _AGARD_REALS[name]
        if index >= reals.shape[1] or not looks_like_floats(reals[:, 0]):
            return np.empty(0), np.False_
        return reals[:, index], reals.any()
