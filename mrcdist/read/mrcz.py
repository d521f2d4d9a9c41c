"""MRCZ: compressed sections presented as the bytes of an uncompressed file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mrcdist.format.mrcz import SectionTable, decode_section
from mrcdist.plan.read_limits import DEFAULT_LIMITS, ReadLimits
from mrcdist.plan.reader_capabilities import Capabilities, Cost
from mrcdist.read.protocol import Bytes, RangeReader

__all__ = ["SectionReader"]


class SectionReader:
    """Reads byte ranges by decompressing only the sections that contain them.

    Parameters
    ----------
    inner : RangeReader
        Reads the compressed file.
    table : SectionTable
        Position of each section in the compressed file.
    section_bytes : int
        Bytes of a decompressed section; section i begins at byte ``i * section_bytes``.
    limits : ReadLimits, optional
    """

    def __init__(
        self,
        inner: RangeReader,
        table: SectionTable,
        section_bytes: int,
        limits: ReadLimits = DEFAULT_LIMITS,
    ) -> None:
        self._inner = inner
        self._table = table
        self._section_bytes = section_bytes
        self._limits = limits

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning."""
        return Capabilities(self._cost, self._limits.read_gap, ahead=self._inner.can.ahead)

    def _cost(self, start: int, stop: int) -> Cost:
        """Return the cost of the compressed sections of a range."""
        size = self._section_bytes
        packed = self._inner.can.cost(*self._table.byte_range(start // size, -(-stop // size)))
        # Held: the compressed bytes and one decompressed section.
        return Cost(packed.requests, packed.nbytes, packed.held + packed.nbytes + size)

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the decompressed bytes of each (start, stop), in order."""
        size = self._section_bytes
        covers = [(start // size, -(-stop // size)) for start, stop in ranges]
        packed = self._inner.views([self._table.byte_range(*cover) for cover in covers])
        for (start, stop), (first, last), raw in zip(ranges, covers, packed, strict=True):
            whole = np.empty((last - first) * size, np.uint8)
            base = self._table.offsets[first]
            for i in range(first, last):
                begin, end = (at - base for at in self._table.byte_range(i, i + 1))
                section = decode_section(raw[begin:end].tobytes(), size)
                whole[(i - first) * size : (i - first + 1) * size] = np.frombuffer(section, "u1")
            yield whole[start - first * size : stop - first * size]
