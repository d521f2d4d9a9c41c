"""The interface between the registry and one kind of extended header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def _no_bytes(kind: ExtendedKind, n_sections: int, first_bytes: bytes) -> int:
    return 0


def _nothing(kind: ExtendedKind, raw: bytes, byteorder: ByteOrder, n_sections: int) -> bool:
    return False


def _anything(kind: ExtendedKind, raw: bytes, byteorder: ByteOrder, n_sections: int) -> bool:
    return True


def _not_decoded(kind: ExtendedKind, raw: bytes, byteorder: ByteOrder, n_sections: int) -> Decoded:
    called = f"of kind {kind.exttyp!r}" if kind.exttyp else "of unknown kind"
    text = f"the extended header ({kind.nsymbt} bytes, {called}) is not decoded"
    return Decoded({}, [Note("extended-header-not-decoded", text)])


@dataclass(frozen=True)
class Decoder:
    """One kind of extended header; by default one that is known by name and not decoded.

    Attributes
    ----------
    name : str
        Of the kind.
    exttyp : tuple of str
        The EXTTYP codes that name it.
    recognise : callable
        (kind, n_sections) → whether an extended header without EXTTYP is of this kind, by sizes
        that no other has.
    may_be : callable
        (kind, n_sections) → whether the sizes fit, so that its bytes may tell.
    fits : callable
        (kind, raw, byteorder, n_sections) → whether the bytes can be of this kind.
    proves : callable
        (kind, raw, byteorder, n_sections) → whether they can hardly be anything else, pixels
        included.
    bytes_needed : callable
        (kind, n_sections, first_bytes) → bytes that so many sections take, from the start.
    decode : callable
        (kind, raw, byteorder, n_sections) → `Decoded`. Never raises, whatever the bytes.
    quantities : callable
        Columns → quantities of each section, as the registry's ``extended_metadata`` names them.
    words : callable
        Columns → what they say in words, by the same names.
    metadata : callable
        Document → what of it belongs to HyperSpy's metadata.
    scan : callable
        Columns → the scan that they speak of, if any.
    largest_placeholder : int
        Whole numbers of Å, from 1 up to this one, that are no pixel size in the main header where
        the records state another.
    has_records : bool
        Whether there is a record per section, rather than text for the whole file.
    """

    name: str
    exttyp: tuple[str, ...] = ()
    recognise: Callable[[ExtendedKind, int], bool] = lambda kind, n_sections: False
    may_be: Callable[[ExtendedKind, int], bool] = lambda kind, n_sections: False
    fits: Callable[[ExtendedKind, bytes, ByteOrder, int], bool] = _anything
    proves: Callable[[ExtendedKind, bytes, ByteOrder, int], bool] = _nothing
    bytes_needed: Callable[[ExtendedKind, int, bytes], int] = _no_bytes
    decode: Callable[[ExtendedKind, bytes, ByteOrder, int], Decoded] = _not_decoded
    quantities: Callable[[Columns], Mapping[str, npt.NDArray[np.float64]]] = lambda columns: {}
    words: Callable[[Columns], Mapping[str, str]] = lambda columns: {}
    metadata: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda document: {}
    scan: Callable[[Columns], RecordedScan | None] = lambda columns: None
    largest_placeholder: int = 1
    has_records: bool = True

    @property
    def decisive(self) -> bool:
        """Whether bytes of this kind can be told from pixels."""
        return self.proves is not _nothing
