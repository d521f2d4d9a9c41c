"""Files as planning sees them: their frames, what their readers can do, and what reads cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from mrcdist.format.pixels import Bytes
from mrcdist.plan.coalesce import Merging
from mrcdist.plan.layout import Frames

Target = tuple[int, Sequence[tuple[int, Bytes | None]]]
"""Start of a byte range, and the length and the memory of its consecutive segments.

The memory is None for bytes that are not needed.
"""


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
class Stretches:
    """Stretches of bytes that are contiguous both in the file and in memory.

    For each: offset in the file, offset in memory, and length, all in bytes. `reader` reads them.
    """

    reader: MapReader
    starts: Frames
    places: Frames
    lengths: Frames


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a byte range that will be used.

    `starts` are their increasing offsets within the range; each has `length` bytes, and if there is
    only one, the next would be `stride` bytes further.
    """

    starts: Frames
    length: int
    stride: int


class MapReader(Protocol):
    """Reader that can return mapped pages of the file."""

    def pages(
        self, ranges: Iterable[tuple[int, int]], parts: Iterable[Parts | None]
    ) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), of which some or all parts will be used."""

    def keep(self, start: int, stop: int, parts: Parts, unused_bytes: int) -> Bytes | None:
        """Return a mapped range, or None if the budget for maps is exhausted.

        It stays mapped as long as the array exists; `unused_bytes` of it are not needed.
        """

    def borrow_map(
        self, start: int, stop: int, parts: Frames, length: int
    ) -> AbstractContextManager[Bytes | None]:
        """Return a shared map of a range to copy from, or None if the budget is exhausted.

        `length` bytes from each of `parts`, relative to `start`, will be used.
        """

    def copy(self, stretches: Stretches, memory: Bytes) -> None:
        """Read stretches to their places in memory, without mapping pages."""


class FillReader(Protocol):
    """Reader that writes into memory of the caller."""

    def fill(self, targets: Sequence[Target]) -> None:
        """Fetch byte ranges directly to their destinations."""

    async def fill_awaited(self, targets: Sequence[Target]) -> None:
        """Fetch as `fill` does, from a coroutine of any event loop, if the reader is awaitable."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capabilities of a reader; by default, it returns a new buffer for each range.

    `views` yields the bytes of each (start, stop), in order; `cost` takes the start and stop of a
    range. Reading a gap of up to `gap` bytes is cheaper than another request. A reader that `maps`
    returns mapped pages for ranges longer than `small` bytes. One that `fills` memory needs no
    thread for it if it is `awaitable`. It fetches up to `ahead` ranges beyond the last one yielded.
    If it reads `whole_frames`, a part of a frame takes as long as all of it.
    """

    views: Callable[[Sequence[tuple[int, int]]], Iterator[Bytes]]
    cost: Callable[[int, int], Cost]
    gap: int
    maps: MapReader | None = None
    fills: FillReader | None = None
    awaitable: bool = False
    ahead: int = 0
    small: int = 0
    whole_frames: bool = False

    def gives_pages(self, length: int) -> bool:
        """Whether a range of this length is returned as mapped pages."""
        return self.maps is not None and length > self.small


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
