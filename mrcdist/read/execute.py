"""Execute a block plan with any kind of reader: plan → array."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from mrcdist.plan.block import Access, BlockPlan, BlockRequest, PlannedRead, even_step
from mrcdist.plan.coalesce import FrameRun, Window
from mrcdist.plan.layout import Frames, Layout
from mrcdist.read.protocol import AwaitedFiller, RangeFiller, RangeKeeper, RangeReader
from mrcdist.read.readahead import expect
from mrcdist.storage.scatter_buffer import Bytes, ScatterBuffer

__all__ = ["execute", "execute_awaited"]

Array = npt.NDArray[Any]


def execute(plan: BlockPlan, readers: Sequence[RangeReader]) -> Array:
    """Return the block described by a plan.

    Parameters
    ----------
    plan : BlockPlan
    readers : sequence of RangeReader
        One per file of the plan, in the same order.

    Returns
    -------
    ndarray, shape ``plan.shape``
        Native-endian and aligned. Read-only if it is a view of mapped pages.
    """
    filling = _Filling.of(plan)
    if filling is not None:
        for part, targets in filling.targets:
            cast(RangeFiller, readers[part]).fill(targets)
        return filling.block()
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
        raise AssertionError("only plans that use a map can fail for lack of memory")
    return execute(fallback, readers)


async def execute_awaited(plan: BlockPlan, readers: Sequence[AwaitedFiller]) -> Array | None:
    """Return the block as `execute` does, or None if that takes a thread of its own.

    That is so where bytes are copied out of buffers, of which only a few are held at a time.
    """
    filling = _Filling.of(plan)
    if filling is None:
        return None
    if len(filling.targets) == 1:
        [(part, targets)] = filling.targets
        await readers[part].fill_awaited(targets)
    else:
        await asyncio.gather(
            *(readers[part].fill_awaited(targets) for part, targets in filling.targets)
        )
    return filling.block()


@dataclass(frozen=True, slots=True)
class _Filling:
    """A block whose bytes readers put directly to their places.

    Attributes
    ----------
    plan : BlockPlan
    memory : ndarray of uint8
    targets : list of (int, list of (int, ScatterBuffer))
        Of each file its index, and the offsets of byte ranges, each with its places in the memory.
    """

    plan: BlockPlan
    memory: Bytes
    targets: list[tuple[int, list[tuple[int, ScatterBuffer]]]]

    @classmethod
    def of(cls, plan: BlockPlan) -> Self | None:
        """Return the memory for a block and what belongs into it; None if it is read otherwise."""
        parts = plan.request.parts
        if plan.access is Access.VIEW and parts[0].can.fills:
            [(start, stop)] = plan.reads[0].spans
            memory = np.empty(stop - start, np.uint8)
            return cls(plan, memory, [(0, [(start, ScatterBuffer([(memory.size, memory)]))])])
        if plan.access is Access.SCATTER and all(read.stretches is None for read in plan.reads):
            memory = _scattered_memory(plan)
            targets = [(read.part, _scatter_buffers(plan, read, memory)) for read in plan.reads]
            return cls(plan, memory, targets)
        return None

    def block(self) -> Array:
        """Return the block, all bytes of which have come."""
        finished = _viewed if self.plan.access is Access.VIEW else _scattered
        return _native(finished(self.plan, self.memory))


def _view(plan: BlockPlan, reader: RangeReader) -> Array | None:
    """Return a strided view of one buffer, or None if the budget for maps is exhausted."""
    request, [read] = plan.request, plan.reads
    [(start, stop)] = read.spans
    buffer: Bytes | None
    if plan.mapped:
        buffer = cast(RangeKeeper, reader).keep(start, stop, plan.unused_bytes)
        if buffer is None:
            return None
        _announce(buffer, request, read.numbers)
    else:
        [buffer] = reader.views([(start, stop)])
    return _viewed(plan, buffer)


def _viewed(plan: BlockPlan, buffer: Bytes) -> Array:
    """Return the strided view of a buffer that has the bytes of a plan's one run."""
    request, [read] = plan.request, plan.reads
    layout, window, numbers = request.layout, request.window, read.numbers
    step = int(numbers[1] - numbers[0]) if numbers.size > 1 else 1
    n_frames = int(numbers[-1] - numbers[0]) + 1
    stretch = _frames_in(buffer, layout, window, n_frames, layout.frame_bytes)
    found = layout.pixels.decode(stretch[::step, :: window.rows.step], window.columns)
    # A narrow view would keep the whole buffer alive.
    return found.copy() if not plan.mapped and found.nbytes < buffer.nbytes else found


def _copy_from_map(plan: BlockPlan, reader: RangeKeeper) -> Array | None:
    """Copy frames out of a shared map, or return None if the budget for maps is exhausted."""
    request, [read] = plan.request, plan.reads
    layout, window = request.layout, request.window
    low, high = window.byte_span(layout)
    there = read.numbers - read.numbers.min()
    [(start, stop)] = read.spans
    with reader.borrow_map(start, stop, there * layout.frame_bytes, high - low) as buffer:
        if buffer is None:
            return None
        n_frames = int(there.max()) + 1
        stretch = _frames_in(buffer, layout, window, n_frames, layout.frame_bytes)
        return _decoded(stretch[there, :: window.rows.step], layout, window)


