"""Extended headers that are written again: their bytes, of all sections or of some."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import ExtendedKind

PER_SECTION = ("FEI1", "FEI2", "SERI", "AGAR")
"""Kinds of one record a section."""
_TEXT = ("CCP4",)


@dataclass(frozen=True)
class StoredRecords:
    """The bytes of an extended header, without the space that is kept for more."""

    exttyp: str
    records: tuple[bytes, ...]  # one for each section; of CCP4, one for all
    byteorder: ByteOrder  # the main header's
    nint: int = 0  # with nreal from the main header, they describe the records of SERI and AGAR
    nreal: int = 0

    @classmethod
    def of(
        cls,
        name: str,
        kind: ExtendedKind,
        raw: bytes,
        byteorder: ByteOrder,
        *,
        n_records: int,
        size: int,
    ) -> StoredRecords | None:
        """Cut the start of an extended header into `n_records` of `size` bytes.

        `name` is that of the decoder: the EXTTYP of files that have none, too. None of a kind that
        is not written again, or of which bytes are missing.
        """
        if name in _TEXT and len(raw) == kind.nsymbt:
            records = [raw]
        elif name in PER_SECTION and 0 < n_records * size <= len(raw):
            records = [raw[at : at + size] for at in range(0, n_records * size, size)]
        else:
            return None
        return cls(name, tuple(records), byteorder, kind.nint, kind.nreal)

    @classmethod
    def from_dict(cls, stored: Any) -> StoredRecords | None:
        """Read what `to_dict` made; None of anything else."""
        try:
            return cls(
                str(stored["exttyp"]),
                tuple(base64.b64decode(record, validate=True) for record in stored["base64"]),
                next(order for order in get_args(ByteOrder) if order == stored["byteorder"]),
                int(stored["nint"]),
                int(stored["nreal"]),
            )
        except (KeyError, TypeError, ValueError, StopIteration, binascii.Error):
            return None

    def to_dict(self) -> Mapping[str, Any]:
        """Return what JSON, and HyperSpy's files, can hold."""
        return {
            "exttyp": self.exttyp,
            "base64": [base64.b64encode(record).decode("ascii") for record in self.records],
            "byteorder": self.byteorder,
            "nint": self.nint,
            "nreal": self.nreal,
        }

    @property
    def per_section(self) -> bool:
        """Whether each section has a record of its own."""
        return self.exttyp in PER_SECTION

    def of_sections(self, sections: Sequence[int]) -> StoredRecords:
        """Return the records of some sections, in their order, or IndexError; text as it is."""
        if not self.per_section:
            return self
        return replace(self, records=tuple(self.records[number] for number in sections))

    def joined(self, others: Sequence[StoredRecords | None]) -> StoredRecords | None:
        """Return the records of several files, one after the other; None where they differ."""
        found = [self, *(each for each in others if each is not None)]
        kinds = {replace(each, records=()) for each in found}
        if len(kinds) > 1 or len(found) <= len(others):
            return None
        if not self.per_section:
            return self if len(set(found)) == 1 else None
        return replace(self, records=tuple(record for each in found for record in each.records))
