"""The bytes of an extended header that are written again, for all sections or some."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import Decoder

PER_SECTION = ("FEI1", "FEI2", "SERI", "AGAR")
"""Kinds with one record per section."""


@dataclass(frozen=True)
class StoredRecords:
    """Bytes of an extended header, without preallocated space."""

    exttyp: str
    records: tuple[bytes, ...]  # one for each section; for CCP4, one for all
    byteorder: ByteOrder  # the main header's
    nint: int = 0  # with nreal, they describe the records of SERI and AGAR
    nreal: int = 0

    @classmethod
    def cut(cls, decoder: Decoder, raw: bytes, n_records: int) -> StoredRecords | None:
        """Cut the start of an extended header into `n_records` records.

        The type is that of the decoder, also for files without EXTTYP. None for kinds that cannot
        be written again, and if bytes are missing.
        """
        header, size = decoder.header, decoder.record_bytes(raw)
        if decoder.kind == "CCP4" and len(raw) == header.nsymbt:
            records = [raw]
        elif decoder.kind in PER_SECTION and 0 < n_records * size <= len(raw):
            records = [raw[at : at + size] for at in range(0, n_records * size, size)]
        else:
            return None
        return cls(decoder.kind, tuple(records), header.byteorder, header.nint, header.nreal)

    @classmethod
    def from_dict(cls, stored: Any) -> StoredRecords | None:
        """Read the result of `to_dict`; None for anything else."""
        try:
            return cls(
                str(stored["exttyp"]),
                tuple(base64.b64decode(record, validate=True) for record in stored["base64"]),
                next(order for order in get_args(ByteOrder) if order == stored["byteorder"]),
                int(stored["nint"]),
                int(stored["nreal"]),
            )
        except (KeyError, TypeError, ValueError, StopIteration):
            return None

    def to_dict(self) -> Mapping[str, Any]:
        """Return a dict that JSON and HyperSpy's file formats can store."""
        return {
            "exttyp": self.exttyp,
            "base64": [base64.b64encode(record).decode("ascii") for record in self.records],
            "byteorder": self.byteorder,
            "nint": self.nint,
            "nreal": self.nreal,
        }

    @property
    def per_section(self) -> bool:
        """Whether each section has its own record."""
        return self.exttyp in PER_SECTION

    def of_sections(self, sections: Sequence[int]) -> StoredRecords:
        """Return the records of some sections in this order, or IndexError; text is unchanged."""
        if not self.per_section:
            return self
        return replace(self, records=tuple(self.records[number] for number in sections))

    def joined(self, others: Sequence[StoredRecords | None]) -> StoredRecords | None:
        """Return the concatenated records of several files; None if their kinds differ."""
        stored = [self, *(each for each in others if each is not None)]
        kinds = {replace(each, records=()) for each in stored}
        if len(kinds) > 1 or len(stored) <= len(others):
            return None
        if not self.per_section:
            return self if len(set(stored)) == 1 else None
        return replace(self, records=tuple(record for each in stored for record in each.records))
