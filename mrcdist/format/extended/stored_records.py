"""The bytes of an extended header that are written again, for all sections or some."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.registry import ExtendedHeader, decoder_of


@dataclass(frozen=True)
class StoredRecords:
    """Bytes of an extended header, without preallocated space."""

    exttyp: str
    records: tuple[bytes, ...]  # one for each section; for CCP4, one for all
    byteorder: ByteOrder  # the main header's
    nint: int = 0  # with nreal, they describe the records of SERI and AGAR
    nreal: int = 0

    @classmethod
    def of(cls, extended: ExtendedHeader) -> StoredRecords | None:
        """Return the records of an extended header; None if they cannot be written again.

        The type is that of the decoder, also for files without EXTTYP.
        """
        if not (records := extended.records):
            return None
        header = extended.decoder.header
        return cls(extended.kind, records, header.byteorder, header.nint, header.nreal)

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
        return decoder_of(self.exttyp).per_section

    @property
    def has_metadata(self) -> bool:
        """Whether the records include metadata of the microscope."""
        return decoder_of(self.exttyp).has_metadata

    def of_sections(self, sections: Sequence[int]) -> StoredRecords:
        """Return the records of some sections in this order, or IndexError; text is unchanged."""
        if not self.per_section:
            return self
        return replace(self, records=tuple(self.records[number] for number in sections))
