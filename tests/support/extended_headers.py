"""Helpers for tests of extended headers."""

from dataclasses import replace

from mrcdist.format.extended.registry import (
    bytes_needed,
    decode_extended,
    extended_metadata,
    possible_decoders,
)
from mrcdist.format.header import parse_header
from tests.support.mrc_files import header_bytes

HEADER = parse_header(header_bytes(nx=1, ny=1, nz=1, mode=0), file_size=None)


def identify(exttyp, nsymbt, n_sections, nint=0, nreal=0, *, order="<"):
    """Return the possible decoders for a main header with these values."""
    words = {"exttyp": exttyp, "nsymbt": nsymbt, "nz": n_sections, "nint": nint, "nreal": nreal}
    return possible_decoders(replace(HEADER, byteorder=order, **words))


def decode(exttyp, raw, n_sections, *, order="<", nint=0, nreal=0):
    """Decode only the bytes needed of an extended header, as the planner does."""
    decoders = identify(exttyp, len(raw), n_sections, nint, nreal, order=order)
    return decode_extended(decoders, raw[: bytes_needed(decoders, raw[:4])])


def tem(header):
    """Return the metadata of the microscope."""
    return extended_metadata(header).get("Acquisition_instrument", {}).get("TEM", {})
