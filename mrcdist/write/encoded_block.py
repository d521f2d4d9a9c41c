"""A block's bytes as they are stored, encoded piece by piece: it is never there twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.encode import Storage, encode_pixels

__all__ = ["TEMPORARIES", "WINDOW", "EncodedBlock", "windows"]

WINDOW = 8 * 2**20
"""Bytes that are encoded and written at a time."""

TEMPORARIES = 2**20
"""Bytes that encoding takes at most beside those that it returns."""

# Numbers that are encoded at a time: of each, the values that are compared take up to 16 bytes.
_NUMBERS = TEMPORARIES // 16


@dataclass(frozen=True)
class EncodedBlock:
    """Bytes of a block of whole rows, of which the first is byte `start` of the file.

    Attributes
    ----------
    rows : ndarray, shape (rows, columns)
    storage : Storage
    byteorder : {"<", ">"}
    start : int
    """

    rows: npt.NDArray[Any]
    storage: Storage
    byteorder: ByteOrder
    start: int

    def between(self, start: int, stop: int) -> memoryview:
        """Return a byte range of the file; the block's own memory where that is stored as it is.

        Raises
        ------
        ArgumentError
            A value does not fit.
        """
        row = self.storage.row_bytes(self.rows.shape[1])
        first = (start - self.start) // row
        last = -(-(stop - self.start) // row)
        if self.storage.is_of(self.rows.dtype, self.byteorder):
            raw = encode_pixels(self.rows[first:last], self.storage, self.byteorder)
        else:
            raw = np.empty((last - first, row), np.uint8)
            step = max(1, _NUMBERS // self.rows.shape[1])
            for at in range(first, last, step):
                some = self.rows[at : min(at + step, last)]
                part = raw[at - first : at - first + len(some)]
                part[:] = encode_pixels(some, self.storage, self.byteorder)
        begin = self.start + first * row
        return raw.reshape(-1)[start - begin : stop - begin].data


def windows(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield byte ranges that are small enough to be encoded and written one after the other."""
    for at in range(start, stop, WINDOW):
        yield at, min(at + WINDOW, stop)
