"""Files that were compressed as a whole: known by their first bytes, whatever they are called."""

from __future__ import annotations

from typing import Literal

Compression = Literal["gzip", "bzip2", "xz", "zstd", "zip"]

STREAM_MARKS = {"gzip": b"\x1f\x8b", "bzip2": b"BZh"}
"""First bytes of a member; a file may contain several (RFC 1952, section 2.3.1)."""

# bzip2's block begins with the digits of pi; an empty stream has only the end mark.
_BZIP2_BLOCKS = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")
_MAGIC: dict[bytes, Compression] = {
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # an empty archive
}
_COMMANDS: dict[Compression, tuple[str, str]] = {
    "gzip": ("gzip -dk", ".gz"),
    "bzip2": ("bzip2 -dk", ".bz2"),
    "xz": ("xz -dk", ".xz"),
    "zstd": ("zstd -d", ".zst"),
    "zip": ("unzip", ".zip"),
}


def detect_compression(first_bytes: bytes) -> Compression | None:
    """Return how a file was compressed, as its first bytes say, 10 of them or all.

    gzip: RFC 1952, magic, method 8 (deflate) and flags without the reserved bits. bzip2: "BZh", the
    level and the first mark. xz: The .xz File Format, 2.1.1.1. zstd: RFC 8878, 3.1.1. zip: PKWARE's
    APPNOTE, 4.3.

    An MRC file begins with NX: each of these marks, read as NX in either byte order, is negative or
    more than 500,000 columns, so an MRC file is not taken for a compressed one.
    """
    if first_bytes[:3] == STREAM_MARKS["gzip"] + b"\x08" and first_bytes[3:4] < b"\x20":
        return "gzip"
    levelled = first_bytes[:3] == STREAM_MARKS["bzip2"] and first_bytes[3:4] in b"123456789"
    if levelled and first_bytes[4:10] in _BZIP2_BLOCKS:
        return "bzip2"
    for magic, kind in _MAGIC.items():
        if first_bytes.startswith(magic):
            return kind
    return None


def parallel_advice(kind: Compression, name: str = "") -> tuple[str, str]:
    """Return why such a file cannot be read in parallel, and a remedy, for an error or a warning.

    The command in it is that for the file's name, by default an example's.
    """
    command, suffix = _COMMANDS[kind]
    name = name or f"movie.mrc{suffix}"
    cause = (
        f"the whole file is compressed with {kind}: no part of it can be read without "
        "decompressing all that comes before, so the work cannot be shared among tasks"
    )
    remedy = (
        f"decompress it once for parallel reading, for example `{command} {name}`, and "
        "open the result; MRCZ keeps sections compressed and can be read in parallel"
    )
    return cause, remedy
