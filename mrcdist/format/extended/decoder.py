"""The interface between the registry and one kind of extended header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.quantities import Columns
from mrcdist.warning_notes import Note

__all__ = ["Decoded", "Decoder", "ExtendedKind", "RecordedScan"]


@dataclass(frozen=True)
class ExtendedKind:
    """Identity of a file's extended header, with everything that its decoder needs.

    Attributes
    ----------
    name : str
        EXTTYP where it is a known one; "FEI" is the unnamed one from before MRC2014.
    nsymbt : int
        Bytes of extended header, preallocated space included.
    exttyp : str
        EXTTYP as the file has it.
    nint, nreal : int
        From the main header; they describe the records of SERI and AGAR.
    candidates : tuple of str
        Without EXTTYP, the kinds whose sizes fit: its bytes decide among them.
    """

    name: str
    nsymbt: int
    exttyp: str = ""
    nint: int = 0
    nreal: int = 0
    candidates: tuple[str, ...] = ()


class Decoded(NamedTuple):
    """Columns of records, lines of text or a document of named values, and what is odd."""

    columns: Columns
    notes: list[str]
    text: tuple[str, ...] = ()
    document: Mapping[str, Any] | None = None


class RecordedScan(NamedTuple):
    """Facts about the scan that the records state.

    Attributes
    ----------
    shape : tuple of int
        Scan points along y and x: bottom - top, right - left.
    serpentine : bool
        Whether every other line was scanned backwards.
    """

    shape: tuple[int, int]
    serpentine: bool


class Decoder:
    """One kind of extended header; by itself one that is known by name and not decoded.

    Parameters
    ----------
    name : str
        Of the kind.
    *exttyp : str
        The EXTTYP codes that name it.

    Attributes
    ----------
    largest_placeholder : int
        Whole numbers of Å, from 1 up to this one, that are no pixel size in the main header where
        the records state another.
    has_records : bool
        Whether there is a record per section, rather than text for the whole file.
    """

    largest_placeholder = 1
    has_records = True

    def __init__(self, name: str, *exttyp: str) -> None:
        self.name = name
        self.exttyp = exttyp

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

    def bytes_needed(self, kind: ExtendedKind, n_sections: int, first_bytes: bytes) -> int:
        """Count the bytes that so many sections take, from the start."""
        return 0

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Decode the records; never raises, whatever the bytes."""
        called = f"of kind {kind.exttyp!r}" if kind.exttyp else "of unknown kind"
        text = f"the extended header ({kind.nsymbt} bytes, {called}) is not decoded"
        return Decoded({}, [Note("extended-header-not-decoded", text)])

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
