"""The bytes of tilt series as FEI's and SerialEM's programs write them, extended header included.

Layouts: FEI's after the EPU manual (offsets of the fields, bits of the masks that mark them as
valid), SerialEM's after IMOD's description of its MRC files.
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

from mrcdist.errors import ArgumentError

__all__ = ["Microscope", "write_tilt_series"]

Kind = Literal["FEI2", "SERI"]

_MODES = {"int16": 1, "uint16": 6}

_FEI_BYTES = 888
_FEI_MASKS = (8, 297, 490, 748)
# Offset, format, number of the mask and bit in it.
_FEI_FIELDS = {
    "microscope": (20, "16s", 0, 1),
    "application": (52, "16s", 0, 3),
    "high_tension": (84, "d", 0, 5),  # V
    "dose": (92, "d", 0, 6),  # e⁻/m²
    "alpha_tilt": (100, "d", 0, 7),  # degrees
    "stage_x": (116, "d", 0, 9),  # m
    "stage_y": (124, "d", 0, 10),
    "stage_z": (132, "d", 0, 11),
    "pixel_size_x": (156, "d", 0, 14),  # m
    "pixel_size_y": (164, "d", 0, 15),
    "instrument_mode": (244, "i", 0, 25),  # 2: STEM
    "magnification": (289, "d", 0, 31),
    "stem_detector": (519, "16s", 2, 7),
    "dwell_time": (571, "d", 2, 15),  # s
}

# Tilt, stage, magnification, intensity and dose: a bit each of NREAL, seven shorts a section.
_SERIALEM_ITEMS = 1 + 4 + 8 + 16 + 32
_SERIALEM_BYTES = 14


@dataclass(frozen=True)
class Microscope:
    """What an extended header tells of every tilt alike.

    Parameters
    ----------
    name : str
        Of the instrument; FEI only.
    high_tension : float
        V; FEI only.
    magnification : float
    pixel_size : float
        nm.
    dose : float
        e⁻/Å² for each tilt.
    stage : tuple of float
        x, y and z in µm; SerialEM has no z.
    dwell_time : float
        s; FEI only.
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
    kind: Kind = "FEI2",
    microscope: Microscope | None = None,
) -> None:
    """Write a tilt series, one image at a time.

    Parameters
    ----------
    path : Path
        Replaced if it is there.
    angles : ndarray, shape (n,)
        Tilts in degrees. SerialEM's header keeps hundredths.
    image : callable
        From an image's index to an integer array of `shape`.
    shape : tuple of int
        (y, x) in pixels.
    kind : {"FEI2", "SERI"}, default "FEI2"
        Whose extended header: Thermo Fisher's, with uint16 pixels; or SerialEM's, with int16.
    microscope : Microscope, optional
        What the header tells besides the tilts.

    Raises
    ------
    ArgumentError
        An image has another shape, or values that the pixels do not hold.
    """
    microscope = microscope or Microscope()
    dtype = "uint16" if kind == "FEI2" else "int16"
    record = _fei_record if kind == "FEI2" else _serialem_record
    extended = b"".join(record(float(angle), microscope) for angle in angles)
    with path.open("wb") as file:
        file.write(_main_header(len(angles), shape, kind, len(extended), microscope))
        file.write(extended)
        for index in range(len(angles)):
            pixels = np.asarray(image(index))
            if pixels.shape != shape or not np.array_equal(pixels, stored := pixels.astype(dtype)):
                raise ArgumentError(
                    f"image {index} is {pixels.dtype} of shape {pixels.shape}",
                    code="demo-invalid",
                    cause=f"the file's images are {dtype} of shape {shape}, value for value",
                    remedy="make images of that shape, with values that fit",
                )
            file.write(stored.astype(f"<{stored.dtype.str[1:]}").tobytes())


def _main_header(
    count: int, shape: tuple[int, int], kind: Kind, extended: int, microscope: Microscope
) -> bytes:
    """Lay out MRC2014's 1024 bytes, little endian: an image stack of square pixels."""
    header = bytearray(1024)
    ny, nx = shape
    angstrom = 10 * microscope.pixel_size
    struct.pack_into(
        "<4i", header, 0, nx, ny, count, _MODES["uint16" if kind == "FEI2" else "int16"]
    )
    struct.pack_into("<3i", header, 28, nx, ny, count)
    struct.pack_into("<6f", header, 40, nx * angstrom, ny * angstrom, count * angstrom, 90, 90, 90)
    struct.pack_into("<3i", header, 64, 1, 2, 3)
    struct.pack_into("<3f", header, 76, 0, -1, -2)  # maximum below minimum: not known
    struct.pack_into("<2i", header, 88, 0, extended)
    struct.pack_into("<4s", header, 104, kind.encode())
    struct.pack_into("<i", header, 108, 20140)
    if kind == "SERI":
        struct.pack_into("<2h", header, 128, _SERIALEM_BYTES, _SERIALEM_ITEMS)
    struct.pack_into("<4s2s", header, 208, b"MAP ", b"DD")
    struct.pack_into("<f", header, 216, -1.0)  # rms: not known
    return bytes(header)


def _fei_record(angle: float, microscope: Microscope) -> bytes:
    x, y, z = (1e-6 * part for part in microscope.stage)
    size = 1e-9 * microscope.pixel_size
    values: dict[str, float | bytes] = {
        "microscope": microscope.name.encode("ascii")[:16],
        "application": b"Tomography",
        "high_tension": microscope.high_tension,
        "dose": 1e20 * microscope.dose,
        "alpha_tilt": angle,
        "stage_x": x,
        "stage_y": y,
        "stage_z": z,
        "pixel_size_x": size,
        "pixel_size_y": size,
        "instrument_mode": 2,
        "magnification": microscope.magnification,
        "stem_detector": b"HAADF",
        "dwell_time": microscope.dwell_time,
    }
    record = bytearray(_FEI_BYTES)
    struct.pack_into("<2i", record, 0, _FEI_BYTES, 2)
    masks = [0, 0, 0, 0]
    for name, value in values.items():
        offset, layout, mask, bit = _FEI_FIELDS[name]
        struct.pack_into("<" + layout, record, offset, value)
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
        round(25000 * 0.5),  # intensity: the lens' current as a share
        *_serialem_float(microscope.dose),
    )


def _serialem_float(value: float) -> tuple[int, int]:
    """Split a positive number into SerialEM's two shorts.

    With a mantissa m of 23 bits, value = m 2^e: the first short is m div 256, the second has the
    sign of e and the magnitude 256 |e| + m mod 256.
    """
    exponent = math.frexp(value)[1] - 23
    mantissa = min(round(math.ldexp(value, -exponent)), 2**23 - 1)
    second = 256 * abs(exponent) + mantissa % 256
    return mantissa // 256, -second if exponent < 0 else second
