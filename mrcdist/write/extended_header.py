"""The extended header of a new file: what the caller passes, or that of the file that was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mrcdist.errors import ArgumentError
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.warning_notes import Note
from mrcdist.write.contents import Contents

__all__ = ["choose_extended_header"]


def choose_extended_header(
    contents: Contents,
    given: bytes | Sequence[int] | None,
    exttyp: str | None,
    records: tuple[int, int],
    byteorder: ByteOrder | None,
    notes: list[str],
) -> StoredRecords:
    """Choose the extended header of a new file, and with it the byte order of all of the file.

    Bytes are written as they are, with `exttyp`, and NINT and NREAL as `records`. Numbers are those
    of the sections that are written, counted along the array that was read; the records that were
    read are in its original metadata, and None is all of them. The default byte order is theirs.
    `notes` say what is left out.
    """
    nothing = StoredRecords("", (), byteorder or "<")
    raw = bytes(given) if isinstance(given, bytes | bytearray | memoryview) else None
    _check_type(exttyp, raw)
    if raw is not None:
        return StoredRecords(exttyp or "", (raw,), nothing.byteorder, *records)
    read: Any = contents.original_metadata.get("extended_header")
    if not isinstance(read, Mapping) or "type" not in read:
        if given is not None:
            raise _unusable(given, "no extended header was read with these data")
        return nothing

    def left_out(why: str) -> StoredRecords:
        sentence = f"the extended header that was read ({read['type']}) is left out: {why}"
        notes.append(Note("extended-header-not-stored", sentence))
        return nothing

    stored = StoredRecords.from_dict(read.get("stored"))
    if stored is None:
        return left_out("it is of a kind that is not written again")
    if not stored.per_section:
        return replace(stored, byteorder=nothing.byteorder)
    try:
        stored = stored if given is None else stored.of_sections(given)
    except (IndexError, TypeError):
        raise _unusable(given, f"there are {len(stored.records)} records") from None
    if len(stored.records) != contents.sections:
        if given is not None:
            raise _unusable(given, f"the data have {contents.sections} sections")
        return left_out(
            f"it has {len(stored.records)} records for {contents.sections} sections; "
            "extended_header=range(3, 10) keeps those of sections 3 to 9"
        )
    if byteorder not in (None, stored.byteorder):
        return left_out(
            f"its records have another byte order; byteorder='{stored.byteorder}' keeps it"
        )
    return stored


def _check_type(exttyp: str | None, raw: bytes | None) -> None:
    if exttyp is not None and not (raw and exttyp.isascii() and len(exttyp) <= 4):
        raise ArgumentError(
            f"exttyp={exttyp!r}",
            code="extended-header-type-invalid",
            argument="exttyp",
            cause="it names the type of an extended header in four ASCII characters",
            remedy="pass extended_header with it",
        )


def _unusable(given: object, cause: str) -> ArgumentError:
    return ArgumentError(
        f"extended_header={given!r}",
        code="extended-header-invalid",
        argument="extended_header",
        cause=cause,
        remedy="pass the bytes of an extended header, or one number for each section of the data: "
        "that of the section in the array that was read",
    )
