"""A selection of the array → one native-endian block, over any reader of byte ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from mrcdist.plan.layout import Frames, Layout
from mrcdist.plan.ranges import FrameRun, Merging, Window, even_run, merge_frames
from mrcdist.plan.selection import Selection
from mrcdist.read.advice import expect
from mrcdist.read.target import Target
from mrcdist.read.views import as_slice, even_step, frames_in, native

__all__ = ["BlockCost", "Cost", "OpenPart", "RangeReader", "block_cost", "read_block"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

# Linux maps 64 KiB of what is in the page cache around each place that is touched, and a part of a
# frame has two ends.
_AROUND = 2**17

# Bytes of a frame's part above which Python can afford to place each by itself.
_LEAST_SCATTERED = 4096


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


@runtime_checkable
class RangeKeeper(RangeReader, Protocol):
    """Gives the file's mapped pages."""

    def keep(self, start: int, stop: int, spare: int) -> Bytes | None:
        """Map a range for as long as its bytes are used; None where that takes too much memory.

        `spare` bytes of it are not wanted.
        """


@runtime_checkable
class RangeFiller(RangeReader, Protocol):
    """Puts the bytes of ranges where they are wanted."""

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


def read_block(
    parts: Sequence[OpenPart], layout: Layout, frames: Frames, selection: Selection
) -> Array:
    """Read a selection.

    Parameters
    ----------
    parts : sequence of OpenPart
        The files that hold the frames.
    layout : Layout
    frames : ndarray of int64
        The selection's frames in array order; -1 where there is none, which reads as 0.
    selection : Selection
        Of the whole array's axes, not empty.

    Returns
    -------
    ndarray, shape ``selection.result_shape``
        Native-endian and aligned. Read-only where it is a view of mapped pages.
    """
    n_navigation = len(layout.navigation_shape)
    rows, columns, *components = selection.ranges[n_navigation:]
    window = Window(_increasing(rows), _increasing(columns))

    block = None
    if len(parts) == 1:
        block = _in_place(parts[0], layout, frames, window)
    if block is None:
        gather = _scattered if _scatters(parts, layout, window) else _gathered
        block = gather(parts, layout, frames, window)
    block = block[
        :,
        _direction(rows),
        _direction(columns),
        *(slice(r.start, _stop(r), r.step) for r in components),
    ]
    # Splitting the frames' axis and dropping axes of length 1 is always a view.
    block = block.reshape(selection.result_shape)
    return native(block)


@dataclass(frozen=True)
class BlockCost:
    """What reading a block takes.

    Attributes
    ----------
    requests, nbytes : int
        Of all its ranges; see `Cost`.
    buffers : int
        Bytes of memory in use at a time, beside the block itself.
    """

    requests: int
    nbytes: int
    buffers: int


