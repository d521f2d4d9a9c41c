"""The interface between the registry and one kind of extended header, and what kinds share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.warning_notes import Note

Array = npt.NDArray[Any]
Columns = Mapping[str, Array | list[str]]
Valid = npt.NDArray[np.bool_] | np.bool_  # of each record, or of all


@dataclass(frozen=True)
class ExtendedKind:
    """Identity of a file's extended header, with everything that its decoder needs."""

    name: str  # EXTTYP where it is a known one; "FEI" is the unnamed one from before MRC2014
    nsymbt: int  # bytes of extended header, preallocated space included
    exttyp: str = ""  # as the file has it
    nint: int = 0  # with nreal from the main header, they describe the records of SERI and AGAR
    nreal: int = 0
    candidates: tuple[str, ...] = ()  # without EXTTYP, kinds whose sizes fit: its bytes decide


class Decoded(NamedTuple):
    """Columns of records, lines of text or a document of named values, and what is odd."""

    columns: Columns
    notes: list[str]
    text: tuple[str, ...] = ()
    document: Mapping[str, Any] | None = None


class RecordedScan(NamedTuple):
    """Facts about the scan that the records state."""

    shape: tuple[int, int]  # scan points along y and x: bottom - top, right - left
    serpentine: bool  # whether every other line was scanned backwards


class PhysicalQuantity(NamedTuple):
    """Conversion of one column to a physical quantity, section by section."""

    name: str  # "TEM." and a path of HyperSpy's metadata, or a name of this package
    column: str
    factor: float = 1.0  # stored value times factor is the quantity in the unit wanted
    above: float = -np.inf  # only larger values mean something; with 0, a stored 0 is "not known"
    limit: float = np.inf  # largest magnitude that the stored unit allows
    unit: str = ""  # the stored one, which `above` and `limit` are in


class Decoder:
    """One kind of extended header; by itself one that is known by name and not decoded.

    `raw` is the extended header from its start, `order` the byte order of the main header, and
    `columns` are those that `decode` returned.
    """

    # Whole numbers of Å, from 1 up to this one, are no pixel size in the main header where the
    # records state another.
    largest_placeholder = 1
    has_exttyp = True

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def decisive(self) -> bool:
        """Whether bytes of this kind can be told from pixels."""
        return type(self).proves is not Decoder.proves

    def recognises(self, kind: ExtendedKind, n_sections: int) -> bool:
        """Whether an extended header without EXTTYP is of this kind, by sizes no other has."""
        return False

    def may_be(self, kind: ExtendedKind, n_sections: int) -> bool:
        """Whether the sizes fit, so that its bytes may tell."""
        return False

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether the bytes can be of this kind."""
        return True

    def proves(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether the bytes can hardly be anything else, pixels included."""
        return False

    def record_bytes(self, kind: ExtendedKind, raw: bytes) -> int:
        """Bytes a section; 0 where there is no record per section."""
        return 0

    def bytes_needed(self, kind: ExtendedKind, n_sections: int, raw: bytes) -> int:
        """Count the bytes that so many sections take, from the start."""
        return self.record_bytes(kind, raw) * n_sections

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Decode the records; never raises, whatever the bytes."""
        called = f"of kind {kind.exttyp!r}" if kind.exttyp else "of unknown kind"
        return not_decoded(f"the extended header ({kind.nsymbt} bytes, {called}) is not decoded")

    def quantities(self, columns: Columns) -> Mapping[str, npt.NDArray[np.float64]]:
        """Compute the quantities of each section, as ``extended_metadata`` names them."""
        return {}

    def words(self, columns: Columns) -> Mapping[str, str]:
        """Return what the columns say in words, by the same names."""
        return {}

    def metadata(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of a document belongs to HyperSpy's metadata."""
        return {}

    def scan(self, columns: Columns) -> RecordedScan | None:
        """Return the scan that the columns speak of, if any."""
        return None


def not_decoded(text: str) -> Decoded:
    """Nothing but a note that says why."""
    return Decoded({}, [Note("extended-header-not-decoded", text)])


def read_records(raw: bytes, dtype: npt.DTypeLike, size: int, n_sections: int) -> Array:
    """View the whole records of `size` bytes, at most one a section: shape (records, items)."""
    dtype = np.dtype(dtype)
    n_records = min(max(n_sections, 0), len(raw) // size) if size else 0
    return np.ndarray((n_records, size // dtype.itemsize), dtype, raw)


def convert(quantity: PhysicalQuantity, stored: Array, valid: Valid) -> npt.NDArray[np.float64]:
    """Convert a column to its quantity, in the unit wanted.

    A value that cannot be used becomes NaN, so that nobody takes it for known: one that is not
    marked `valid`, not finite, or beyond the limits of its unit.
    """
    with np.errstate(all="ignore"):  # bytes that are no numbers make NaN and infinity here
        usable = valid & (stored > quantity.above) & (np.abs(stored) <= quantity.limit)
        values = np.where(usable, stored.astype(np.float64) * quantity.factor, np.nan)
        values[~np.isfinite(values)] = np.nan
    return values


def common(values: npt.NDArray[np.float64]) -> float | None:
    """Return the one value of a quantity that all sections share; NaN is unknown.

    It is the first known one if all agree within a thousandth of the largest, as repeated
    measurements of a constant do; else None.
    """
    known = values[np.isfinite(values)]
    if known.size == 0 or known.max() / 2 - known.min() / 2 > 0.5e-3 * np.abs(known).max():
        return None
    return float(known[0])


def doubtful(quantity: PhysicalQuantity, stored: Array, valid: Valid) -> Note | None:
    """Note the first value of a column that cannot be in the unit it should have."""
    with np.errstate(all="ignore"):
        too_large = np.isfinite(stored) & (np.abs(stored) > quantity.limit)
        too_small = (stored > 0) & (stored <= quantity.above)
        odd = stored[valid & (too_large | too_small)]
    if odd.size == 0:
        return None
    return Note(
        f"unit-doubtful-{quantity.column}",
        f"{quantity.column} is {float(odd[0]):g} in the extended header, which is implausible "
        f"in {quantity.unit}: its unit must be a different one, so it is not used",
    )
