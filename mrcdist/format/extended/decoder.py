"""The interface of decoders of extended headers, and functions that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from mrcdist.format.header import Header
from mrcdist.warning_notes import Note

Array = npt.NDArray[Any]
Columns = Mapping[str, Array | list[str]]
Valid = npt.NDArray[np.bool_] | np.bool_  # one for each record, or one for all


class Decoded(NamedTuple):
    """Columns of records, lines of text or a document of named values, with notes."""

    columns: Columns
    notes: tuple[Note, ...] = ()
    text: tuple[str, ...] = ()
    document: Mapping[str, Any] | None = None


class RecordedScan(NamedTuple):
    """Description of the scan in the records."""

    shape: tuple[int, int]  # scan points along y and x: bottom - top, right - left
    serpentine: bool  # whether every other line was scanned backwards


class PhysicalQuantity(NamedTuple):
    """Conversion of one column to a physical quantity."""

    name: str  # "TEM." and a path in HyperSpy's metadata, or a name of this package
    column: str
    factor: float = 1.0  # from the stored to the wanted unit
    above: float = -np.inf  # valid values are greater; 0 if a stored 0 means "unknown"
    limit: float = np.inf  # largest plausible magnitude
    unit: str = ""  # of the stored values, of `above` and of `limit`


@dataclass(frozen=True)
class Decoder:
    """Decoder of the extended header of one file.

    The base class is for kinds that are not decoded. In all methods, `raw` is the extended header
    from its start, and `columns` are those that `decode` returned.
    """

    header: Header

    kind: ClassVar[str] = "unknown"
    """EXTTYP, or "FEI" for FEI's extended header from before MRC2014, which has none."""
    table: ClassVar[tuple[PhysicalQuantity, ...]] = ()
    # Up to this whole number of Å, the main header's pixel size may be a placeholder, and that of
    # the records is used instead.
    largest_placeholder: ClassVar[int] = 1
    size_bytes: ClassVar[int] = 0
    """Bytes at the start of a record that state its size."""
    per_section: ClassVar[bool] = False
    """Whether each section has a record that can be written to a new file."""
    has_metadata: ClassVar[bool] = False
    """Whether the content includes metadata of the microscope, also in a new file."""

    @property
    def can_be_certain(self) -> bool:
        """Whether the content of this kind can be distinguished from pixels."""
        return type(self).is_certain is not Decoder.is_certain

    @property
    def records_fit(self) -> bool:
        """Whether the records have a known size, and those of all sections fit into NSYMBT."""
        size = self.record_bytes(b"")
        return size > 0 and size * self.header.nz <= self.header.nsymbt

    @property
    def sizes_identify(self) -> bool:
        """Whether the sizes in the main header show that it is of this kind, without an EXTTYP."""
        return False

    @property
    def sizes_allow(self) -> bool:
        """Whether the sizes allow this kind, so that without an EXTTYP, the content decides."""
        return False

    def fits(self, raw: bytes) -> bool:
        """Whether the content can be of this kind."""
        return True

    def is_certain(self, raw: bytes) -> bool:
        """Whether the content can hardly be anything else, pixels included."""
        return False

    def record_bytes(self, raw: bytes) -> int:
        """Return the size of a record; 0 without one record per section."""
        return 0

    def bytes_needed(self, raw: bytes) -> int:
        """Count the bytes, from the start, that the records of all sections take."""
        return self.record_bytes(raw) * self.header.nz

    def rewritable(self, raw: bytes, n_records: int) -> tuple[bytes, ...]:
        """Return what a new file can contain: a record per section, or one entry for all of them.

        `n_records` is the number of decoded records. Empty if bytes are missing, and for kinds that
        cannot be written.
        """
        size = self.record_bytes(raw) if self.per_section else 0
        if n_records * size > len(raw):
            return ()
        return tuple(raw[at : at + size] for at in range(0, n_records * size, size or 1))

    def decode(self, raw: bytes) -> Decoded:
        """Decode the content; never raises."""
        kind = f"of kind {self.header.exttyp!r}" if self.header.exttyp else "of unknown kind"
        size = self.header.nsymbt
        return not_decoded(f"the extended header ({size} bytes, {kind}) is not decoded")

    def stored(self, columns: Columns, name: str) -> tuple[Array, Valid]:
        """Return the values of a quantity's column, by default all valid; empty if absent."""
        return np.asarray(columns.get(name, ()), np.float64), np.True_

    def unit_notes(self, columns: Columns) -> list[Note]:
        """Note the columns with values that are implausible in their unit."""
        by_column = {quantity.column: quantity for quantity in self.table}
        notes = (unit_note(q, *self.stored(columns, q.column)) for q in by_column.values())
        return [note for note in notes if note]

    def texts(self, columns: Columns) -> Mapping[str, str]:
        """Return the metadata that are texts, under names as in `PhysicalQuantity`."""
        return {}

    def metadata(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of a document that belongs to HyperSpy's metadata."""
        return {}

    def scan(self, columns: Columns) -> RecordedScan | None:
        """Return the scan that the records describe, if any."""
        return None


def not_decoded(text: str) -> Decoded:
    """Return an empty result with a note that explains why."""
    return Decoded({}, (Note("extended-header-not-decoded", text),))


def read_records(raw: bytes, dtype: npt.DTypeLike, size: int, n_sections: int) -> Array:
    """View the complete records of `size` bytes, at most one per section: (records, items)."""
    dtype = np.dtype(dtype)
    n_records = min(max(n_sections, 0), len(raw) // size) if size else 0
    return np.ndarray((n_records, size // dtype.itemsize), dtype, raw)


def looks_like_floats(numbers: npt.NDArray[np.float32]) -> bool:
    """Whether bytes were written as floats: other bytes give NaN, tiny and huge numbers."""
    magnitudes = np.abs(numbers[numbers != 0])
    return bool(((magnitudes >= 1e-20) & (magnitudes <= 1e20)).all())


def convert(quantity: PhysicalQuantity, stored: Array, valid: Valid) -> npt.NDArray[np.float64]:
    """Convert a column to its quantity, in the wanted unit.

    Values that are not `valid`, not finite or beyond the limits of their unit become NaN.
    """
    with np.errstate(all="ignore"):  # damaged records contain NaN and infinity
        usable = valid & (stored > quantity.above) & (np.abs(stored) <= quantity.limit)
        values = np.where(usable, stored.astype(np.float64) * quantity.factor, np.nan)
        values[~np.isfinite(values)] = np.nan
    return values


def common_value(values: npt.NDArray[np.float64]) -> float | None:
    """Return the value that all sections share, or None; NaN is unknown.

    It is the first known value if all agree within a thousandth of the largest, as repeated
    measurements of a constant do.
    """
    known = values[np.isfinite(values)]
    if known.size == 0 or known.max() / 2 - known.min() / 2 > 0.5e-3 * np.abs(known).max():
        return None
    return float(known[0])


def unit_note(quantity: PhysicalQuantity, stored: Array, valid: Valid) -> Note | None:
    """Note the first value of a column that is implausible in its unit."""
    with np.errstate(all="ignore"):
        too_large = np.isfinite(stored) & (np.abs(stored) > quantity.limit)
        too_small = (stored > 0) & (stored <= quantity.above)
        implausible = stored[valid & (too_large | too_small)]
    if implausible.size == 0:
        return None
    return Note(
        f"unit-doubtful-{quantity.column}",
        f"{quantity.column} is {float(implausible[0]):g} in the extended header, which is "
        f"implausible in {quantity.unit}: its unit must be a different one, so it is not used",
    )
