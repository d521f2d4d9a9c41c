"""The stored bytes of a block, encoded piece by piece so that it is never held in memory twice."""

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
"""Largest number of bytes written at a time; see `window`."""

TEMPORARIES = 2**20
"""Upper bound on the memory of temporary arrays during encoding, in addition to the result."""

# Pixels encoded at a time: the temporaries for range checks take up to 16 bytes per pixel.
_PIXELS = TEMPORARIES // 16


@dataclass(frozen=True)
class EncodedBlock:
    """Encoded bytes of a block of shape (..., columns) that begins at byte `start` of the file."""

    block: npt.NDArray[Any]
    storage: Storage
    byteorder: ByteOrder
    start: int

    @property
    def nbytes(self) -> int:
        """Stored size in bytes."""
        return math.prod(self.block.shape[:-1]) * self.storage.row_bytes(self.block.shape[-1])

    @property
    def copied(self) -> bool:
        """Whether bytes are encoded or gathered to new memory, rather than taken from the block."""
        unchanged = self.storage.is_of(self.block.dtype, self.byteorder)
        return not (unchanged and self.block.flags.c_contiguous)

    def between(self, start: int, stop: int) -> memoryview:
        """Return a byte range of the file: a view of the block if its pixels are stored unchanged.

        Raises `ArgumentError` if a value does not fit.
        """
        # Encoded as rows of `unit` pixels. Packed pixels share bytes in pairs, and each row of the
        # block starts on a byte: `unit` is then a pair, or a whole row of odd length.
        columns = self.block.shape[-1]
        unit = (columns if columns % 2 else 2) if self.storage.packed else 1
        size = self.storage.row_bytes(unit)
        first = (start - self.start) // size
        last = -(-(stop - self.start) // size)
        if not self.copied:
            raw = encode_pixels(self._units(first, last, unit), self.storage, self.byteorder)
        else:
            raw = np.empty((last - first, size), np.uint8)
            step = max(1, _PIXELS // unit)
            for at in range(first, last, step):
                pixels = self._units(at, min(at + step, last), unit)
                part = raw[at - first : at - first + len(pixels)]
                part[:] = encode_pixels(pixels, self.storage, self.byteorder)
        begin = self.start + first * size
        return raw.reshape(-1)[start - begin : stop - begin].data

    def _units(self, first: int, last: int, unit: int) -> npt.NDArray[Any]:
        return flat_slice(self.block, first * unit, last * unit).reshape(-1, unit)


def flat_slice(array: npt.NDArray[Any], start: int, stop: int) -> npt.NDArray[Any]:
    """Return elements of an array in C order; a view if the array is C-contiguous."""
    if array.flags.c_contiguous:
        return array.reshape(-1)[start:stop]
    return np.asarray(array.flat[start:stop])


def window(block_bytes: int) -> int:
    """Return the number of bytes to write at a time.

    If they are encoded, that is a quarter of the block, whose size in memory is `block_bytes`;
    pass 0 if the block is written from its own memory.
    """
    return max(min(WINDOW, block_bytes // 4), TEMPORARIES) if block_bytes else WINDOW


def windows(start: int, stop: int, step: int = WINDOW) -> Iterator[tuple[int, int]]:
    """Split a byte range into ranges of up to `step` bytes."""
    for at in range(start, stop, step):
        yield at, min(at + step, stop)
