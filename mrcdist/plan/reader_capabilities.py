"""Files as seen by planning: their frames, the capabilities of their readers, and costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mrcdist.plan.coalesce import Merging


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of reading a byte range or a block.

    Requests, or calls of ``read()``, none for mapped pages; bytes that are fetched or mapped; and
    bytes `held` in temporary memory, in addition to the buffer of the range or the block itself.
    """

    requests: int
    nbytes: int
    held: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capabilities of a reader. Without any, it returns a new buffer for each range.

    `cost` is that of a range from start to stop. A gap of up to `gap` bytes costs less to read than
    another request. A reader that `maps` (a `MappedFile`) returns mapped pages, but for ranges of
    up to `small` bytes; one that `fills` (a `RemoteReader`) writes bytes to given places, and
    can do so without a thread of its own if it is `awaitable`. It fetches so many ranges `ahead` of
    the last one yielded.
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
    """A file, its frames, and how it can be read.

    The first frame has the number `first` in the dataset, and begins at byte `offset`. Ranges that
    are copied are merged within the limits of `merging`, those that are used as a view within those
    of `in_place`.
    """

    can: Capabilities
    offset: int
    first: int
    frames: int
    merging: Merging
    in_place: Merging
