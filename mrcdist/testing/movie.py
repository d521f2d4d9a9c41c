"""Direct Electron MRC files, and frames that encode their index.

The header is that of the camera's server, including its peculiarities: a volume space group,
negative cell lengths, statistics marked as undefined.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcdist.errors import ArgumentError
from mrcdist.format.byte_order import ByteOrder

__all__ = [
    "MODES",
    "frame_index",
    "indexed_frame",
    "invalid",
    "movie_header",
    "write_movie",
]

MODES = {
    "int8": 0,
    "uint8": 0,  # distinguished from int8 by the sidecar, not the header
    "int16": 1,
    "float32": 2,
    "complex64": 4,
    "uint16": 6,
    "float16": 12,
}
"""Pixel types that can be written, and their MRC modes (MRC2014)."""

_DIGITS, _BASE, _MODULUS = 4, 100, 97  # numbers below 100 are exact in every mode


def indexed_frame(index: int, frame_shape: tuple[int, int], dtype: str = "uint16") -> NDArray[Any]:
    """Return a frame that encodes its index.

    The first four pixels are the base-100 digits of the index, least significant first; pixel p of
    the others is (index + p) mod 97, so that shifted, cropped and transposed frames differ too. All
    values are below 100 and therefore exact in every pixel type.

    Parameters
    ----------
    index : int
        0 or more.
    frame_shape : tuple of int
        (ky, kx) in pixels.
    dtype : str, default "uint16"
        dtype of the result.

    Returns
    -------
    ndarray, shape (ky, kx)
        Native byte order.

    Raises
    ------
    ArgumentError
        The frame has too few pixels for the index.
    """
    pixels = frame_shape[0] * frame_shape[1]
    digits = min(_DIGITS, pixels)
    if not 0 <= index < _BASE**digits:
        raise invalid(
            "index",
            f"frame index {index} does not fit into {digits} pixels",
            f"a pixel holds two decimal digits, at most {_DIGITS} pixels are used",
            "use larger frames or fewer of them",
        )
    values = (index + np.arange(pixels)) % _MODULUS
    values[:digits] = [index // _BASE**power % _BASE for power in range(digits)]
    return values.astype(dtype).reshape(frame_shape)


def frame_index(frame: NDArray[Any]) -> int:
    """Return the index of a frame made by `indexed_frame`.

    Parameters
    ----------
    frame : ndarray, shape (ky, kx)
        A whole frame of any pixel type and byte order.

    Returns
    -------
    int
        The index.
    """
    digits = frame.ravel()[:_DIGITS].real.astype(int)
    return sum(int(digit) * _BASE**power for power, digit in enumerate(digits))


def movie_header(
    frames: int, frame_shape: tuple[int, int], dtype: str = "uint16", byteorder: ByteOrder = "<"
) -> bytes:
    """Return a main header as written by the camera's server.

    Parameters
    ----------
    frames : int
        NZ.
    frame_shape : tuple of int
        (ky, kx) in pixels: NY, NX.
    dtype : str, default "uint16"
        One of `MODES`.
    byteorder : {"<", ">"}, default "<"
        Little or big endian; the camera writes little-endian files.

    Returns
    -------
    bytes
        1024 bytes, with the offsets of MRC2014 and values as in real files: ISPG 1 and MZ = NZ (one
        volume, although it is a stack), cell lengths of -10 Å per pixel and 0 along z, minimum
        above maximum and a negative RMS (undefined), NVERSION 20140, a stamp padded with zeros.
    """
    ny, nx = frame_shape
    header = bytearray(1024)

    def put(offset: int, format: str, *values: object) -> None:
        struct.pack_into(byteorder + format, header, offset, *values)

    put(0, "4i", nx, ny, frames, MODES[dtype])
    put(28, "3i", nx, ny, frames)
    put(40, "6f", -10.0 * nx, -10.0 * ny, 0.0, 90.0, 90.0, 90.0)
    put(64, "3i", 1, 2, 3)
    put(76, "3f", 2.0, 1.0, 0.0)
    put(88, "2i", 1, 0)
    put(108, "i", 20140)
    put(208, "4s", b"MAP ")
    put(212, "2s", b"DD" if byteorder == "<" else b"\x11\x11")
    put(216, "f", -1.0)
    return bytes(header)


def write_movie(
    path: Path,
    frames: Iterable[NDArray[Any]],
    *,
    count: int,
    frame_shape: tuple[int, int],
    dtype: str,
    byteorder: ByteOrder = "<",
    start: bytes = b"",
    argument: str = "frames",
) -> None:
    """Write a header and frames, one frame at a time; an existing file is replaced.

    Parameters
    ----------
    path : Path
    frames : iterable of ndarray, shape (ky, kx)
        In file order.
    count : int
        NZ in the header, regardless of the number of frames.
    frame_shape, dtype, byteorder
        As in `movie_header`.
    start : bytes, optional
        Bytes to write before the frames, instead of this header.
    argument : str, default "frames"
        Argument of the caller that makes the frames, for errors.

    Raises
    ------
    ArgumentError
        A frame has another shape, or values that `dtype` cannot represent.
    """
    with path.open("wb") as file:
        file.write(start or movie_header(count, frame_shape, dtype, byteorder))
        for position, frame in enumerate(frames):
            pixels = np.asarray(frame)
            with np.errstate(invalid="ignore", over="ignore"):  # detected by the comparison
                stored = pixels.astype(dtype)
            exact = pixels.dtype == stored.dtype or np.array_equal(pixels, stored)
            if pixels.shape != frame_shape or not exact:
                raise invalid(
                    argument,
                    f"frame {position} is {pixels.dtype} of shape {pixels.shape}",
                    f"frames have shape {frame_shape} and values that are exact in {dtype}",
                    "use frames of that shape and type",
                )
            file.write(stored.astype(stored.dtype.newbyteorder(byteorder)).tobytes())


def invalid(argument: str, problem: str, cause: str, remedy: str) -> ArgumentError:
    """Return the error for an argument that is invalid or contradicts others."""
    return ArgumentError(
        problem, code="demo-invalid", argument=argument, cause=cause, remedy=remedy
    )
