"""The stored bytes of a block, encoded piece by piece, so that it is never in memory twice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.encode import Storage, encode_pixels

WINDOW = 8 * 2**20
"""Bytes that are written at a time; see `window`."""

TEMPORARIES = 2**20
"""Bytes that encoding takes at most beside those that it returns."""

# Numbers that are encoded at a time: of each, the values that are compared take up to 16 bytes.
_NUMBERS = TEMPORARIES // 16


@dataclass(frozen=True)
class EncodedBlock:
    """Bytes of a block of shape (..., columns), of which the first is byte `start` of the file."""

    block: npt.NDArray[Any]
    storage: Storage
    byteorder: ByteOrder
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, as they are stored."""
        return math.prod(self.block.shape[:-1]) * self.storage.row_bytes(self.block.shape[-1])

    @property
    def copied(self) -> bool:
        """Whether bytes are encoded, or gathered, to memory beside the block's."""
        as_they_are = self.storage.is_of(self.block.dtype, self.byteorder)
        return not (as_they_are and self.block.flags.c_contiguous)

    def between(self, start: int, stop: int) -> memoryview:
        """Return a byte range of the file; the block's own memory where that is stored as it is.

        A value that does not fit is an `ArgumentError`.
        """
        # One by one; of packed pixels, the two of a byte, or rows, of which each begins on one.
        columns = self.block.shape[-1]
        unit = (columns if columns % 2 else 2) if self.storage.packed else 1
        size = self.storage.row_bytes(unit)
        first = (start - self.start) // size
        last = -(-(stop - self.start) // size)
        if not self.copied:
            raw = encode_pixels(self._units(first, last, unit), self.storage, self.byteorder)
        else:
            raw = np.empty((last - first, size), np.uint8)
            step = max(1, _NUMBERS // unit)
            for at in range(first, last, step):
                some = self._units(at, min(at + step, last), unit)
                part = raw[at - first : at - first + len(some)]
                part[:] = encode_pixels(some, self.storage, self.byteorder)
        begin = self.start + first * size
        return raw.reshape(-1)[start - begin : stop - begin].data

    def _units(self, first: int, last: int, unit: int) -> npt.NDArray[Any]:
        """So many numbers each, of all frames in turn; a copy if memory has another order."""
        return in_order(self.block, first * unit, last * unit).reshape(-1, unit)


def in_order(numbers: npt.NDArray[Any], start: int, stop: int) -> npt.NDArray[Any]:
    """Return some numbers of an array in C order, without a copy of the whole array."""
    if numbers.flags.c_contiguous:
        return numbers.reshape(-1)[start:stop]
    return np.asarray(numbers.flat[start:stop])


def window(block: int) -> int:
    """Return how many bytes are written at a time.

    That is a quarter of a block, by its bytes in memory, if they are encoded beside it; `block` is
    0 for the block's own memory.
    """
    return max(min(WINDOW, block // 4), TEMPORARIES) if block else WINDOW


def windows(start: int, stop: int, step: int = WINDOW) -> Iterator[tuple[int, int]]:
    """Yield byte ranges that are small enough to be encoded and written one after the other."""
    for at in range(start, stop, step):
        yield at, min(at + step, stop)
