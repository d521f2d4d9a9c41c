"""Errors about the first bytes of a file that is no MRC file, with what was found there."""

from __future__ import annotations

from mrcdist.errors import FormatError
from mrcdist.format.modes import KNOWN_MODES, MRCZ_MODES

__all__ = ["found", "require_shape"]


def require_shape(
    raw: bytes, nx: int, ny: int, nz: int, mode: int, nsymbt: int, *, has_map: bool
) -> None:
    """Raise `FormatError` if a file of these sizes or this mode cannot be read."""
    if nx <= 0 or ny <= 0 or nz < 0 or nsymbt < 0:
        named = f"NX, NY, NZ = {nx}, {ny}, {nz} and NSYMBT = {nsymbt}"
        raise FormatError(
            f"not an MRC file that can be read: {named}; {found(raw)}",
            code="header-sizes-invalid",
            cause="sizes must be positive; this is another kind of file, or its header was "
            "overwritten",
            remedy="check the path; if the file is an MRC file, restore its header from a copy",
        )
    if mode in KNOWN_MODES or mode in MRCZ_MODES:
        return
    if not has_map:
        raise FormatError(
            f"not an MRC file: no word MAP at byte 208 and MODE = {mode}; {found(raw)}",
            code="not-mrc",
            cause="this is another kind of file",
            remedy="check the path",
        )
    known = ", ".join(f"{number} ({what})" for number, what in KNOWN_MODES.items())
    raise FormatError(
        f"MODE = {mode} is not a known mode; {found(raw)}",
        code="mode-unknown",
        cause="the program that wrote the file uses a non-standard mode, or the header is damaged",
        remedy=f"the known modes are {known}",
    )


def found(raw: bytes) -> str:
    """The bytes that were found, for error messages."""
    if not raw:
        return "the file is empty"
    start = raw[:16]
    shown = f"it begins with {start.hex(' ')} ({start!r})"
    return f"{shown}; bytes 208-215 are {raw[208:216]!r}" if len(raw) >= 216 else shown
