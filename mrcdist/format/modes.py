"""Pixel modes: the numbers of MODE, and how the pixels of each are stored.

After MRC2014 (https://www.ccpem.ac.uk/mrc_format/mrc2014.php), IMOD (16 and 101) and the mrcz
package (7, 8 and the numbers of compressed files).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = [
    "CODECS",
    "KNOWN_MODES",
    "MRCZ_MODES",
    "WRITABLE_MODES",
    "Mode",
    "pixel_bytes",
    "pixel_mode",
]


class Mode(NamedTuple):
    """Storage of the pixels of one mode.

    Attributes
    ----------
    description : str
    dtype : str
        numpy name of a stored item.
    items : int
        Stored items a pixel.
    """

    description: str
    dtype: str
    items: int = 1

    def __str__(self) -> str:
        return self.description


KNOWN_MODES = {
    0: Mode("int8 or uint8", "int8"),
    1: Mode("int16", "int16"),
    2: Mode("float32", "float32"),
    3: Mode("complex, two int16", "int16", items=2),
    4: Mode("complex64", "complex64"),
    6: Mode("uint16", "uint16"),
    12: Mode("float16", "float16"),
    16: Mode("RGB, three uint8", "uint8", items=3),
    101: Mode("unsigned 4-bit, packed", "uint8"),
}
_ALL_MODES = KNOWN_MODES | {7: Mode("int32", "int32"), 8: Mode("uint32", "uint32")}

CODECS = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
"""MRCZ's, by their numbers in MODE, which begin at 1: it writes 1000 * codec + mode."""

MRCZ_MODES = {
    1000 * codec + mode: pixels
    for codec in range(1, len(CODECS) + 1)
    for mode, pixels in _ALL_MODES.items()
}

WRITABLE_MODES = {KNOWN_MODES[mode].dtype: mode for mode in (0, 1, 2, 4, 6, 12)}
"""numpy dtype → mode, where every value fits and a pixel is one number."""


def pixel_mode(mode: int) -> Mode:
    """Look up a mode that is known, MRCZ's included."""
    return _ALL_MODES[mode % 1000]


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
    pixels = pixel_mode(mode)
    return nx * ny * nz * pixels.items * np.dtype(pixels.dtype).itemsize
