"""Execution of block plans with any kind of reader: plan → array."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from mrcdist.plan.block import Access, BlockPlan, BlockRequest, PlannedRead, even_step
from mrcdist.plan.coalesce import FrameRun
from mrcdist.plan.layout import Frames
from mrcdist.plan.reader_capabilities import Capabilities
from mrcdist.read.mapped import MappedFile, expect
from mrcdist.read.remote import RemoteReader
from mrcdist.storage.scatter_buffer import Bytes, ScatterBuffer

Array = npt.NDArray[Any]


class RangeReader(Protocol):
    """Reader of byte ranges of one version of one file.

    Reads raise `FileChangedError`, `MissingFileError`, `AccessDeniedError` or `ReadError`; those of
    compressed files also `TruncatedFileError` or `FormatError`. According to its capabilities, a
    reader that maps is a `MappedFile`, and one that fills a `RemoteReader`.
    """

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning."""

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), in order."""


def execute(plan: BlockPlan, readers: Sequence[RangeReader]) -> Array:
    """Return the block described by a plan; `readers` are those of its files, in the same order.

    The block has the shape ``plan.shape``, native byte order and aligned data; it is read-only if
    it is a view of mapped pages.
    """
    if (direct := _DirectRead.of(plan)) is not None:
        for read in plan.reads:
            if read.stretches is not None:
                cast(MappedFile, readers[read.part]).copy(read.stretches, direct.memory)
        for part, targets in direct.targets:
            cast(RemoteReader, readers[part]).fill(targets)
        return direct.block()
    if plan.access is Access.VIEW:
        block = _view(plan, readers[0])
    elif plan.access is Access.COPY_FROM_MAP:
        block = _copy_from_map(plan, cast(MappedFile, readers[0]))
    else:
        block = _gather(plan, readers)
    if block is not None:
        return _native(block)
    if plan.fallback is None:
        raise AssertionError("only plans that use a map can exceed the budget for maps")
    return execute(plan.fallback, readers)


async def execute_awaited(plan: BlockPlan, readers: Sequence[RemoteReader]) -> Array | None:
    """Return the block as `execute` does, or None if that needs a thread.

    A thread is needed to copy bytes out of buffers, since only a few buffers are held at a time.
    """
    direct = _DirectRead.of(plan)
    if direct is None:
        return None
    fetches = [readers[part].fill_awaited(targets) for part, targets in direct.targets]
    if len(fetches) == 1:
        await fetches[0]
    else:
        await asyncio.gather(*fetches)
    return direct.block()


@dataclass(frozen=True, slots=True)
class _DirectRead:
    """A block whose bytes are read directly to their places in `memory`.

    `targets` has the index of each file to be fetched, with the offsets and the destinations of its
    byte ranges.
    """

    plan: BlockPlan
    memory: Bytes
    targets: list[tuple[int, list[tuple[int, ScatterBuffer]]]]

    @classmethod
    def of(cls, plan: BlockPlan) -> Self | None:
        """Return the memory and the byte ranges of a block, or None if it is not read directly."""
        request = plan.request
        if plan.access is Access.VIEW and request.parts[0].can.fills:
            [(start, stop)] = plan.reads[0].spans
            memory = np.empty(stop - start, np.uint8)
            return cls(plan, memory, [(0, [(start, ScatterBuffer([(memory.size, memory)]))])])
        if plan.access is not Access.SCATTER:
            return None
        # In each frame, read everything from the first to the last requested byte.
        low, high = request.window.byte_span(request.layout)
        memory = _memory(plan, (request.frames.size * (high - low),), np.dtype(np.uint8))
        frame_bytes = request.layout.frame_bytes
        targets = [
            (read.part, [_target(run, read, frame_bytes, high - low, memory) for run in read.runs])
            for read in plan.reads
            if read.stretches is None
        ]
        return cls(plan, memory, targets)

    def block(self) -> Array:
        """Return the block, once all bytes have arrived."""
        decode = _viewed if self.plan.access is Access.VIEW else _scattered
        return _native(decode(self.plan, self.memory))


def _view(plan: BlockPlan, reader: RangeReader) -> Array | None:
    """Return a strided view of one buffer, or None if the budget for maps is exhausted."""
    [read] = plan.reads
    [(start, stop)] = read.spans
    buffer: Bytes | None
    if plan.mapped:
        buffer = cast(MappedFile, reader).keep(start, stop, plan.unused_bytes)
        if buffer is None:
            return None
        _announce(buffer, plan.request, read.numbers)
    else:
        [buffer] = reader.views([(start, stop)])
    return _viewed(plan, buffer)


def _viewed(plan: BlockPlan, buffer: Bytes) -> Array:
    """Return a strided view of the buffer that contains the only run of a plan."""
    numbers = plan.reads[0].numbers
    step = int(numbers[1] - numbers[0]) if numbers.size > 1 else 1
    lines = _frames_in(buffer, plan.request, int(numbers[-1] - numbers[0]) + 1)
    return _decoded(lines[::step], plan.request, 0 if plan.mapped else buffer.nbytes)


def _copy_from_map(plan: BlockPlan, reader: MappedFile) -> Array | None:
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


def _gather(plan: BlockPlan, readers: Sequence[RangeReader]) -> Array:
    """Copy frames out of the buffers of all byte ranges; missing frames are 0."""
    request = plan.request
    block = None
    for read in plan.reads:
        can = request.parts[read.part].can
        for run, buffer in zip(read.runs, readers[read.part].views(read.spans), strict=True):
            places = read.places[run.first : run.last]
            numbers = read.numbers[run.first : run.last] - read.numbers[run.first]
            if can.gives_pages(buffer.size):
                _announce(buffer, request, numbers)
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


def _target(
    run: FrameRun, read: PlannedRead, frame_bytes: int, size: int, memory: Bytes
) -> tuple[int, ScatterBuffer]:
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
    return read.offset + run.start, ScatterBuffer(segments)


def _announce(pages: Bytes, request: BlockRequest, numbers: Frames) -> None:
    """Have those parts of mapped pages read ahead that will be used."""
    low, high = request.window.byte_span(request.layout)
    frame_bytes = request.layout.frame_bytes
    starts = (numbers - numbers[0]) * frame_bytes
    expect(pages, starts, length=high - low, stride=frame_bytes, limits=request.limits)


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
    shape = (n_frames, rows[-1] - rows.start + 1, last - first)
    strides = (layout.frame_bytes if step is None else step, layout.row_bytes, 1)
    extent = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 1
    if extent > buffer.size:
        raise AssertionError(f"a view of {extent} bytes of a buffer of {buffer.size}")
    return np.ndarray(shape, np.uint8, buffer, strides=strides)[:, :: rows.step]


def _native(block: Array) -> Array:
    """Return the block in native byte order, and aligned."""
    if not block.dtype.isnative:
        # Not a read-only map, because only native data are planned as views.
        return block.byteswap(inplace=True).view(block.dtype.newbyteorder("="))
    # Compiled code downstream needs aligned data, which those at odd offsets are not.
    return block if block.flags.aligned else block.copy()
