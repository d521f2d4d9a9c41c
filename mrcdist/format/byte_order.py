"""The byte order of a file, inferred from its header, since machine stamps are often wrong."""

from __future__ import annotations

import struct
from typing import Literal

from mrcdist.errors import ArgumentError
from mrcdist.format.modes import KNOWN_MODES, MRCZ_MODES, pixel_bytes
from mrcdist.warning_notes import Note, Notes

ByteOrder = Literal["<", ">"]

STAMPS: dict[bytes, ByteOrder] = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}
ORDER_NAMES = {"<": "little-endian", ">": "big-endian"}

# 1 TiB per frame and 1 PiB per file, far more than any camera writes. With their bytes reversed,
# small numbers exceed these limits.
_MAX_FRAME_BYTES = 2**40
_MAX_DATA_BYTES = 2**50


def check_byte_order(argument: str, value: object) -> None:
    """Raise `ArgumentError` unless the value of an argument is a byte order or None."""
    if value not in (None, "<", ">"):
        raise ArgumentError(
            f"`{argument}={value!r}`",
            code="byte-order-invalid",
            argument=argument,
            cause="not a valid byte order",
            remedy='pass "<" (little-endian), ">" (big-endian) or None',
        )


def choose_order(
    raw: bytes, file_size: int | None, endianness: ByteOrder | None
) -> tuple[ByteOrder, Notes]:
    """Choose the byte order in which the header is more plausible.

    If both are equally plausible, the machine stamp decides; without one, `endianness`; without
    either, the order in which the header announces fewer pixels, since a small number becomes large
    if its bytes are reversed. Also returns notes about contradictions. `file_size` is None if
    unknown, as for compressed files.
    """
    little, big = (_score(raw, order, file_size) for order in ("<", ">"))
    # Headers from before 2000, without the word MAP, have a part of the origin there.
    stamp = STAMPS.get(raw[212:214])
    notes = Notes()
    order: ByteOrder
    if little != big:
        order = "<" if little > big else ">"
        if stamp is not None and stamp != order and raw[208:211] == b"MAP":
            text = (
                f"the machine stamp {raw[212:216].hex(' ')} says {ORDER_NAMES[stamp]}, but the "
                f"header is plausible only as {ORDER_NAMES[order]}: read as {ORDER_NAMES[order]}"
            )
            notes.add(Note("stamp-contradicted", text))
    else:
        smaller: ByteOrder = "<" if _n_pixels(raw, "<") <= _n_pixels(raw, ">") else ">"
        order = stamp or endianness or smaller
    if endianness is not None and endianness != order:
        text = f"`endianness={endianness!r}` was requested, but the file is {ORDER_NAMES[order]}"
        notes.add(Note("byte-order-overruled", f"{text}: read as {ORDER_NAMES[order]}"))
    return order, notes


def _score(raw: bytes, order: ByteOrder, file_size: int | None) -> int:
    """Count how many of the header's integers are plausible in this byte order."""
    nx, ny, nz, mode = struct.unpack(order + "4i", raw[:16])
    mapcrs = struct.unpack(order + "3i", raw[64:76])
    (nsymbt,) = struct.unpack(order + "i", raw[92:96])
    known = mode in KNOWN_MODES or mode in MRCZ_MODES
    score: int = sum(n > 0 for n in (nx, ny, nz))
    score += 2 * known
    score += all(0 <= axis <= 3 for axis in mapcrs)
    score += nsymbt >= 0 and (file_size is None or nsymbt <= file_size)
    if not known or nx <= 0 or ny <= 0 or nz < 0:
        return score
    frame = pixel_bytes(nx, ny, 1, mode)
    score += 2 * (frame <= _MAX_FRAME_BYTES and frame * nz <= _MAX_DATA_BYTES)
    # The sections of MRCZ are compressed.
    exact = nz > 0 and mode in KNOWN_MODES and file_size == 1024 + nsymbt + frame * nz
    return score + 2 * exact


def _n_pixels(raw: bytes, order: ByteOrder) -> int:
    nx, ny, nz = struct.unpack(order + "3i", raw[:12])
    return abs(int(nx) * int(ny)) * max(abs(int(nz)), 1)
