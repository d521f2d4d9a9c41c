"""Pixel modes: the numbers of MODE, and the bytes that pixels of each take."""

from __future__ import annotations

__all__ = ["KNOWN_MODES", "MRCZ_MODES", "pixel_bytes"]

KNOWN_MODES = {
    0: "int8 or uint8",
    1: "int16",
    2: "float32",
    3: "complex, two int16",
    4: "complex64",
    6: "uint16",
    12: "float16",
    16: "RGB, three uint8",
    101: "unsigned 4-bit, packed",
}
# MRCZ writes 1000 * codec + mode, codecs 1 (blosclz) to 6 (zstd), and has modes 7 (int32) and 8
# (uint32) of its own.
MRCZ_MODES = {1000 * codec + mode for codec in range(1, 7) for mode in (*KNOWN_MODES, 7, 8)}

_BYTES = {0: 1, 1: 2, 2: 4, 3: 4, 4: 8, 6: 2, 7: 4, 8: 4, 12: 2, 16: 3}


def pixel_bytes(nx: int, ny: int, nz: int, mode: int) -> int:
    """Count the bytes that pixels take, uncompressed.

    Parameters
    ----------
    nx, ny, nz : int
        Columns, rows and sections, as the header has them.
    mode : int
        A mode that is known, MRCZ's included.
    """
    if mode % 1000 == 101:  # each row is padded to whole bytes
        return (nx + 1) // 2 * ny * nz
    return nx * ny * nz * _BYTES[mode % 1000]
