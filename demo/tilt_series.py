"""Tilt series with extended headers as written by the programs of FEI and SerialEM.

Layouts: for FEI, the EPU manual (offsets of the fields, bits of the masks that mark them as valid);
for SerialEM, IMOD's description of its MRC files.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcdist.testing.movie import movie_header, write_movie

__all__ = ["Microscope", "write_tilt_series"]

ExtendedHeaderType = Literal["FEI2", "SERI"]

_FEI_BYTES = 888
_FEI_MASKS = (8, 297, 490, 748)

# Tilt, stage, magnification, intensity and dose: one bit of NREAL each, seven shorts per section.
_SERIALEM_ITEMS = 1 + 4 + 8 + 16 + 32
_SERIALEM_BYTES = 14


@dataclass(frozen=True)
class Microscope:
    """Parameters in an extended header that are the same for all tilts.

    Parameters
    ----------
    name : str
        Name of the instrument; FEI only.
    high_tension : float
        In V; FEI only.
    magnification : float
    pixel_size : float
        In nm.
    dose : float
        In e⁻/Å² per tilt.
    stage : tuple of float
        (x, y, z) in µm; SerialEM has no z.
    dwell_time : float
        In s; FEI only.
    """

    name: str = "Simulated STEM"
    high_tension: float = 300e3
    magnification: float = 115e3
    pixel_size: float = 0.4
    dose: float = 60.0
    stage: tuple[float, float, float] = (120.0, -80.0, 4.0)
    dwell_time: float = 4e-6


def write_tilt_series(
    path: Path,
    angles: NDArray[np.float64],
    image: Callable[[int], NDArray[Any]],
    *,
    shape: tuple[int, int],
    kind: ExtendedHeaderType = "FEI2",
    microscope: Microscope | None = None,
) -> None:
    """Write a tilt series, one image at a time.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    angles : ndarray, shape (n,)
        Tilt angles in degrees; SerialEM stores multiples of 0.01.
    image : callable
        Called with the index of an image; returns an integer array of `shape`.
    shape : tuple of int
        (y, x) in pixels.
    kind : {"FEI2", "SERI"}, default "FEI2"
        Extended header of Thermo Fisher (FEI), with uint16 pixels, or of SerialEM, with int16.
    microscope : Microscope, optional
        Other parameters in the header.

    Raises
    ------
    ArgumentError
        An image has another shape, or values that the pixel type cannot represent.
    """
    microscope = microscope or Microscope()
    dtype, record, words = _KINDS[kind]
    extended = b"".join(record(float(angle), microscope) for angle in angles)
    ny, nx = shape
    # The header of a movie, changed to a stack of images with square pixels.
    header = bytearray(movie_header(len(angles), shape, dtype))
    cell = [10 * microscope.pixel_size * n for n in (nx, ny, len(angles))]  # Å
    struct.pack_into("<3f", header, 40, *cell)
    struct.pack_into("<3f", header, 76, 0, -1, -2)  # maximum below minimum: undetermined
    struct.pack_into("<2i", header, 88, 0, len(extended))
    struct.pack_into("<4s", header, 104, kind.encode())
    struct.pack_into("<2h", header, 128, *words)  # NINT and NREAL
    write_movie(
        path,
        map(image, range(len(angles))),
        count=len(angles),
        frame_shape=shape,
        dtype=dtype,
        start=bytes(header) + extended,
        argument="image",
    )


def _fei_record(angle: float, microscope: Microscope) -> bytes:
    x, y, z = (1e-6 * part for part in microscope.stage)  # m
    size = 1e-9 * microscope.pixel_size  # m
    # Offset, format, number of the mask, bit of the mask, value.
    fields: tuple[tuple[int, str, int, int, float | bytes], ...] = (
        (20, "16s", 0, 1, microscope.name.encode("ascii")[:16]),
        (52, "16s", 0, 3, b"Tomography"),  # application
        (84, "d", 0, 5, microscope.high_tension),  # V
        (92, "d", 0, 6, 1e20 * microscope.dose),  # e⁻/m²
        (100, "d", 0, 7, angle),  # alpha tilt, degrees
        (116, "d", 0, 9, x),
        (124, "d", 0, 10, y),
        (132, "d", 0, 11, z),
        (156, "d", 0, 14, size),
        (164, "d", 0, 15, size),
        (244, "i", 0, 25, 2),  # instrument mode: STEM
        (289, "d", 0, 31, microscope.magnification),
        (519, "16s", 2, 7, b"HAADF"),  # STEM detector
        (571, "d", 2, 15, microscope.dwell_time),  # s
    )
    record = bytearray(_FEI_BYTES)
    struct.pack_into("<2i", record, 0, _FEI_BYTES, 2)
    masks = [0, 0, 0, 0]
    for offset, format, mask, bit, value in fields:
        struct.pack_into(f"<{format}", record, offset, value)
        masks[mask] |= 1 << bit
    for offset, mask in zip(_FEI_MASKS, masks, strict=True):
        struct.pack_into("<I", record, offset, mask)
    return bytes(record)


def _serialem_record(angle: float, microscope: Microscope) -> bytes:
    x, y, _ = microscope.stage
    return struct.pack(
        "<7h",
        round(100 * angle),
        round(25 * x),
        round(25 * y),
        round(microscope.magnification / 100),
        round(25000 * 0.5),  # intensity: lens current as a fraction
        *_serialem_float(microscope.dose),
    )


def _serialem_float(value: float) -> tuple[int, int]:
    """Return the two shorts that encode a positive number in SerialEM's header.

    With value = m 2^e and a 23-bit mantissa m, the first short is m div 256; the second has the
    sign of e and the magnitude 256 |e| + m mod 256 (IMOD's description of its MRC files).
    """
    exponent = math.frexp(value)[1] - 23
    mantissa = min(round(math.ldexp(value, -exponent)), 2**23 - 1)
    second = 256 * abs(exponent) + mantissa % 256
    return mantissa // 256, -second if exponent < 0 else second


# Pixel type, function that packs a record, and the words NINT and NREAL.
_KINDS = {
    "FEI2": ("uint16", _fei_record, (0, 0)),
    "SERI": ("int16", _serialem_record, (_SERIALEM_BYTES, _SERIALEM_ITEMS)),
}
