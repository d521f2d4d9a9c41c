"""Stored pixels to numbers: what a row's bytes mean in each mode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError
from mrcdist.format.header import Header
from mrcdist.format.modes import pixel_mode

Mode0 = Literal["int8", "uint8", "uint4"]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PixelFormat:
    """Storage of a pixel, and the number that it is decoded to."""

    stored: str  # numpy dtype of one stored item with its byte order, such as ">u2"
    items: int = 1  # stored ones a pixel: 2 for mode 3 (real, imaginary), 3 for mode 16 (R, G, B)
    packed: bool = False  # two pixels a byte, the first in the low nibble; a row begins on a byte
    # A wider dtype for the numbers, "" for that of the stored ones: the common one of several
    # files.
    widened: str = ""

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The numbers' dtype, always native-endian."""
        if self.widened:
            return np.dtype(self.widened).newbyteorder("=")
        # Mode 3's int16 components are exact in complex64's float32.
        return np.dtype("c8") if self.items == 2 else np.dtype(self.stored).newbyteorder("=")

    @property
    def components(self) -> tuple[int, ...]:
        """Axes that a pixel adds to the array: (3,) for RGB, else ()."""
        return (3,) if self.items == 3 else ()

    @property
    def plain(self) -> bool:
        """Whether the stored bytes are the numbers, so that they can be used in place."""
        return self.items != 2 and not self.packed and not self.widened

    def bytes_of(self, columns: int) -> int:
        """Bytes of that many pixels at the start of a row."""
        if self.packed:
            return (columns + 1) // 2
        return columns * self.items * np.dtype(self.stored).itemsize

    def byte_range(self, columns: range) -> tuple[int, int]:
        """First byte and the byte after the last, in a row, of an increasing range of columns."""
        if self.packed:
            return columns.start // 2, columns[-1] // 2 + 1
        return self.bytes_of(columns.start), self.bytes_of(columns[-1] + 1)

    def decode(self, raw: Bytes, columns: range) -> npt.NDArray[Any]:
        """Turn rows of stored bytes into numbers: shape (..., len(columns)) + components.

        `raw` are rows cut to `byte_range` of `columns`, which are increasing, at least one; its
        last axis is contiguous. The result is a view where the bytes can be used in place (then in
        the file's byte order), else a copy.
        """
        numbers = self._stored_numbers(raw, columns)
        return numbers.astype(self.dtype) if self.widened else numbers

    def _stored_numbers(self, raw: Bytes, columns: range) -> npt.NDArray[Any]:
        """Turn rows of stored bytes into numbers of the stored dtype."""
        if self.packed:
            pixels = np.empty((*raw.shape[:-1], 2 * raw.shape[-1]), np.uint8)
            np.bitwise_and(raw, 15, out=pixels[..., 0::2])
            np.right_shift(raw, 4, out=pixels[..., 1::2])
            skip = columns.start % 2
            return pixels[..., skip : skip + columns[-1] - columns.start + 1 : columns.step]
        stored = raw.view(self.stored)
        if self.items == 1:
            return stored[..., :: columns.step]
        pixels = stored.reshape(*stored.shape[:-1], -1, self.items)[..., :: columns.step, :]
        if self.items == 3:
            return pixels
        numbers = np.empty(pixels.shape[:-1], np.complex64)
        numbers.real, numbers.imag = pixels[..., 0], pixels[..., 1]
        return numbers


def pixel_format(
    header: Header, *, mode0: Mode0 | None = None, sidecar_unsigned: bool | None = None
) -> PixelFormat:
    """Choose the pixel format of a file.

    `mode0` is the caller's word on what mode 0's bytes hold; only IMOD's flag 16 comes before it.
    The sign of mode 0: the caller; else IMOD's stamp with its flag 1; else a Direct Electron
    sidecar; else IMOD's rule on DMIN and DMAX, where they are defined; else int8, as MRC2014 says.
    """
    if mode0 not in (None, "int8", "uint8", "uint4"):
        raise ArgumentError(
            f"mode0={mode0!r}",
            code="mode0-invalid",
            argument="mode0",
            cause="bytes of mode 0 are signed, unsigned, or two 4-bit pixels each",
            remedy='pass "int8", "uint8", "uint4" or None to detect it from the file',
        )
    mode = header.mode % 1000  # MRCZ
    packed = header.packing == "flag" or (mode0 or header.packing) in ("uint4", "label")
    if mode == 101 or (mode == 0 and packed):
        return PixelFormat("|u1", packed=True)
    if mode != 0:
        pixel = pixel_mode(mode)
        stored = np.dtype(pixel.dtype).newbyteorder(header.byteorder).str
        return PixelFormat(stored, items=pixel.items)
    if mode0 is None:
        signed = _signed_by_file(header, sidecar_unsigned)
        mode0 = "int8" if signed else "uint8"
    return PixelFormat("|i1" if mode0 == "int8" else "|u1")


def _signed_by_file(header: Header, sidecar_unsigned: bool | None) -> bool:
    if header.imod_flags is not None:
        return bool(header.imod_flags & 1)
    if sidecar_unsigned is not None:
        return not sidecar_unsigned
    if header.extremes is None:
        return True
    dmin, dmax = header.extremes
    return dmax < 128 or -dmin > dmax - 128