def block_cost(
    parts: Sequence[OpenPart], layout: Layout, frames: Frames, window: Window
) -> BlockCost:
    """Work out what `read_block` will do, by the same rules and without reading."""
    if not parts:
        return BlockCost(0, 0, 0)
    block_bytes = _nbytes(layout, frames, window)
    step = even_step(frames)
    single = _single_run(parts[0], layout, frames, window, step) if len(parts) == 1 else None
    if single and isinstance(parts[0].reader, RangeKeeper):
        # As much memory as reading takes where there is none to spare.
        wanted = single.stop - single.start <= block_bytes and _usable(parts[0], layout)
        single = single if wanted else None
    costs: list[Cost] = []
    sizes: list[int] = []
    filled: list[int] = []
    for part in parts:
        _, wanted_frames = _in_file_order(frames - part.first, part.frames)
        for run in [single] if single else _runs(part, layout, wanted_frames, window):
            costs.append(part.reader.cost(part.offset + run.start, part.offset + run.stop))
            sizes.append(run.stop - run.start)
            filled.append(run.last - run.first)
    ahead = max(part.reader.ahead for part in parts)
    low, high = window.byte_span(layout)
    if single is not None:
        buffers = sizes[0]
    elif _scatters(parts, layout, window):
        buffers = frames.size * (high - low)
    elif isinstance(parts[0].reader, RangeKeeper):
        # One piece is mapped at a time, and of the block only what is filled takes memory.
        so_far = np.cumsum(filled) * (block_bytes // frames.size)
        buffers = max(int(np.max(so_far + sizes)) - block_bytes, 0) if sizes else 0
        if filled and not layout.pixels.plain:  # a piece is turned to numbers on its way
            pixels = len(window.rows) * len(window.columns)
            buffers += max(filled) * pixels * layout.dtype.itemsize
    else:
        # Those fetched ahead, the one that comes and the one that is being copied.
        buffers = sum(sorted(sizes)[-(ahead + 2) :])
    # One buffer that holds nothing but the block becomes the block.
    one = single is not None or _scatters(parts, layout, window)
    becomes_block = one and layout.pixels.plain and buffers <= block_bytes
    return BlockCost(
        requests=sum(cost.requests for cost in costs),
        nbytes=sum(cost.nbytes for cost in costs),
        buffers=(0 if becomes_block else buffers)
        + sum(sorted(cost.held for cost in costs)[-(ahead + 1) :]),
    )


def _in_place(part: OpenPart, layout: Layout, frames: Frames, window: Window) -> Array | None:
    """View the frames in one buffer where they lie in it at an even step; None where not.

    The result has shape (frames, rows, columns) + components, perhaps in foreign byte order.
    """
    step = even_step(frames)
    run = _single_run(part, layout, frames, window, step)
    if run is None:
        return None
    buffer = _kept(part, layout, run, spare=_spare(layout, frames, window, step))
    if buffer is None:
        return None
    _announce(buffer, layout, window, frames)
    n_frames = int(frames[-1] - frames[0]) + 1
    stretch = frames_in(buffer, layout, window, n_frames, layout.frame_bytes)
    found = layout.pixels.decode(stretch[::step, :: window.rows.step], window.columns)
    # A narrow view of memory of our own would hold on to all of it.
    return found.copy() if part.reader.private and found.nbytes < buffer.nbytes else found


def _kept(part: OpenPart, layout: Layout, run: FrameRun, spare: int) -> Bytes | None:
    """The bytes of a run, of which so many are not wanted; None where they had better be copied."""
    start, stop = part.offset + run.start, part.offset + run.stop
    if not isinstance(part.reader, RangeKeeper):
        [buffer] = part.reader.views([(start, stop)])
        return buffer
    return part.reader.keep(start, stop, spare) if _usable(part, layout) else None


def _usable(part: OpenPart, layout: Layout) -> bool:
    """Whether stored pixels are numbers as they lie in the file: native, and aligned."""
    stored = np.dtype(layout.pixels.stored)
    return layout.pixels.plain and stored.isnative and part.offset % stored.alignment == 0


def _spare(layout: Layout, frames: Frames, window: Window, step: int) -> int:
    """Bytes of the pages that frames at an even step bring in beside what is wanted of them."""
    low, high = window.byte_span(layout)
    each = min(step * layout.frame_bytes, high - low + _AROUND)
    return max(frames.size * each - _nbytes(layout, frames, window), 0)


def _nbytes(layout: Layout, frames: Frames, window: Window) -> int:
    """Bytes of the wanted pixels as they are stored."""
    return frames.size * len(window.rows) * layout.pixels.bytes_of(len(window.columns))


def _single_run(
    part: OpenPart, layout: Layout, frames: Frames, window: Window, step: int
) -> FrameRun | None:
    """The one read whose bytes, as they lie there, are the frames; None where there is none."""
    first, last = int(frames[0]) - part.first, int(frames[-1]) - part.first
    if not step or first < 0 or last >= part.frames:
        return None
    return even_run(first, last, step, layout, window, part.in_place)


def _gathered(parts: Sequence[OpenPart], layout: Layout, frames: Frames, window: Window) -> Array:
    """Copy the frames together from wherever they are; those that are nowhere are 0."""
    shape = (frames.size, len(window.rows), len(window.columns), *layout.pixels.components)
    block = None
    for part in parts:
        inside = frames - part.first
        order, wanted = _in_file_order(inside, part.frames)
        runs = _runs(part, layout, wanted, window)
        spans = [(part.offset + run.start, part.offset + run.stop) for run in runs]
        for run, buffer in zip(runs, part.reader.views(spans), strict=True):
            there = wanted[run.first : run.last] - wanted[run.first]
            _announce(buffer, layout, window, there)
            stretch = frames_in(buffer, layout, window, int(there[-1]) + 1, layout.frame_bytes)
            if there.size == frames.size:  # all of them are here: one copy, in the array's order
                lines = stretch[inside - wanted[0], :: window.rows.step]
                block = layout.pixels.decode(lines, window.columns)
            else:
                block = np.zeros(shape, layout.dtype) if block is None else block
                lines = stretch[as_slice(there), :: window.rows.step]
                places = as_slice(order[run.first : run.last])
                block[places] = layout.pixels.decode(lines, window.columns)
    return np.zeros(shape, layout.dtype) if block is None else block


def _scatters(parts: Sequence[OpenPart], layout: Layout, window: Window) -> bool:
    """Whether the frames' parts are read straight to their places, not by way of buffers."""
    low, high = window.byte_span(layout)
    return high - low >= _LEAST_SCATTERED and all(
        isinstance(part.reader, RangeFiller) for part in parts
    )


def _scattered(parts: Sequence[OpenPart], layout: Layout, frames: Frames, window: Window) -> Array:
    """Let the frames' parts come straight to their places; those that are nowhere are 0."""
    low, high = window.byte_span(layout)
    memory = np.zeros(frames.size * (high - low), np.uint8)
    for part in parts:
        _scatter(part, layout, frames, window, memory)
    stretch = frames_in(memory, layout, window, frames.size, high - low)
    found = layout.pixels.decode(stretch[:, :: window.rows.step], window.columns)
    # A narrow view would hold on to all of it.
    return found.copy() if found.nbytes < memory.nbytes else found


def _scatter(part: OpenPart, layout: Layout, frames: Frames, window: Window, memory: Bytes) -> None:
    """Read the frames' parts that are in one file to their places, one behind the other."""
    size = memory.size // frames.size
    order, wanted = _in_file_order(frames - part.first, part.frames)
    repeated = np.flatnonzero(np.diff(wanted) == 0) + 1
    places, numbers = np.delete(order, repeated), np.delete(wanted, repeated)
    targets = []
    for run in _runs(part, layout, numbers, window):
        there = places[run.first : run.last]
        gaps = np.diff(numbers[run.first : run.last]) * layout.frame_bytes - size
        # What follows one another in the file and in memory alike is one segment.
        cuts = (np.flatnonzero((gaps > 0) | (np.diff(there) != 1)) + 1).tolist()
        segments: list[tuple[int, Bytes | None]] = []
        for first, last in zip((0, *cuts), (*cuts, there.size), strict=True):
            if first and gaps[first - 1]:
                segments.append((int(gaps[first - 1]), None))
            start, length = int(there[first]) * size, (last - first) * size
            segments.append((length, memory[start : start + length]))
        targets.append((part.offset + run.start, Target(segments)))
    cast(RangeFiller, part.reader).fill(targets)
    by_frame = memory.reshape(frames.size, size)
    for again in repeated:
        by_frame[order[again]] = by_frame[order[again - 1]]


def _announce(buffer: Bytes, layout: Layout, window: Window, frames: Frames) -> None:
    """Say which parts of a buffer will be used, in case they are pages that are yet to be read."""
    low, high = window.byte_span(layout)
    starts = (frames - frames[0]) * layout.frame_bytes
    expect(buffer, starts, length=high - low, stride=layout.frame_bytes)


def _runs(part: OpenPart, layout: Layout, frames: Frames, window: Window) -> list[FrameRun]:
    return list(merge_frames(frames, layout, window, part.merging)) if frames.size else []


def _in_file_order(frames: Frames, present: int) -> tuple[Frames, Frames]:
    """Positions in the block, in the file's order, and frames, of those that the file holds."""
    here = np.flatnonzero((frames >= 0) & (frames < present))
    order = here[np.argsort(frames[here], kind="stable")]
    return order, frames[order]


def _increasing(positions: range) -> range:
    """The same positions in increasing order, as they lie in the file."""
    return positions if positions.step > 0 else positions[::-1]


def _direction(positions: range) -> slice:
    return slice(None, None, 1 if positions.step > 0 else -1)


def _stop(positions: range) -> int | None:
    return None if positions.stop < 0 else positions.stop
