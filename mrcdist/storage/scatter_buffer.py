"""Destination in memory for the bytes of one response, contiguous or scattered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcdist.format.pixels import Bytes
from mrcdist.storage.retry import Transient

Segment = tuple[int, Bytes | None]


class ScatterBuffer:
    """Scatter the bytes of a byte range, which arrive in order, to their places in memory.

    `segments` are the length and the memory of each consecutive part of the range; the memory is
    None for bytes that are not needed.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self.size = sum(length for length, _ in segments)
        self.restart()

    def restart(self) -> None:
        """Start again at the first byte."""
        self._filled = 0
        self._number = 0
        self._within = 0

    def store(self, piece: bytes) -> None:
        """Store the bytes that follow; raise `Transient` if there are more than requested."""
        self._filled += len(piece)
        if self._filled > self.size:
            raise Transient(f"the response has more than the {self.size} bytes requested")
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
        """Raise `Transient` if bytes are missing."""
        if self._filled != self.size:
            raise Transient(f"the response ended after {self._filled} of {self.size} bytes")

    def part(self, start: int, stop: int) -> ScatterBuffer:
        """Return the buffer of the bytes from `start` up to, but not including, `stop`."""
        if (start, stop) == (0, self.size):
            return self
        segments: list[Segment] = []
        offset = 0
        for length, memory in self._segments:
            first, last = max(start - offset, 0), min(stop - offset, length)
            if first < last:
                segments.append((last - first, None if memory is None else memory[first:last]))
            offset += length
        return ScatterBuffer(segments)
