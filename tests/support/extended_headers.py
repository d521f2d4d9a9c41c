"""What the conformance tests of extended headers share."""

from mrcdist.format.extended.registry import (
    bytes_needed,
    decode_extended,
    extended_metadata,
    identify_extended,
)


def decode(exttyp, raw, n_sections, *, order="<", nint=0, nreal=0):
    """What the planner does: identify, ask which bytes, decode them."""
    kind = identify_extended(
        exttyp=exttyp, nsymbt=len(raw), n_sections=n_sections, nint=nint, nreal=nreal
    )
    stop = bytes_needed(kind, n_sections=n_sections, first_bytes=raw[: min(4, len(raw))])
    return decode_extended(kind, raw[:stop], byteorder=order, n_sections=n_sections)


def tem(header):
    """The microscope's part of the metadata."""
    return extended_metadata(header).get("Acquisition_instrument", {}).get("TEM", {})
