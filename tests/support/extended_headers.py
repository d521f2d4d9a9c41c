"""What the conformance tests of extended headers share."""

from dataclasses import replace

from mrcdist.format.extended.registry import (
    bytes_needed,
    decode_extended,
    extended_kind,
    extended_metadata,
)
from mrcdist.format.header import parse_header
from tests.support.mrc_files import header_bytes

HEADER = parse_header(header_bytes(nx=1, ny=1, nz=1, mode=0), file_size=None)


def identify(*, exttyp, nsymbt, n_sections, nint, nreal):
    """The kind that a main header with these words announces."""
    words = {"exttyp": exttyp, "nsymbt": nsymbt, "nz": n_sections, "nint": nint, "nreal": nreal}
    return extended_kind(replace(HEADER, **words))


def decode(exttyp, raw, n_sections, *, order="<", nint=0, nreal=0):
    """What the planner does: identify, ask which bytes, decode them."""
    kind = identify(exttyp=exttyp, nsymbt=len(raw), n_sections=n_sections, nint=nint, nreal=nreal)
    stop = bytes_needed(kind, n_sections=n_sections, first_bytes=raw[: min(4, len(raw))])
    return decode_extended(kind, raw[:stop], byteorder=order, n_sections=n_sections)


def tem(header):
    """The microscope's part of the metadata."""
    return extended_metadata(header).get("Acquisition_instrument", {}).get("TEM", {})
