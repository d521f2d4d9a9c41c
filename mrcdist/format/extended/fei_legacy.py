"""The FEI extended header before MRC2014: 128 bytes a section, 1024 or 8192 of them.

Nothing in the file names it: it is known by its size alone, so the numbers must make sense as what
they should be before anything is taken from them. IMOD's programs keep the records of the sections
that they copy, with NINT 0 and NREAL 32, in an extended header of any size.

Layout after FEI's description, which IMOD and the TOM toolbox follow: 16 float32 (tilts and tilt
axis in degrees, lengths in m, exposure in s, high tension in V), then 64 unused bytes. Some writers
store lengths in another unit than the metre; values above 1 give them away.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.agard import looks_like_floats
from mrcdist.format.extended.decoder import Decoded, Decoder, ExtendedKind
from mrcdist.format.extended.quantities import Columns, PhysicalQuantity, convert, doubtful
from mrcdist.warning_notes import Note

__all__ = ["DECODERS"]

RECORD_BYTES = 128

_NAMES = (
    "a_tilt",
    "b_tilt",
    "x_stage",
    "y_stage",
    "z_stage",
    "x_shift",
    "y_shift",
    "defocus",
    "exp_time",
    "mean_int",
    "tilt_axis",
    "pixel_size",
    "magnification",
    "ht",
    "binning",
    "applied_defocus",
)

_TILTS = ("a_tilt", "b_tilt")

_QUANTITIES = (
    PhysicalQuantity("TEM.beam_energy", "ht", 1e-3, above=1000, unit="V"),
    PhysicalQuantity("TEM.magnification", "magnification", above=0),
    PhysicalQuantity("TEM.defocus", "defocus", 1e9, limit=1, unit="m"),
    PhysicalQuantity("TEM.Stage.tilt_alpha", "a_tilt"),
    PhysicalQuantity("TEM.Stage.tilt_beta", "b_tilt"),
    PhysicalQuantity("TEM.Stage.x", "x_stage", 1e3, limit=1, unit="m"),
    PhysicalQuantity("TEM.Stage.y", "y_stage", 1e3, limit=1, unit="m"),
    PhysicalQuantity("TEM.Stage.z", "z_stage", 1e3, limit=1, unit="m"),
    PhysicalQuantity("TEM.Detector.Camera.exposure", "exp_time", above=0),
    PhysicalQuantity("pixel_size_x", "pixel_size", 1e9, above=0, limit=1, unit="m"),
    PhysicalQuantity("pixel_size_y", "pixel_size", 1e9, above=0, limit=1, unit="m"),
)


def _written(columns: Columns) -> npt.NDArray[np.bool_]:
    """Return which records are not all zeros, as preallocated ones are.

    Where the records hold nothing but tilts, one of zeros may be a tilt of 0.
    """
    written = {name: np.asarray(column) != 0 for name, column in columns.items()}
    if not any(one.any() for name, one in written.items() if name not in _TILTS):
        return np.full(len(written["a_tilt"]), bool(written["a_tilt"].any()))
    return np.asarray(np.any(list(written.values()), axis=0))


def _make_sense(table: npt.NDArray[np.float32]) -> bool:
    column = dict(zip(_NAMES, table.T, strict=True))
    angles = (column["a_tilt"], column["b_tilt"], column["tilt_axis"])
    amounts = (column["exp_time"], column["pixel_size"], column["magnification"], column["ht"])
    magnification = column["magnification"]
    return (
        looks_like_floats(table)
        and all(bool((np.abs(angle) <= 360).all()) for angle in angles)
        and all(bool((amount >= 0).all()) for amount in amounts)
        and bool(((magnification == 0) | (magnification >= 1)).all())
    )


class _OldFei(Decoder):
    """128 bytes a section."""

    largest_placeholder = 4  # binned by IMOD's programs

    def recognises(self, kind: ExtendedKind, n_sections: int) -> bool:
        """Whether there is a block of 1024 records, or for more sections of 8192."""
        return kind.nsymbt == RECORD_BYTES * (1024 if n_sections <= 1024 else 8192)

    def may_be(self, kind: ExtendedKind, n_sections: int) -> bool:
        """Whether a record per section is all that there is, or NINT and NREAL describe them."""
        needed = RECORD_BYTES * n_sections
        described = (kind.nint, kind.nreal) == (0, RECORD_BYTES // 4)
        return 0 < needed == kind.nsymbt or (described and 0 < needed <= kind.nsymbt)

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

    def bytes_needed(self, kind: ExtendedKind, n_sections: int, first_bytes: bytes) -> int:
        return RECORD_BYTES * n_sections

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Decode the records, in the file's units; nothing where the bytes are no such records."""
        n_records = min(max(n_sections, 0), len(raw) // RECORD_BYTES)
        if n_records == 0:
            return Decoded({}, [])
        stored = np.frombuffer(raw, order + "f4", count=n_records * RECORD_BYTES // 4)
        table = stored.reshape(n_records, -1)[:, : len(_NAMES)].astype(np.float32)
        if not _make_sense(table):
            text = (
                "the extended header has the size of an old FEI one "
                f"({n_records} records looked at), but its numbers make no sense as tilts, "
                "positions and magnifications: not decoded"
            )
            return Decoded({}, [Note("extended-header-not-decoded", text)])
        columns = {name: table[:, i].copy() for i, name in enumerate(_NAMES)}
        written = _written(columns)
        notes: list[str] = []
        if blank := int(np.count_nonzero(~written)):
            text = f"{blank} of {n_records} records of the FEI extended header are blank"
            notes.append(Note("records-blank", text))
        distinct = {quantity.column: quantity for quantity in _QUANTITIES}.values()
        notes += filter(None, (doubtful(q, columns[q.column], written) for q in distinct))
        return Decoded(columns, notes)

    def quantities(self, columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
        """Compute the quantities of each section; NaN in blank records."""
        if not columns:
            return {}
        written = _written(columns)
        return {q.name: convert(q, np.asarray(columns[q.column]), written) for q in _QUANTITIES}


DECODERS = (_OldFei("FEI"),)
