"""Protocols of readers of byte ranges, as used by `mrcdist.read.execute`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mrcdist.plan.block import Stretches
from mrcdist.plan.layout import Frames
from mrcdist.plan.reader_capabilities import Capabilities
from mrcdist.storage.scatter_buffer import Bytes, ScatterBuffer

__all__ = ["AwaitedFiller", "Bytes", "RangeFiller", "RangeKeeper", "RangeReader"]


class RangeReader(Protocol):
    """Returns byte ranges of one version of one file.

    All reads raise `FileChangedError`, `MissingFileError`, `AccessDeniedError` or `ReadError`;
    those of compressed files `TruncatedFileError` or `FormatError`, too.
    """

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning, including whether a protocol below is implemented."""

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), in order."""


class RangeKeeper(RangeReader, Protocol):
    """A reader that can return mapped pages of the file."""

    def keep(self, start: int, stop: int, unused_bytes: int) -> Bytes | None:
        """Map a range for as long as its bytes are used, or return None if the budget is exhausted.

        `unused_bytes` bytes of it are not needed.
        """

    def borrow_map(
        self, start: int, stop: int, parts: Frames, length: int
    ) -> AbstractContextManager[Bytes | None]:
        """Lend a map of a range to copy from, or None if the budget is exhausted.

        `length` bytes from each of `parts`, relative to `start`, will be used.
        """

    def copy(self, stretches: Stretches, memory: Bytes) -> None:
        """Read stretches to their places in memory."""


class RangeFiller(RangeReader, Protocol):
    """A reader that can read byte ranges directly to given places in memory."""

    def fill(self, wanted: Sequence[tuple[int, ScatterBuffer]]) -> None:
        """Read the range that begins at each offset to its target."""


class AwaitedFiller(Protocol):
    """A reader that fills while the event loop of its caller does other things."""

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning; ranges are filled."""

    async def fill_awaited(self, wanted: Sequence[tuple[int, ScatterBuffer]]) -> None:
        """Read as `RangeFiller.fill` does, called from any event loop."""
