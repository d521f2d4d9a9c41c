"""Checks of the extended header: presence and size (NSYMBT), type, and number of records."""

from __future__ import annotations

from collections.abc import Iterator

from mrcdist.format.extended.registry import decoder_named, extended_kind
from mrcdist.format.header import HEADER_BYTES, MRC2014_EXTENDED, Header
from mrcdist.validate.findings import Facts, Outcome

__all__ = ["check_extended_header"]


def check_extended_header(facts: Facts) -> Iterator[Outcome]:
    """Check NSYMBT, EXTTYP and the space for records."""
    (nsymbt,) = facts.ints("nsymbt")
    exttyp = facts.raw[104:108]
    found = f"NSYMBT = {nsymbt}"
    if nsymbt == 0:
        if facts.header is not None and facts.header.nsymbt > 0:
            yield (
                "error",
                f"{found}, but there is an extended header of {facts.header.nsymbt} bytes, "
                f"type {facts.header.exttyp}",
                "programs that trust NSYMBT read shifted data",
                f"write NSYMBT = {facts.header.nsymbt}",
            )
        else:
            yield ("ok", "none")
        return
    absent = facts.header is not None and facts.header.nsymbt == 0
    beyond = facts.file_size is not None and HEADER_BYTES + nsymbt > facts.file_size
    if nsymbt < 0 or (beyond and not absent):
        yield (
            "error",
            found if nsymbt < 0 else f"{found} bytes in a file of {facts.file_size} bytes",
            "the data begin after the extended header, at an unknown position",
            "restore the header from a copy; write NSYMBT = 0 if the data begin at byte 1024",
        )
        return
    if facts.doubt is not None:
        yield ("error", facts.doubt.problem, facts.doubt.cause, facts.doubt.remedy)
        return
    if absent:
        yield (
            "error",
            f"{found}, but main header and data fill the file: there is no extended header",
            "programs that trust NSYMBT read shifted data or miss the end",
            "write NSYMBT = 0",
        )
        return
    if exttyp not in MRC2014_EXTENDED:
        named = f"{exttyp!r}" if exttyp.strip(b"\0 ") else "empty"
        yield (
            "error",
            f"{found} bytes, EXTTYP is {named}",
            "the format of the extended header is unknown",
            f"write its type: {', '.join(known.decode() for known in MRC2014_EXTENDED)}",
        )
    else:
        yield ("ok", f"{found} bytes, {exttyp.decode()}")
    if facts.header is not None:
        yield from _records(facts.header, facts.extended_start)


def _records(header: Header, extended_start: bytes) -> Iterator[Outcome]:
    """Compare the space for records with the number of sections."""
    kind = extended_kind(header)
    if kind is None:
        return
    size = decoder_named(kind.name).record_bytes(kind, extended_start)  # 0 for text
    needed = size * header.nz
    if needed > header.nsymbt:
        yield (
            "warning",
            f"records of {size} bytes for {header.nz} sections need {needed} bytes, "
            f"there are {header.nsymbt}",
            "the last sections have no record: their tilt, exposure and so on are unknown",
            "write the extended header again from the source",
        )
