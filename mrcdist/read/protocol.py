"""What reads byte ranges of files: the roles that `mrcdist.read.execute` knows them by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mrcdist.plan.block import Stretches
from mrcdist.plan.capabilities import Capabilities
from mrcdist.plan.layout import Frames
from mrcdist.storage.scatter import Target

__all__ = ["RangeFiller", "RangeKeeper", "RangeReader"]

Bytes = npt.NDArray[np.uint8]


class RangeReader(Protocol):
    """Gives the bytes of ranges of one version of one file."""

    @property
    def can(self) -> Capabilities:
        """What it is planned with; where it says so, the reader has one of the roles below, too."""

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), in order."""


class RangeKeeper(RangeReader, Protocol):
    """A reader that gives the file's mapped pages."""

    def keep(self, start: int, stop: int, spare: int) -> Bytes | None:
        """Map a range for as long as its bytes are used; None where that takes too much memory.

        `spare` bytes of it are not wanted.
        """

    def lend(
        self, start: int, stop: int, parts: Frames, length: int
    ) -> AbstractContextManager[Bytes | None]:
        """Map a range for as long as the block lasts, to copy from; None where it takes too much.

        `length` bytes from each of `parts` on, counted from `start`, will be wanted.
        """

    def copy(self, stretches: Stretches, memory: Bytes) -> None:
        """Read stretches to their places in memory."""


class RangeFiller(RangeReader, Protocol):
    """A reader that puts the bytes of ranges where they are wanted."""

    def fill(self, wanted: Sequence[tuple[int, Target]]) -> None:
        """Read what begins at each byte to its target."""
