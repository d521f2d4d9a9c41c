"""Decoding of stored pixels to numbers."""

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
    """Storage of a pixel, and the dtype to which it is decoded."""

    stored: str  # numpy dtype of one stored item with its byte order, such as ">u2"
    items: int = 1  # per pixel: 2 for mode 3 (real, imaginary), 3 for mode 16 (R, G, B)
    packed: bool = False  # two pixels per byte, the first in the low nibble; rows begin on a byte
    # A wider dtype for the numbers, which several files have in common; "" for the stored one.
    widened: str = ""

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the numbers, always native-endian."""
        if self.widened:
            return np.dtype(self.widened).newbyteorder("=")
        # Mode 3's int16 components are exact in complex64's float32.
        return np.dtype("c8") if self.items == 2 else np.dtype(self.stored).newbyteorder("=")

    @property
    def components(self) -> tuple[int, ...]:
        """Shape of a pixel: (3,) for RGB, else ()."""
        return (3,) if self.items == 3 else ()

    @property
    def plain(self) -> bool:
        """Whether the stored bytes can be used as numbers in place."""
        return self.items != 2 and not self.packed and not self.widened

    def bytes_of(self, columns: int) -> int:
        """Return the size of this many pixels at the start of a row."""
        if self.packed:
            return (columns + 1) // 2
        return columns * self.items * np.dtype(self.stored).itemsize

    def byte_range(self, columns: range) -> tuple[int, int]:
        """Return start and stop, in the bytes of a row, of an increasing range of columns."""
        if self.packed:
            return columns.start // 2, columns[-1] // 2 + 1
        return self.bytes_of(columns.start), self.bytes_of(columns[-1] + 1)

    def decode(self, raw: Bytes, columns: range) -> npt.NDArray[Any]:
        """Decode rows of stored bytes to numbers of shape (..., len(columns)) + components.

        `raw` contains rows cut to `byte_range` of `columns`, at least one, which are increasing;
        its last axis is contiguous. The result is a view with the file's byte order if the bytes
        can be used in place, else a copy.
        """
        numbers = self._stored_numbers(raw, columns)
        return numbers.astype(self.dtype) if self.widened else numbers

    def _stored_numbers(self, raw: Bytes, columns: range) -> npt.NDArray[Any]:
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

    `mode0` sets the content of the bytes of mode 0, unless IMOD's flag 16 says that they are
    packed. Otherwise their sign is determined by IMOD's stamp with its flag 1, or else by a Direct
    Electron sidecar, or else by IMOD's rule for DMIN and DMAX if they are defined; the default is
    int8, as in MRC2014.
    """
    if mode0 not in (None, "int8", "uint8", "uint4"):
        raise ArgumentError(
            f"`mode0={mode0!r}`",
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
    signed = _is_signed(header, sidecar_unsigned) if mode0 is None else mode0 == "int8"
    return PixelFormat("|i1" if signed else "|u1")


def _is_signed(header: Header, sidecar_unsigned: bool | None) -> bool:
    if header.imod_flags is not None:
        return bool(header.imod_flags & 1)
    if sidecar_unsigned is not None:
        return not sidecar_unsigned
    if header.extremes is None:
        return True
    dmin, dmax = header.extremes
    return dmax < 128 or -dmin > dmax - 128
