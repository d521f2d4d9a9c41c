"""What files and their readers are to planning: frames, what the reader can do, what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mrcdist.plan.coalesce import Merging

__all__ = ["Capabilities", "Cost", "FrameFile"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What reading a byte range, or a whole block, takes.

    Attributes
    ----------
    requests : int
        Requests or read() calls; 0 for mapped pages.
    nbytes : int
        Bytes that are fetched, or mapped.
    held : int
        Bytes of memory in use meanwhile, beside the range's buffer or the block itself.
    """

    requests: int
    nbytes: int
    held: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a reader can do; one that can do nothing special gives buffers of the caller's own.

    Attributes
    ----------
    cost : callable of (start, stop)
        What reading one range takes.
    gap : int
        Unwanted bytes that cost less than another request.
    maps : bool
        Whether it gives the file's mapped pages (it is a `RangeKeeper`).
    fills : bool
        Whether it puts bytes where they are wanted (it is a `RangeFiller`).
    ahead : int
        Ranges that are fetched ahead of the one that was yielded last.
    small : int
        Length up to which a range is read to a buffer of its own by a reader that maps.
    """

    cost: Callable[[int, int], Cost]
    gap: int
    maps: bool = False
    fills: bool = False
    ahead: int = 0
    small: int = 0

    def gives_pages(self, length: int) -> bool:
        """Whether a range of this length comes as mapped pages."""
        return self.maps and length > self.small


@dataclass(frozen=True, slots=True)
class FrameFile:
    """One file, which frames it holds, and how it can be read.

    Attributes
    ----------
    can : Capabilities
    offset : int
        Byte at which its first frame begins.
    first, frames : int
        Number of its first frame, and how many it has.
    merging : Merging
        Of what is copied together.
    in_place : Merging
        Of what may be used where it lies.
    """

    can: Capabilities
    offset: int
    first: int
    frames: int
    merging: Merging
    in_place: Merging
