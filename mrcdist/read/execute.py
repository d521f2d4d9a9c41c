"""A plan of a block → the block, over any reader of byte ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mrcdist.plan.block import Access, BlockPlan, PlannedRead, Request, even_step
from mrcdist.plan.coalesce import FrameRun, Window
from mrcdist.plan.layout import Frames, Layout
from mrcdist.read.protocol import RangeFiller, RangeKeeper, RangeReader
from mrcdist.read.readahead import expect
from mrcdist.storage.scatter import Target

__all__ = ["execute"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def execute(plan: BlockPlan, readers: Sequence[RangeReader]) -> Array:
    """Read a block as it was planned.

    Parameters
    ----------
    plan : BlockPlan
    readers : sequence of RangeReader
        Of the files that it was planned for, in the same order.

    Returns
    -------
    ndarray, shape ``plan.shape``
        Native-endian and aligned. Read-only where it is a view of mapped pages.
    """
    if plan.access is Access.VIEW:
        block = _view(plan, readers[0])
    elif plan.access is Access.COPY_FROM_MAP:
        block = _copy_from_map(plan, cast(RangeKeeper, readers[0]))
    elif plan.access is Access.SCATTER:
        block = _scatter(plan, readers)
    else:
        block = _gather(plan, readers)
    if block is not None:
        return _native(block)
    fallback = plan.fallback
    if fallback is None:
        raise AssertionError("only what is mapped may lack room")
    return execute(fallback, readers)


def _view(plan: BlockPlan, reader: RangeReader) -> Array | None:
    """View frames at an even step in one buffer; None where there is no room for the map."""
    request, [read] = plan.request, plan.reads
    [(start, stop)] = read.spans
    buffer: Bytes | None
    if plan.mapped:
        buffer = cast(RangeKeeper, reader).keep(start, stop, plan.spare)
        if buffer is None:
            return None
        _announce(buffer, request, read.numbers)
    else:
        [buffer] = reader.views([(start, stop)])
    layout, window, numbers = request.layout, request.window, read.numbers
    step = int(numbers[1] - numbers[0]) if numbers.size > 1 else 1
    n_frames = int(numbers[-1] - numbers[0]) + 1
    stretch = _frames_in(buffer, layout, window, n_frames, layout.frame_bytes)
    found = layout.pixels.decode(stretch[::step, :: window.rows.step], window.columns)
    # A narrow view of memory of our own would hold on to all of it.
    return found.copy() if not plan.mapped and found.nbytes < buffer.nbytes else found


def _copy_from_map(plan: BlockPlan, reader: RangeKeeper) -> Array | None:
    """Copy frames from all over a file out of a map of it; None where there is no room for it."""
    request, [read] = plan.request, plan.reads
    layout, window = request.layout, request.window
    low, high = window.byte_span(layout)
    there = read.numbers - read.numbers.min()
    [(start, stop)] = read.spans
    with reader.lend(start, stop, there * layout.frame_bytes, high - low) as buffer:
        if buffer is None:
            return None
        n_frames = int(there.max()) + 1
        stretch = _frames_in(buffer, layout, window, n_frames, layout.frame_bytes)
        return _decoded(stretch[there, :: window.rows.step], layout, window)


def _gather(plan: BlockPlan, readers: Sequence[RangeReader]) -> Array:
    """Copy the frames together from wherever they are; those that are nowhere are 0."""
    request = plan.request
    layout, window, n_frames = request.layout, request.window, request.frames.size
    block = None
    for read in plan.reads:
        can = request.parts[read.part].can
        for run, buffer in zip(read.runs, readers[read.part].views(read.spans), strict=True):
            places = read.places[run.first : run.last]
            there = read.numbers[run.first : run.last] - read.numbers[run.first]
            if can.gives_pages(buffer.size):
                _announce(buffer, request, there)
            stretch = _frames_in(buffer, layout, window, int(there[-1]) + 1, layout.frame_bytes)
            if there.size == n_frames:  # all of them are here: one copy, in the array's order
                in_order = np.empty_like(there)
                in_order[places] = there
                block = _decoded(stretch[in_order, :: window.rows.step], layout, window)
            else:
                block = _memory(plan, plan.shape, layout.dtype) if block is None else block
                lines = stretch[_as_slice(there), :: window.rows.step]
                block[_as_slice(places)] = layout.pixels.decode(lines, window.columns)
    return np.zeros(plan.shape, layout.dtype) if block is None else block


def _scatter(plan: BlockPlan, readers: Sequence[RangeReader]) -> Array:
    """Let the frames' parts come straight to their places; those that are nowhere are 0."""
    layout, window = plan.request.layout, plan.request.window
    n_frames = plan.request.frames.size
    low, high = window.byte_span(layout)
    size = high - low
    memory = _memory(plan, (n_frames * size,), np.dtype(np.uint8))
    by_frame = memory.reshape(n_frames, size)
    for read in plan.reads:
        reader = readers[read.part]
        if read.stretches is not None:
            cast(RangeKeeper, reader).copy(read.stretches, memory)
        else:
            targets = [
                (read.offset + run.start, _target(run, read, layout, size, memory))
                for run in read.runs
            ]
            cast(RangeFiller, reader).fill(targets)
        for again, first in read.repeats:
            by_frame[again] = by_frame[first]
    stretch = _frames_in(memory, layout, window, n_frames, size)
    found = layout.pixels.decode(stretch[:, :: window.rows.step], window.columns)
    # As in `_decoded`, but the memory holds what is between the rows, too.
    return found.copy() if found.nbytes < memory.nbytes else found


