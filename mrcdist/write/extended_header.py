"""The extended header of a new file: what the caller passes, or that of the file that was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mrcdist.errors import ArgumentError
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.warning_notes import Note
from mrcdist.write.contents import Contents

__all__ = ["NewExtendedHeader", "choose_extended_header"]


@dataclass(frozen=True)
class NewExtendedHeader:
    """Extended header of a new file, and the fields of the main header that describe it.

    Attributes
    ----------
    raw : bytes
    exttyp : str
    records : tuple of int
        NINT and NREAL.
    byteorder : {"<", ">"}
        Of the whole file.
    notes : tuple of str
        What is left out.
    """

    raw: bytes = b""
    exttyp: str = ""
    records: tuple[int, int] = (0, 0)
    byteorder: ByteOrder = "<"
    notes: tuple[str, ...] = ()


def choose_extended_header(
    contents: Contents,
    given: bytes | Sequence[int] | None,
    exttyp: str | None,
    records: tuple[int, int],
    byteorder: ByteOrder | None,
) -> NewExtendedHeader:
    """Choose the extended header of a new file.

    Parameters
    ----------
    contents : Contents
        Of what `read_mrc` returned, its original metadata have the records that were read.
    given : bytes or sequence of int, optional
        Bytes are written as they are. Numbers are those of the sections that are written, counted
        along the array that was read. None: all of them.
    exttyp : str, optional
        Of bytes.
    records : (int, int)
        NINT and NREAL of bytes.
    byteorder : {"<", ">"}, optional
        Of the new file. Default: that of the records that were read.

    Raises
    ------
    ArgumentError
    """
    read: Any = contents.original_metadata.get("extended_header")
    nothing = NewExtendedHeader(byteorder=byteorder or "<")
    if isinstance(given, bytes | bytearray | memoryview):
        raw = bytes(given)
        return replace(nothing, raw=raw, exttyp=_checked(exttyp, raw), records=records)
    _checked(exttyp, b"")

    def left_out(why: str) -> NewExtendedHeader:
        sentence = f"the extended header that was read ({read['type']}) is left out: {why}"
        return replace(nothing, notes=(Note("extended-header-not-stored", sentence),))

    if not isinstance(read, Mapping) or "type" not in read:
        if given is not None:
            raise _unusable(given, "no extended header was read with these data")
        return nothing
    stored = StoredRecords.from_dict(read.get("stored"))
    if stored is None:
        return left_out("it is of a kind that is not written again")
    if stored.per_section:
        try:
            stored = stored if given is None else stored.of_sections(given)
        except (IndexError, TypeError):
            raise _unusable(given, f"there are {len(stored.records)} records") from None
        if len(stored.records) != contents.sections:
            if given is not None:
                raise _unusable(given, f"the data have {contents.sections} sections")
            return left_out(
                f"it has {len(stored.records)} records for {contents.sections} sections; "
                "extended_header=range(3, 10) keeps those of sections 3 to 9",
            )
        if byteorder not in (None, stored.byteorder):
            return left_out(
                f"its records have another byte order; byteorder='{stored.byteorder}' keeps it",
            )
        nothing = replace(nothing, byteorder=stored.byteorder)
    numbers = (stored.nint, stored.nreal)
    return replace(nothing, raw=b"".join(stored.records), exttyp=stored.exttyp, records=numbers)


def _checked(exttyp: str | None, raw: bytes) -> str:
    if exttyp is None:
        return ""
    if not (exttyp.isascii() and len(exttyp) <= 4) or not raw:
        raise ArgumentError(
            f"exttyp={exttyp!r}",
            code="extended-header-type-invalid",
            argument="exttyp",
            cause="it names the type of an extended header in four ASCII characters",
            remedy="pass extended_header with it",
        )
    return exttyp


def _unusable(given: object, cause: str) -> ArgumentError:
    return ArgumentError(
        f"extended_header={given!r}",
        code="extended-header-invalid",
        argument="extended_header",
        cause=cause,
        remedy="pass the bytes of an extended header, or one number for each section of the data: "
        "that of the section in the array that was read",
    )
