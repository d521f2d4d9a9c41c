"""Files that were compressed as a whole, detected by their first bytes."""

from __future__ import annotations

from typing import Literal

Compression = Literal["gzip", "bzip2", "xz", "zstd", "zip"]

STREAM_MARKS = {"gzip": b"\x1f\x8b", "bzip2": b"BZh"}
"""First bytes of a member; a file may contain several (RFC 1952, section 2.3.1)."""

MAX_LIKELY_RATIO = 1032
"""Maximum compression ratio of deflate; bzip2 exceeds it only if nearly all data are zeros."""

# A block of bzip2 begins with the digits of pi; an empty stream has only the end mark.
_BZIP2_BLOCKS = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")
_MAGIC: dict[bytes, Compression] = {
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # an empty archive
}
_COMMANDS: dict[Compression, str] = {
    "gzip": "gzip -dk",
    "bzip2": "bzip2 -dk",
    "xz": "xz -dk",
    "zstd": "zstd -d",
    "zip": "unzip",
}


def detect_compression(first_bytes: bytes) -> Compression | None:
    """Detect compression from the first 10 bytes of a file, or fewer if it is shorter.

    gzip: RFC 1952, magic, method 8 (deflate) and flags without the reserved bits. bzip2: "BZh", the
    level and the first mark. xz: The .xz File Format, 2.1.1.1. zstd: RFC 8878, 3.1.1. zip: PKWARE's
    APPNOTE, 4.3.

    An MRC file begins with NX. Each of these marks, read as NX in either byte order, is negative or
    more than 500,000 columns, so that no MRC file is mistaken for a compressed one.
    """
    if first_bytes[:3] == STREAM_MARKS["gzip"] + b"\x08" and first_bytes[3:4] < b"\x20":
        return "gzip"
    has_level = first_bytes[:3] == STREAM_MARKS["bzip2"] and first_bytes[3:4] in b"123456789"
    if has_level and first_bytes[4:10] in _BZIP2_BLOCKS:
        return "bzip2"
    return next((kind for mark, kind in _MAGIC.items() if first_bytes.startswith(mark)), None)


def parallel_advice(kind: Compression, name: str) -> tuple[str, str]:
    """Return why such a file cannot be read in parallel, and a remedy with the file's name."""
    cause = (
        f"the whole file is compressed with {kind}: no part of it can be read without "
        "decompressing everything before it, so the work cannot be shared among tasks"
    )
    remedy = (
        f"decompress it once for parallel reading, for example `{_COMMANDS[kind]} {name}`, and "
        "open the result; MRCZ compresses each section separately and can be read in parallel"
    )
    return cause, remedy
