"""Files as seen by planning: their frames, the capabilities of their readers, and costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mrcdist.plan.coalesce import Merging

__all__ = ["Capabilities", "Cost", "FrameFile"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of reading a byte range or a block.

    Attributes
    ----------
    requests : int
        Requests, or calls of ``read()``; 0 for mapped pages.
    nbytes : int
        Bytes fetched or mapped.
    held : int
        Bytes of temporary memory, in addition to the buffer of the range or the block itself.
    """

    requests: int
    nbytes: int
    held: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capabilities of a reader. Without any, it returns a new buffer for each range.

    Attributes
    ----------
    cost : callable of (start, stop)
        Returns the cost of one range.
    gap : int
        Gap in bytes up to which reading it costs less than another request.
    maps : bool
        Whether the reader returns mapped pages (it is a `RangeKeeper`).
    fills : bool
        Whether the reader writes bytes to given places (it is a `RangeFiller`).
    ahead : int
        Number of ranges fetched ahead of the last one yielded.
    small : int
        Length in bytes up to which a reader that maps reads a range to a buffer instead.
    """

    cost: Callable[[int, int], Cost]
    gap: int
    maps: bool = False
    fills: bool = False
    ahead: int = 0
    small: int = 0

    def gives_pages(self, length: int) -> bool:
        """Whether a range of this length is returned as mapped pages."""
        return self.maps and length > self.small


@dataclass(frozen=True, slots=True)
class FrameFile:
    """A file, its frames, and how it can be read.

    Attributes
    ----------
    offset : int
        Offset of the first frame in bytes.
    first, frames : int
        Number of the first frame in the dataset, and number of frames.
    merging, in_place : Merging
        Limits for ranges that are copied; for those that are used as a view.
    """

    can: Capabilities
    offset: int
    first: int
    frames: int
    merging: Merging
    in_place: Merging
