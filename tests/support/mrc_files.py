"""MRC files written byte by byte with struct, independently of the package."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

MODES = {"int8": 0, "int16": 1, "float32": 2, "complex64": 4, "uint16": 6, "float16": 12}


def header_bytes(
    *,
    nx: int,
    ny: int,
    nz: int,
    mode: int,
    byteorder: str = "<",
    start: tuple[int, int, int] = (0, 0, 0),
    intervals: tuple[int, int, int] | None = None,
    cell: tuple[float, float, float] = (0.0, 0.0, 0.0),
    mapcrs: tuple[int, int, int] = (1, 2, 3),
    statistics: tuple[float, float, float, float] = (0.0, -1.0, -2.0, -1.0),
    ispg: int = 0,
    nsymbt: int = 0,
    exttyp: bytes = b"",
    nversion: int = 20140,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    map_word: bytes = b"MAP ",
    stamp: bytes | None = None,
    labels: tuple[bytes, ...] = (),
    imod_flags: int | None = None,
    nint: int = 0,
    nreal: int = 0,
) -> bytes:
    """Return the 1024 bytes of a main header."""
    o = byteorder
    raw = bytearray(1024)
    struct.pack_into(o + "10i", raw, 0, nx, ny, nz, mode, *start, *(intervals or (nx, ny, nz)))
    struct.pack_into(o + "6f", raw, 40, *cell, 90.0, 90.0, 90.0)
    struct.pack_into(o + "3i", raw, 64, *mapcrs)
    struct.pack_into(o + "3f", raw, 76, *statistics[:3])
    struct.pack_into(o + "2i", raw, 88, ispg, nsymbt)
    raw[104:108] = exttyp.ljust(4, b"\0")
    struct.pack_into(o + "i", raw, 108, nversion)
    struct.pack_into(o + "2h", raw, 128, nint, nreal)
    if imod_flags is not None:
        struct.pack_into(o + "2i", raw, 152, 1146047817, imod_flags)
    struct.pack_into(o + "3f", raw, 196, *origin)
    raw[208:212] = map_word.ljust(4, b"\0")
    raw[212:216] = (
        stamp if stamp is not None else (b"\x44\x44\0\0" if o == "<" else b"\x11\x11\0\0")
    ).ljust(4, b"\0")
    struct.pack_into(o + "f", raw, 216, statistics[3])
    struct.pack_into(o + "i", raw, 220, len(labels))
    for i, label in enumerate(labels):
        raw[224 + 80 * i : 304 + 80 * i] = label.ljust(80)
    return bytes(raw)


def mrc_bytes(data: np.ndarray, *, byteorder: str = "<", extended: bytes = b"", **header) -> bytes:
    """Return the bytes of a file with an array of shape (sections, rows, columns)."""
    nz, ny, nx = data.shape
    mode = header.pop("mode", None)
    mode = MODES[data.dtype.name] if mode is None else mode
    head = header_bytes(
        nx=nx, ny=ny, nz=nz, mode=mode, byteorder=byteorder, nsymbt=len(extended), **header
    )
    return head + extended + data.astype(data.dtype.newbyteorder(byteorder)).tobytes()


def write_mrc(path: Path, data: np.ndarray, **options) -> Path:
    """Write a file with an array of shape (sections, rows, columns)."""
    path.write_bytes(mrc_bytes(data, **options))
    return path


def counting(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return an array of small numbers, distinct as far as the dtype allows."""
    n = int(np.prod(shape))
    numbers = np.arange(n) % (100 if dtype == "int8" else 2000)
    if dtype == "complex64":
        return (numbers + 1j * (numbers[::-1] + 1)).astype(dtype).reshape(shape)
    return numbers.astype(dtype).reshape(shape)
