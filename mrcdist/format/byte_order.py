"""The byte order of a file: what its header makes of each, since stamps are often wrong."""

from __future__ import annotations

import struct
from typing import Literal

from mrcdist.errors import ArgumentError
from mrcdist.format.modes import KNOWN_MODES, MRCZ_MODES, pixel_bytes
from mrcdist.warning_notes import Note

ByteOrder = Literal["<", ">"]

STAMPS: dict[bytes, ByteOrder] = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}
ORDER_NAMES = {"<": "little-endian", ">": "big-endian"}

# No camera and no acquisition comes near: 1 TiB a frame, 1 PiB a file. Small numbers whose bytes
# are reversed are beyond.
_MAX_FRAME_BYTES = 2**40
_MAX_DATA_BYTES = 2**50


def check_byte_order(argument: str, value: object) -> None:
    """Raise an `ArgumentError` if the value of an argument is neither a byte order nor None."""
    if value not in (None, "<", ">"):
        raise ArgumentError(
            f"{argument}={value!r}",
            code="byte-order-invalid",
            argument=argument,
            cause="not a valid byte order",
            remedy='pass "<" (little-endian), ">" (big-endian) or None',
        )


def choose_order(
    raw: bytes, file_size: int | None, caller: ByteOrder | None
) -> tuple[ByteOrder, list[str]]:
    """Score both orders by what they make of the header; the stamp, then the caller, break ties.

    Where they say nothing either, the order that announces fewer bytes is taken: the reversed bytes
    of small numbers are large ones. What contradicts the order is noted. `file_size` is None where
    it is unknown, as behind a decompressor.
    """
    little, big = (_score(raw, order, file_size) for order in ("<", ">"))
    # Without the word MAP, an old header, the stamp's place holds a part of the origin.
    stamp = STAMPS.get(raw[212:214])
    notes: list[str] = []
    order: ByteOrder
    if little != big:
        order = "<" if little > big else ">"
        if stamp is not None and stamp != order and raw[208:211] == b"MAP":
            notes.append(
                Note(
                    "stamp-contradicted",
                    f"the machine stamp {raw[212:216].hex(' ')} says {ORDER_NAMES[stamp]}, "
                    f"the header's numbers make sense only as {ORDER_NAMES[order]}: read as that",
                )
            )
    else:
        smaller: ByteOrder = "<" if _announced(raw, "<") <= _announced(raw, ">") else ">"
        order = stamp or caller or smaller
    if caller is not None and caller != order:
        notes.append(
            Note(
                "byte-order-overruled",
                f"endianness={caller!r} was requested, but the file is {ORDER_NAMES[order]}: "
                "read as that",
            )
        )
    return order, notes


def _score(raw: bytes, order: ByteOrder, file_size: int | None) -> int:
    """Count what of the header's integers is plausible in this byte order."""
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


def _announced(raw: bytes, order: ByteOrder) -> int:
    nx, ny, nz = struct.unpack(order + "3i", raw[:12])
    return abs(int(nx) * int(ny)) * max(abs(int(nz)), 1)