def _memory(plan: BlockPlan, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Memory to write frames to; 0 where some are nowhere, else not cleared, which takes time."""
    return (np.empty if plan.complete else np.zeros)(shape, dtype)


def _decoded(lines: Bytes, layout: Layout, window: Window) -> Array:
    """The numbers in rows of our own; a narrow view would hold on to all of them."""
    found = layout.pixels.decode(lines, window.columns)
    return found.copy() if found.nbytes < lines.nbytes else found


def _target(run: FrameRun, read: PlannedRead, layout: Layout, size: int, memory: Bytes) -> Target:
    """Where the bytes of a run belong."""
    there = read.places[run.first : run.last]
    gaps = np.diff(read.numbers[run.first : run.last]) * layout.frame_bytes - size
    # What follows one another in the file and in memory alike is one segment.
    cuts = (np.flatnonzero((gaps > 0) | (np.diff(there) != 1)) + 1).tolist()
    segments: list[tuple[int, Bytes | None]] = []
    for first, last in zip((0, *cuts), (*cuts, there.size), strict=True):
        if first and gaps[first - 1]:
            segments.append((int(gaps[first - 1]), None))
        start, length = int(there[first]) * size, (last - first) * size
        segments.append((length, memory[start : start + length]))
    return Target(segments)


def _announce(pages: Bytes, request: Request, numbers: Frames) -> None:
    """Say which parts of mapped pages will be used, in case they are yet to be read."""
    low, high = request.window.byte_span(request.layout)
    frame_bytes = request.layout.frame_bytes
    starts = (numbers - numbers[0]) * frame_bytes
    expect(pages, starts, length=high - low, stride=frame_bytes, tuning=request.tuning)


def _as_slice(inside: Frames) -> slice | Frames:
    """A slice where the positions are even: it reads in place where a list would copy first."""
    step = even_step(inside)
    return slice(int(inside[0]), int(inside[-1]) + 1, step) if step else inside


def _frames_in(buffer: Bytes, layout: Layout, window: Window, n_frames: int, step: int) -> Bytes:
    """View memory, from a window's first byte on, as (frames, rows, bytes), a frame a `step`."""
    first, last = layout.pixels.byte_range(window.columns)
    n_rows = window.rows[-1] - window.rows.start + 1
    # The last frame ends with the window: the strides do not lead past the buffer.
    shape = (n_frames, n_rows, last - first)
    strides = (step, layout.row_bytes, 1)
    reach = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1
    if reach > buffer.size:
        raise AssertionError(f"a view of {reach} bytes over a buffer of {buffer.size}")
    return np.ndarray(shape, np.uint8, buffer, strides=strides)


def _native(block: Array) -> Array:
    """The same numbers in this machine's byte order and at their natural places in memory."""
    if not block.dtype.isnative:
        # Memory of our own: what is viewed where it is mapped was planned to be native.
        return block.byteswap(inplace=True).view(block.dtype.newbyteorder("="))
    # Data that begin at an odd byte: compiled code downstream wants its numbers aligned.
    return block if block.flags.aligned else block.copy()
