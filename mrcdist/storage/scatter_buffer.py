"""The places in memory for the bytes of one response, in one piece or scattered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from mrcdist.storage.store_errors import Transient

Bytes = npt.NDArray[np.uint8]
Segment = tuple[int, Bytes | None]


class ScatterBuffer:
    """Scatter the bytes of a byte range, which arrive in order, to their places in memory.

    `segments` are length and memory of each part of the range, one behind the other; the memory is
    None where the bytes are not wanted.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self.size = sum(length for length, _ in segments)
        self.restart()

    @classmethod
    def joined(cls, buffers: Iterable[Self]) -> Self:
        """Return the buffer of byte ranges that lie one behind the other."""
        return cls([segment for buffer in buffers for segment in buffer._segments])

    def restart(self) -> None:
        """Begin again at the first byte."""
        self._filled = 0
        self._number = 0
        self._within = 0

    def store(self, piece: bytes) -> None:
        """Take the bytes that follow; more than there is room for are a `Transient` failure."""
        self._filled += len(piece)
        if self._filled > self.size:
            raise Transient(f"more than the {self.size} bytes asked for were sent")
        raw = np.frombuffer(piece, np.uint8)
        while raw.size:
            length, memory = self._segments[self._number]
            count = min(length - self._within, raw.size)
            if memory is not None:
                memory[self._within : self._within + count] = raw[:count]
            raw = raw[count:]
            self._within += count
            if self._within == length:
                self._number += 1
                self._within = 0

    def require_all(self) -> None:
        """Raise `Transient` unless the last byte has come."""
        if self._filled != self.size:
            raise Transient(f"the answer ended after {self._filled} of {self.size} bytes")

    def part(self, start: int, stop: int) -> ScatterBuffer:
        """Return the buffer of the bytes from `start` up to, but not including, `stop`."""
        if (start, stop) == (0, self.size):
            return self
        segments: list[Segment] = []
        at = 0
        for length, memory in self._segments:
            first, last = max(start - at, 0), min(stop - at, length)
            if first < last:
                segments.append((last - first, None if memory is None else memory[first:last]))
            at += length
        return ScatterBuffer(segments)
