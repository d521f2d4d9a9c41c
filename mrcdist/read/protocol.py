"""What reads byte ranges of files: the roles that `mrcdist.read.execute` knows them by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mrcdist.plan.coalesce import Merging
from mrcdist.plan.layout import Frames
from mrcdist.storage.scatter import Target

__all__ = ["Cost", "OpenPart", "RangeFiller", "RangeKeeper", "RangeReader", "Stretches"]

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Cost:
    """What reading one byte range takes.

    Attributes
    ----------
    requests : int
        Requests or read() calls; 0 for mapped pages.
    nbytes : int
        Bytes that are fetched, or mapped.
    held : int
        Bytes of memory in use meanwhile, beside the range's own buffer.
    """

    requests: int
    nbytes: int
    held: int = 0


@dataclass(frozen=True)
class Stretches:
    """What follows one another both in a file and in memory.

    Attributes
    ----------
    starts, places, lengths : ndarray of int64
        First byte in the file, first byte in memory, and bytes, of each.
    """

    starts: Frames
    places: Frames
    lengths: Frames


class RangeReader(Protocol):
    """Gives the bytes of ranges of one version of one file."""

    private: bool
    """Whether the buffers are the caller's own memory (else they are the file's mapped pages)."""

    ahead: int
    """Ranges that are fetched ahead of the one that was yielded last."""

    def cost(self, start: int, stop: int) -> Cost:
        """Say what reading a range takes, without reading it."""

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), in order."""


class RangeKeeper(ABC):
    """A reader that gives the file's mapped pages."""

    # Not a protocol as `RangeReader` is: every task asks which kind it has, and that must be cheap.

    @abstractmethod
    def keep(self, start: int, stop: int, spare: int) -> Bytes | None:
        """Map a range for as long as its bytes are used; None where that takes too much memory.

        `spare` bytes of it are not wanted.
        """

    @abstractmethod
    def lend(
        self, start: int, stop: int, parts: Frames, length: int
    ) -> AbstractContextManager[Bytes | None]:
        """Map a range for as long as the block lasts, to copy from; None where it takes too much.

        `length` bytes from each of `parts` on, counted from `start`, will be wanted.
        """

    @abstractmethod
    def copy(self, stretches: Stretches, memory: Bytes) -> None:
        """Read stretches to their places in memory."""


class RangeFiller(ABC):
    """A reader that puts the bytes of ranges where they are wanted."""

    @abstractmethod
    def fill(self, wanted: Sequence[tuple[int, Target]]) -> None:
        """Read what begins at each byte to its target."""


@dataclass(frozen=True)
class OpenPart:
    """A file, opened, and which frames it holds.

    Attributes
    ----------
    reader : RangeReader
    offset : int
        Byte at which its first frame begins.
    first, frames : int
        Number of its first frame, and how many it has.
    merging : Merging
        Of what is copied together.
    in_place : Merging
        Of what may be used where it lies.
    """

    reader: RangeReader
    offset: int
    first: int
    frames: int
    merging: Merging
    in_place: Merging
