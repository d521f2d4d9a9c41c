"""Records of NINT 4-byte integers and NREAL 4-byte floats: Agard's, and what IMOD keeps of others.

The format does not name the numbers. IMOD's programs, which keep such records, take the first float
for the tilt angle in degrees and the 12th for the pixel size in m.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import Decoded, Decoder, ExtendedKind
from mrcdist.format.extended.quantities import Columns, PhysicalQuantity, convert
from mrcdist.warning_notes import Note

__all__ = ["DECODERS", "looks_like_floats"]

_TILT = PhysicalQuantity("TEM.Stage.tilt_alpha", "reals", limit=360)
_PIXEL_SIZES = tuple(
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


def _record_bytes(kind: ExtendedKind) -> int:
    """Bytes a section; 0 where NINT and NREAL describe no record."""
    return 4 * (kind.nint + kind.nreal) if kind.nint >= 0 and kind.nreal >= 0 else 0


class _Agard(Decoder):
    """NINT integers and NREAL floats a section."""

    largest_placeholder = 4  # binned by IMOD's programs

    def bytes_needed(self, kind: ExtendedKind, n_sections: int, first_bytes: bytes) -> int:
        return _record_bytes(kind) * n_sections

    def may_be(self, kind: ExtendedKind, n_sections: int) -> bool:
        return kind.nreal > 0 and 0 < _record_bytes(kind) * n_sections <= kind.nsymbt

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether floats look like such, and tilts like angles; without EXTTYP some are not 0."""
        reals = self.decode(kind, raw, order, n_sections).columns.get("reals")
        if reals is None:
            return bool(kind.exttyp)  # nothing says what is there
        reals = np.asarray(reals)
        tilts = reals[:, :1]
        return (
            looks_like_floats(reals)
            and bool((np.abs(tilts) <= _TILT.limit).all())
            and bool(kind.exttyp or reals.any())
        )

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Decode ``integers`` (int32, NINT a record) and ``reals`` (float32, NREAL a record)."""
        size = _record_bytes(kind)
        if size == 0:
            text = (
                f"the extended header is Agard's, but NINT = {kind.nint} and NREAL = {kind.nreal} "
                "describe no record: not decoded"
            )
            return Decoded({}, [Note("extended-header-not-decoded", text)])
        n_records = min(max(n_sections, 0), len(raw) // size)
        if n_records == 0:
            return Decoded({}, [])
        words = np.frombuffer(raw, order + "u4", count=n_records * size // 4).reshape(n_records, -1)
        integers, reals = (part.astype(np.uint32) for part in np.split(words, [kind.nint], axis=1))
        return Decoded({"integers": integers.view(np.int32), "reals": reals.view(np.float32)}, [])

    def quantities(self, columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
        if "reals" not in columns:
            return {}
        reals = np.asarray(columns["reals"])
        nreal = reals.shape[1]
        if nreal == 0 or not looks_like_floats(reals[:, 0]):
            return {}
        # A record of zeros may be a tilt of 0; only where all are, none was written.
        written = np.full(len(reals), reals.any())
        found = {_TILT.name: convert(_TILT, reals[:, 0], written)}
        if nreal >= _NTH_PIXEL_SIZE:
            sizes = reals[:, _NTH_PIXEL_SIZE - 1]
            found |= {q.name: convert(q, sizes, written) for q in _PIXEL_SIZES}
        return found


DECODERS = (_Agard("AGAR", "AGAR"),)
