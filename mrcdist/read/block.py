"""A selection of the array → one native-endian block, over any reader of byte ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from mrcdist.plan.layout import Frames, Layout
from mrcdist.plan.ranges import FrameRun, Merging, Window, even_run, merge_frames
from mrcdist.plan.selection import Selection
from mrcdist.read.advice import expect
from mrcdist.read.target import Target

__all__ = ["BlockCost", "Cost", "OpenPart", "RangeReader", "block_cost", "read_block"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

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
    """

    reader: RangeReader
    offset: int
    first: int
    frames: int
    merging: Merging


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
    return _native(block, in_place=all(part.reader.private for part in parts))


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
    step = _even_step(frames)
    single = _single_run(parts[0], layout, frames, window, step) if len(parts) == 1 else None
    costs: list[Cost] = []
    sizes: list[int] = []
    for part in parts:
        _, wanted = _in_file_order(frames - part.first, part.frames)
        for run in [single] if single else _runs(part, layout, wanted, window):
            costs.append(part.reader.cost(part.offset + run.start, part.offset + run.stop))
            sizes.append(run.stop - run.start if part.reader.private else 0)
    ahead = max(part.reader.ahead for part in parts)
    block_bytes = frames.size * len(window.rows) * layout.pixels.bytes_of(len(window.columns))
    low, high = window.byte_span(layout)
    if single is not None:
        buffers = sizes[0]
    elif _scatters(parts, layout, window):
        buffers = frames.size * (high - low)
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
    step = _even_step(frames)
    run = _single_run(part, layout, frames, window, step)
    if run is None:
        return None
    [buffer] = part.reader.views([(part.offset + run.start, part.offset + run.stop)])
    _announce(buffer, layout, window, frames)
    n_frames = int(frames[-1] - frames[0]) + 1
    stretch = _stretch(buffer, layout, window, n_frames, layout.frame_bytes)
    found = layout.pixels.decode(stretch[::step, :: window.rows.step], window.columns)
    # A narrow view of memory of our own would hold on to all of it.
    return found.copy() if part.reader.private and found.nbytes < buffer.nbytes else found


def _single_run(
    part: OpenPart, layout: Layout, frames: Frames, window: Window, step: int
) -> FrameRun | None:
    """The one read whose bytes, as they lie there, are the frames; None where there is none."""
    first, last = int(frames[0]) - part.first, int(frames[-1]) - part.first
    if not step or first < 0 or last >= part.frames:
        return None
    return even_run(first, last, step, layout, window, part.merging)


def _gathered(parts: Sequence[OpenPart], layout: Layout, frames: Frames, window: Window) -> Array:
    """Copy the frames together from wherever they are; those that are nowhere are 0."""
    shape = (frames.size, len(window.rows), len(window.columns), *layout.pixels.components)
    block = np.zeros(shape, layout.dtype)
    for part in parts:
        inside = frames - part.first
        order, wanted = _in_file_order(inside, part.frames)
        runs = _runs(part, layout, wanted, window)
        spans = [(part.offset + run.start, part.offset + run.stop) for run in runs]
        for run, buffer in zip(runs, part.reader.views(spans), strict=True):
            there = wanted[run.first : run.last] - wanted[run.first]
            _announce(buffer, layout, window, there)
            stretch = _stretch(buffer, layout, window, int(there[-1]) + 1, layout.frame_bytes)
            if there.size == frames.size:  # all of them are here: one copy, in the array's order
                lines = stretch[inside - wanted[0], :: window.rows.step]
                block = layout.pixels.decode(lines, window.columns)
            else:
                lines = stretch[_as_slice(there), :: window.rows.step]
                block[order[run.first : run.last]] = layout.pixels.decode(lines, window.columns)
    return block


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
    stretch = _stretch(memory, layout, window, frames.size, high - low)
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


def _even_step(frames: Frames) -> int:
    """The step of an arithmetic, increasing list of frames; 0 if it is none."""
    steps = np.diff(frames)
    if steps.size == 0:
        return 1
    return int(steps[0]) if steps[0] > 0 and np.all(steps == steps[0]) else 0


def _as_slice(inside: Frames) -> slice | Frames:
    """A slice where the positions are even: it reads in place where a list would copy first."""
    step = _even_step(inside)
    return slice(0, int(inside[-1]) + 1, step) if step else inside


def _stretch(buffer: Bytes, layout: Layout, window: Window, n_frames: int, step: int) -> Bytes:
    """View memory, from a window's first byte on, as (frames, rows, bytes), a frame a `step`."""
    first, last = layout.pixels.byte_range(window.columns)
    n_rows = window.rows[-1] - window.rows.start + 1
    # The last frame ends with the window: the strides do not lead past the buffer.
    shape = (n_frames, n_rows, last - first)
    strides = (step, layout.row_bytes, 1)
    reach = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1
    if reach > buffer.size:
        raise AssertionError(f"a view of {reach} bytes over a buffer of {buffer.size}")
    return as_strided(buffer, shape, strides, writeable=buffer.flags.writeable)


def _native(block: Array, *, in_place: bool) -> Array:
    if not block.dtype.isnative:
        native = block.dtype.newbyteorder("=")
        if in_place and block.flags.writeable:
            return block.byteswap(inplace=True).view(native)
        return block.astype(native)
    # Data that begin at an odd byte: compiled code downstream wants its numbers aligned.
    return block if block.flags.aligned else block.copy()


def _increasing(positions: range) -> range:
    """The same positions in increasing order, as they lie in the file."""
    return positions if positions.step > 0 else positions[::-1]


def _direction(positions: range) -> slice:
    return slice(None, None, 1 if positions.step > 0 else -1)


def _stop(positions: range) -> int | None:
    return None if positions.stop < 0 else positions.stop
