"""Execution of block plans with any kind of reader: plan → array."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mrcdist.format.pixels import Bytes
from mrcdist.plan.block import Access, BlockPlan, BlockRequest, PlannedRead, even_step
from mrcdist.plan.coalesce import FrameRun
from mrcdist.plan.layout import Frames
from mrcdist.plan.reader_capabilities import FillReader, MapReader, Parts, Target

Array = npt.NDArray[Any]


def execute(plan: BlockPlan) -> Array:
    """Return the block described by a plan.

    The block has the shape ``plan.shape``, native byte order and aligned data; it is read-only if
    it is a view of mapped pages.
    """
    direct = _DirectRead.of(plan)
    if direct is not None:
        _read_directly([direct])
        return direct.block()
    if plan.maps is not None:
        from_map = _view_of_map if plan.access is Access.VIEW else _copy_from_map
        block = from_map(plan, plan.maps)
        return execute(plan.without_map) if block is None else _native(block)
    if plan.access is Access.VIEW:
        [buffer] = plan.request.parts[0].can.views(plan.reads[0].spans)
        return _native(_viewed(plan, buffer))
    return _native(_gather(plan))


def execute_together(plans: Sequence[BlockPlan]) -> list[Array]:
    """Return the blocks of plans; byte ranges that are read directly are fetched concurrently."""
    direct = [_DirectRead.of(plan) for plan in plans]
    _read_directly([read for read in direct if read is not None])
    return [
        execute(plan) if read is None else read.block()
        for plan, read in zip(plans, direct, strict=True)
    ]


async def execute_awaited(plan: BlockPlan) -> Array | None:
    """Return the block as `execute` does, or None if that needs a thread.

    All readers must be awaitable. A thread is needed to copy bytes out of buffers, since only a few
    buffers are held at a time.
    """
    direct = _DirectRead.of(plan)
    if direct is None:
        return None
    fetches = [reader.fill_awaited(targets) for reader, targets in direct.targets]
    if len(fetches) == 1:
        await fetches[0]
    else:
        await asyncio.gather(*fetches)
    return direct.block()


@dataclass(frozen=True, slots=True)
class _DirectRead:
    """A block whose bytes are read directly to their places in `memory`.

    `targets` are the byte ranges of each file to be fetched, with its reader.
    """

    plan: BlockPlan
    memory: Bytes
    targets: list[tuple[FillReader, list[Target]]]

    @classmethod
    def of(cls, plan: BlockPlan) -> Self | None:
        """Return the memory and the byte ranges of a block, or None if it is not read directly."""
        request = plan.request
        if plan.access is Access.VIEW and (reader := request.parts[0].can.fills) is not None:
            [(start, stop)] = plan.reads[0].spans
            memory = np.empty(stop - start, np.uint8)
            return cls(plan, memory, [(reader, [(start, [(memory.size, memory)])])])
        if plan.access is not Access.SCATTER:
            return None
        # In each frame, read everything from the first to the last requested byte.
        low, high = request.window.byte_span(request.layout)
        memory = _memory(plan, (request.frames.size * (high - low),), np.dtype(np.uint8))
        frame_bytes = request.layout.frame_bytes
        targets = [
            (reader, [_target(run, read, frame_bytes, high - low, memory) for run in read.runs])
            for read in plan.reads
            if (reader := request.parts[read.part].can.fills) is not None
        ]
        return cls(plan, memory, targets)

    def block(self) -> Array:
        """Return the block, once all bytes have arrived."""
        decode = _viewed if self.plan.access is Access.VIEW else _scattered
        return _native(decode(self.plan, self.memory))


def _read_directly(blocks: Sequence[_DirectRead]) -> None:
    """Read the bytes of blocks; those of each file are fetched concurrently."""
    by_reader: dict[FillReader, list[Target]] = {}
    for block in blocks:
        for read in block.plan.reads:
            if read.stretches is not None:
                read.stretches.reader.copy(read.stretches, block.memory)
        for reader, targets in block.targets:
            by_reader.setdefault(reader, []).extend(targets)
    for reader, targets in by_reader.items():
        reader.fill(targets)


def _view_of_map(plan: BlockPlan, reader: MapReader) -> Array | None:
    """Return a strided view of mapped pages, or None if the budget for maps is exhausted."""
    [read] = plan.reads
    [(start, stop)] = read.spans
    buffer = reader.keep(start, stop, _parts(plan.request, read.numbers), plan.unused_bytes)
    return None if buffer is None else _viewed(plan, buffer)


def _viewed(plan: BlockPlan, buffer: Bytes) -> Array:
    """Return a strided view of the buffer that contains the only run of a plan."""
    numbers = plan.reads[0].numbers
    step = int(numbers[1] - numbers[0]) if numbers.size > 1 else 1
    lines = _frames_in(buffer, plan.request, int(numbers[-1] - numbers[0]) + 1)
    return _decoded(lines[::step], plan.request, 0 if plan.maps else buffer.nbytes)


def _copy_from_map(plan: BlockPlan, reader: MapReader) -> Array | None:
    """Copy frames out of a shared map, or return None if the budget for maps is exhausted."""
    request, [read] = plan.request, plan.reads
    low, high = request.window.byte_span(request.layout)
    numbers = read.numbers - read.numbers.min()
    [(start, stop)] = read.spans
    parts = numbers * request.layout.frame_bytes
    with reader.borrow_map(start, stop, parts, high - low) as buffer:
        if buffer is None:
            return None
        lines = _frames_in(buffer, request, int(numbers.max()) + 1)[numbers]
        return _decoded(lines, request, lines.nbytes)


def _gather(plan: BlockPlan) -> Array:
    """Copy frames out of the buffers of all byte ranges; missing frames are 0."""
    request = plan.request
    block = None
    for read in plan.reads:
        can = request.parts[read.part].can
        if can.maps is None:
            buffers = can.views(read.spans)
        else:
            parts = (_parts(request, read.numbers[run.first : run.last]) for run in read.runs)
            buffers = can.maps.pages(read.spans, parts)
        for run, buffer in zip(read.runs, buffers, strict=True):
            places = read.places[run.first : run.last]
            numbers = read.numbers[run.first : run.last] - read.numbers[run.first]
            frames = _frames_in(buffer, request, int(numbers[-1]) + 1)
            if numbers.size == request.frames.size:  # all in one buffer: copy once, in array order
                in_order = np.empty_like(numbers)
                in_order[places] = numbers
                lines = frames[in_order]
                block = _decoded(lines, request, lines.nbytes)
            else:
                if block is None:
                    block = _memory(plan, plan.shape, request.layout.dtype)
                block[_as_slice(places)] = _decoded(frames[_as_slice(numbers)], request)
    return np.zeros(plan.shape, request.layout.dtype) if block is None else block


def _scattered(plan: BlockPlan, memory: Bytes) -> Array:
    """Return the block from the parts of frames in memory; missing frames are 0."""
    n_frames = plan.request.frames.size
    by_frame = memory.reshape(n_frames, -1)
    for read in plan.reads:
        for duplicate, first in read.repeats:
            by_frame[duplicate] = by_frame[first]
    lines = _frames_in(memory, plan.request, n_frames, by_frame.shape[1])
    return _decoded(lines, plan.request, memory.nbytes)


def _memory(plan: BlockPlan, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return memory for frames, zeroed only if some are missing, because zeroing is slow."""
    return (np.empty if plan.complete else np.zeros)(shape, dtype)