def _gather(plan: BlockPlan, readers: Sequence[RangeReader]) -> Array:
    """Copy frames out of the buffers of all ranges; missing frames are 0."""
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
            if there.size == n_frames:  # all frames in one buffer: copy them once, in array order
                in_order = np.empty_like(there)
                in_order[places] = there
                block = _decoded(stretch[in_order, :: window.rows.step], layout, window)
            else:
                block = _memory(plan, plan.shape, layout.dtype) if block is None else block
                lines = stretch[_as_slice(there), :: window.rows.step]
                block[_as_slice(places)] = layout.pixels.decode(lines, window.columns)
    return np.zeros(plan.shape, layout.dtype) if block is None else block


def _scatter(plan: BlockPlan, readers: Sequence[RangeReader]) -> Array:
    """Read parts of frames directly to their places, by whatever each file can."""
    memory = _scattered_memory(plan)
    for read in plan.reads:
        reader = readers[read.part]
        if read.stretches is not None:
            cast(RangeKeeper, reader).copy(read.stretches, memory)
        else:
            cast(RangeFiller, reader).fill(_scatter_buffers(plan, read, memory))
    return _scattered(plan, memory)


def _scattered_memory(plan: BlockPlan) -> Bytes:
    """Return memory for the bytes from the first to the last one wanted of each frame."""
    request = plan.request
    low, high = request.window.byte_span(request.layout)
    return _memory(plan, (request.frames.size * (high - low),), np.dtype(np.uint8))


def _scatter_buffers(
    plan: BlockPlan, read: PlannedRead, memory: Bytes
) -> list[tuple[int, ScatterBuffer]]:
    """Return the offset of each run in the file, and its places in memory."""
    layout = plan.request.layout
    size = memory.size // plan.request.frames.size
    return [
        (read.offset + run.start, _scatter_buffer(run, read, layout, size, memory))
        for run in read.runs
    ]


def _scattered(plan: BlockPlan, memory: Bytes) -> Array:
    """Return the block whose parts of frames are in memory; missing frames are 0."""
    layout, window = plan.request.layout, plan.request.window
    n_frames = plan.request.frames.size
    size = memory.size // n_frames
    by_frame = memory.reshape(n_frames, size)
    for read in plan.reads:
        for again, first in read.repeats:
            by_frame[again] = by_frame[first]
    stretch = _frames_in(memory, layout, window, n_frames, size)
    found = layout.pixels.decode(stretch[:, :: window.rows.step], window.columns)
    # As in `_decoded`, but the memory also contains the bytes between rows.
    return found.copy() if found.nbytes < memory.nbytes else found


def _memory(plan: BlockPlan, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return memory for frames, cleared only if some are missing, because clearing is slow."""
    return (np.empty if plan.complete else np.zeros)(shape, dtype)


def _decoded(lines: Bytes, layout: Layout, window: Window) -> Array:
    """Decode copied rows; copy a narrow result again, since a view would keep all of them."""
    found = layout.pixels.decode(lines, window.columns)
    return found.copy() if found.nbytes < lines.nbytes else found


def _scatter_buffer(
    run: FrameRun, read: PlannedRead, layout: Layout, size: int, memory: Bytes
) -> ScatterBuffer:
    """Return the places in memory for the bytes of a run."""
    there = read.places[run.first : run.last]
    gaps = np.diff(read.numbers[run.first : run.last]) * layout.frame_bytes - size
    # Frames that are contiguous both in the file and in memory form one segment.
    cuts = (np.flatnonzero((gaps > 0) | (np.diff(there) != 1)) + 1).tolist()
    segments: list[tuple[int, Bytes | None]] = []
    for first, last in zip((0, *cuts), (*cuts, there.size), strict=True):
        if first and gaps[first - 1]:
            segments.append((int(gaps[first - 1]), None))
        start, length = int(there[first]) * size, (last - first) * size
        segments.append((length, memory[start : start + length]))
    return ScatterBuffer(segments)


def _announce(pages: Bytes, request: BlockRequest, numbers: Frames) -> None:
    """Tell the kernel which parts of mapped pages will be used, in case they are not in memory."""
    low, high = request.window.byte_span(request.layout)
    frame_bytes = request.layout.frame_bytes
    starts = (numbers - numbers[0]) * frame_bytes
    expect(pages, starts, length=high - low, stride=frame_bytes, limits=request.limits)


def _as_slice(inside: Frames) -> slice | Frames:
    """Return a slice if the positions are evenly spaced, because indexing with a list copies."""
    step = even_step(inside)
    return slice(int(inside[0]), int(inside[-1]) + 1, step) if step else inside


def _frames_in(buffer: Bytes, layout: Layout, window: Window, n_frames: int, step: int) -> Bytes:
    """Return a view (frames, rows, bytes) of a buffer that begins with the window; see `step`.

    Frames are `step` bytes apart.
    """
    first, last = layout.pixels.byte_range(window.columns)
    n_rows = window.rows[-1] - window.rows.start + 1
    # The buffer ends with the window of the last frame; check that strides stay inside.
    shape = (n_frames, n_rows, last - first)
    strides = (step, layout.row_bytes, 1)
    reach = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1
    if reach > buffer.size:
        raise AssertionError(f"a view of {reach} bytes over a buffer of {buffer.size}")
    return np.ndarray(shape, np.uint8, buffer, strides=strides)


def _native(block: Array) -> Array:
    """Return the block in native byte order and aligned."""
    if not block.dtype.isnative:
        # Never a read-only map: blocks are planned as views only if they are native.
        return block.byteswap(inplace=True).view(block.dtype.newbyteorder("="))
    # Data at odd offsets: compiled code downstream needs aligned numbers.
    return block if block.flags.aligned else block.copy()
