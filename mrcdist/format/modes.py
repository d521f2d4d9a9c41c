"""Pixel modes: the values of MODE, and how each stores its pixels.

From MRC2014 (https://www.ccpem.ac.uk/mrc_format/mrc2014.php), IMOD (16 and 101) and the mrcz
package (7, 8 and the numbers of compressed files).

SerialEM's plugin for Gatan cameras and IMOD store two 4-bit pixels per byte in mode 0; NX is then
half the number of columns. IMOD marks its files with flag 16. Frames from the camera have only a
label, which programs may copy to a file of whole bytes. So the size is checked, too: with NX
doubled, it must be that of a super-resolution frame. Sources: IMOD's description of its MRC files;
EMAN2, which accepts the label if NY is about 2 NX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from mrcdist.warning_notes import Note

Packing = Literal["flag", "label"]

PACKED_LABEL = "4 bits packed"
_FLAG_16 = 16
# Columns and rows of super-resolution frames of K2 and K3 cameras, in either orientation.
_FRAMES = ((7676, 7420), (7680, 7424), (11520, 8184))
_MAX_PIXELS_OFF = 2
_MAX_RATIO_OFF = 0.1


class Mode(NamedTuple):
    """Storage of pixels."""

    description: str
    dtype: str  # numpy name of a stored item
    items: int = 1  # stored items per pixel

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
"""MRCZ's compression, numbered from 1: MODE is 1000 * codec + mode."""

MRCZ_MODES = {
    1000 * codec + mode: pixels
    for codec in range(1, len(CODECS) + 1)
    for mode, pixels in _ALL_MODES.items()
}

WRITABLE_MODES = {KNOWN_MODES[mode].dtype: mode for mode in (0, 1, 2, 4, 6, 12)}
"""numpy dtype → mode that stores every value unchanged, one number per pixel."""


def pixel_mode(mode: int) -> Mode:
    """Look up a known mode, including MRCZ's."""
    return _ALL_MODES[mode % 1000]


def pixel_bytes(nx: int, ny: int, nz: int, mode: int) -> int:
    """Count the bytes of uncompressed pixels of a known mode, including MRCZ's."""
    if mode % 1000 == 101:  # each row is padded to whole bytes
        return (nx + 1) // 2 * ny * nz
    pixels = pixel_mode(mode)
    return nx * ny * nz * pixels.items * np.dtype(pixels.dtype).itemsize


def find_packing(
    nx: int, ny: int, mode: int, imod_flags: int | None, labels: Sequence[str]
) -> tuple[Packing | None, Note | None]:
    """Find evidence that mode 0 holds two pixels per byte, and note if it is doubtful.

    None means whole bytes. `imod_flags` is None without IMOD's stamp.
    """
    if mode != 0:
        return None, None
    if imod_flags is not None:  # IMOD sets the flag, and copies labels of earlier files
        return ("flag" if imod_flags & _FLAG_16 else None), None
    if not any(PACKED_LABEL in label for label in labels):
        return None, None
    if any(
        abs(nx - columns / 2) <= _MAX_PIXELS_OFF and abs(ny - rows) <= _MAX_PIXELS_OFF
        for frame in _FRAMES
        for columns, rows in (frame, frame[::-1])
    ):
        return "label", None
    evidence = f'a label says "{PACKED_LABEL}", and NX, NY = {nx}, {ny}'
    if abs(ny / nx - 2) <= _MAX_RATIO_OFF:
        return "label", Note(
            "packing-by-label",
            f"{evidence} is half a frame: read as two pixels per byte; "
            '`mode0="int8"` or `mode0="uint8"` reads whole bytes',
        )
    return None, Note(
        "packing-by-label",
        f"{evidence} is not half a frame of a Gatan camera: read as whole bytes; "
        '`mode0="uint4"` reads two pixels per byte',
    )