def _decoded(lines: Bytes, request: BlockRequest, held: int = 0) -> Array:
    """Decode rows; copy the result if it is smaller than the `held` bytes it would keep alive."""
    decoded = request.layout.pixels.decode(lines, request.window.columns)
    return decoded.copy() if decoded.nbytes < held else decoded


def _target(run: FrameRun, read: PlannedRead, frame_bytes: int, size: int, memory: Bytes) -> Target:
    """Return the offset of a run, and the destinations of the `size` bytes of each frame."""
    places = read.places[run.first : run.last]
    gaps = np.diff(read.numbers[run.first : run.last]) * frame_bytes - size
    # Frames that are contiguous both in the file and in memory form one segment.
    cuts = (np.flatnonzero((gaps > 0) | (np.diff(places) != 1)) + 1).tolist()
    segments: list[tuple[int, Bytes | None]] = []
    for first, last in zip((0, *cuts), (*cuts, places.size), strict=True):
        if first and gaps[first - 1]:
            segments.append((int(gaps[first - 1]), None))
        start, length = int(places[first]) * size, (last - first) * size
        segments.append((length, memory[start : start + length]))
    return read.offset + run.start, segments


def _parts(request: BlockRequest, numbers: Frames) -> Parts:
    """Return the parts of a range that frames use, if it starts with the first of them."""
    low, high = request.window.byte_span(request.layout)
    frame_bytes = request.layout.frame_bytes
    return Parts((numbers - numbers[0]) * frame_bytes, high - low, frame_bytes)


def _as_slice(positions: Frames) -> slice | Frames:
    """Return a slice if positions are evenly spaced, because indexing with an array copies."""
    step = even_step(positions)
    return slice(int(positions[0]), int(positions[-1]) + 1, step) if step else positions


def _frames_in(
    buffer: Bytes, request: BlockRequest, n_frames: int, step: int | None = None
) -> Bytes:
    """Return a view (frames, rows, bytes) of a buffer that starts with the window.

    Frames are `step` bytes apart, by default as in the file.
    """
    layout, rows = request.layout, request.window.rows
    first, last = layout.pixels.byte_range(request.window.columns)
    # The buffer ends with the window of the last frame: check that strides stay inside it.
    shape = (n_frames, int(rows[-1] - rows[0]) + 1, last - first)
    strides = (layout.frame_bytes if step is None else step, layout.row_bytes, 1)
    extent = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 1
    if extent > buffer.size:
        raise AssertionError(f"a view of {extent} bytes of a buffer of {buffer.size}")
    in_window = slice(None, None, rows.step) if isinstance(rows, range) else rows - rows[0]
    return np.ndarray(shape, np.uint8, buffer, strides=strides)[:, in_window]


def _native(block: Array) -> Array:
    """Return the block in native byte order, and aligned."""
    if not block.dtype.isnative:
        # Not a read-only map, because only native data are planned as views.
        return block.byteswap(inplace=True).view(block.dtype.newbyteorder("="))
    # Compiled code downstream needs aligned data, which those at odd offsets are not.
    return block if block.flags.aligned else block.copy()
