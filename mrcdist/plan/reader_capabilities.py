"""Files as planning sees them: their frames, what their readers can do, and what reads cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mrcdist.plan.coalesce import Merging


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of reading a byte range or a block.

    `requests` counts requests to a store or calls of ``read()``; mapped pages need none. `nbytes`
    are fetched or mapped. `held` is temporary memory in bytes, in addition to the buffer of the
    range or to the block itself.
    """

    requests: int
    nbytes: int
    held: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capabilities of a reader; by default, it returns a new buffer for each range.

    `cost` takes the start and stop of a range. Reading a gap of up to `gap` bytes is cheaper than
    another request. A reader that `maps` (a `MappedFile`) returns mapped pages for ranges longer
    than `small` bytes. A reader that `fills` (a `RemoteReader`) writes into memory of the caller,
    and needs no thread for it if it is `awaitable`; it fetches up to `ahead` ranges beyond the last
    one yielded.
    """

    cost: Callable[[int, int], Cost]
    gap: int
    maps: bool = False
    fills: bool = False
    awaitable: bool = False
    ahead: int = 0
    small: int = 0

    def gives_pages(self, length: int) -> bool:
        """Whether a range of this length is returned as mapped pages."""
        return self.maps and length > self.small


@dataclass(frozen=True, slots=True)
class FrameFile:
    """The frames of one file, and how to read them.

    The first frame has the number `first` in the dataset and starts at byte `offset`. `merging`
    limits the ranges that are copied, `in_place` those that are used as a view.
    """

    can: Capabilities
    offset: int
    first: int
    frames: int
    merging: Merging
    in_place: Merging
