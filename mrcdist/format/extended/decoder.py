"""What the registry must know of one kind of extended header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.quantities import Columns
from mrcdist.notes import Note

__all__ = ["Decoded", "Decoder", "ExtendedKind", "RecordedScan"]


@dataclass(frozen=True)
class ExtendedKind:
    """Which extended header a file has, and what its decoder must know.

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
    """

    name: str
    nsymbt: int
    exttyp: str = ""
    nint: int = 0
    nreal: int = 0


class Decoded(NamedTuple):
    """Columns of records or lines of text, and what is odd."""

    columns: Columns
    notes: list[str]
    text: tuple[str, ...] = ()


class RecordedScan(NamedTuple):
    """What the records say about the scan.

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
        (kind, n_sections) → whether an extended header without EXTTYP is of this kind.
    bytes_needed : callable
        (kind, n_sections, first_bytes) → bytes that so many sections take, from the start.
    decode : callable
        (kind, raw, byteorder, n_sections) → `Decoded`. Never raises, whatever the bytes.
    quantities : callable
        Columns → quantities of each section, as the registry's ``extended_metadata`` names them.
    words : callable
        Columns → what they say in words, by the same names.
    scan : callable
        Columns → the scan that they speak of, if any.
    has_records : bool
        Whether there is a record per section, rather than text for the whole file.
    """

    name: str
    exttyp: tuple[str, ...] = ()
    recognise: Callable[[ExtendedKind, int], bool] = lambda kind, n_sections: False
    bytes_needed: Callable[[ExtendedKind, int, bytes], int] = _no_bytes
    decode: Callable[[ExtendedKind, bytes, ByteOrder, int], Decoded] = _not_decoded
    quantities: Callable[[Columns], Mapping[str, npt.NDArray[np.float64]]] = lambda columns: {}
    words: Callable[[Columns], Mapping[str, str]] = lambda columns: {}
    scan: Callable[[Columns], RecordedScan | None] = lambda columns: None
    has_records: bool = True
