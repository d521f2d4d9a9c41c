"""A selection of the array → one native-endian block, over any reader of byte ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mrcdist.plan.coalesce import FrameRun, Window
from mrcdist.plan.indexing import Selection
from mrcdist.plan.layout import Frames, Layout
from mrcdist.read.places import (
    in_file_order,
    merged_runs,
    once,
    scatters,
    single_run,
    stored_bytes,
    stretches,
    usable,
)
from mrcdist.read.protocol import OpenPart, RangeFiller, RangeKeeper
from mrcdist.read.readahead import expect
from mrcdist.read.views import as_slice, even_step, frames_in, native
from mrcdist.storage.scatter import Target

__all__ = ["read_block"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

# Linux maps 64 KiB of what is in the page cache around each place that is touched, and a part of a
# frame has two ends.
_AROUND = 2**17


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
        step = even_step(frames)
        block = (
            _in_place(parts[0], layout, frames, window, step)
            if step
            else _picked(parts[0], layout, frames, window)
        )
    if block is None:
        gather = _scattered if scatters(parts, layout, window) else _gathered
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


def _in_place(
    part: OpenPart, layout: Layout, frames: Frames, window: Window, step: int
) -> Array | None:
    """View frames at an even step in one buffer; None where it takes several, or is no way.

    The result has shape (frames, rows, columns) + components, perhaps in foreign byte order.
    """
    run = single_run(part, layout, frames, window, step)
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
    return found.copy() if buffer.flags.writeable and found.nbytes < buffer.nbytes else found


def _kept(part: OpenPart, layout: Layout, run: FrameRun, spare: int) -> Bytes | None:
    """The bytes of a run, of which so many are not wanted; None where they had better be copied."""
    start, stop = part.offset + run.start, part.offset + run.stop
    if not isinstance(part.reader, RangeKeeper):
        [buffer] = part.reader.views([(start, stop)])
        return buffer
    return part.reader.keep(start, stop, spare) if usable(part, layout) else None


def _spare(layout: Layout, frames: Frames, window: Window, step: int) -> int:
    """Bytes of the pages that frames at an even step bring in beside what is wanted of them."""
    low, high = window.byte_span(layout)
    each = min(step * layout.frame_bytes, high - low + _AROUND)
    return max(frames.size * each - stored_bytes(layout, frames, window), 0)


def _picked(part: OpenPart, layout: Layout, frames: Frames, window: Window) -> Array | None:
    """Copy frames from all over a file out of a map of it; None where that is no way.

    Frames at an even step are read from one end to the other instead.
    """
    inside = frames - part.first
    first, last = int(inside.min()), int(inside.max())
    if not isinstance(part.reader, RangeKeeper) or first < 0 or last >= part.frames:
        return None
    low, high = window.byte_span(layout)
    start = part.offset + low + first * layout.frame_bytes
    stop = part.offset + high + last * layout.frame_bytes
    there = inside - first
    with part.reader.lend(start, stop, there * layout.frame_bytes, high - low) as buffer:
        if buffer is None:
            return None
        n_frames = last - first + 1
        stretch = frames_in(buffer, layout, window, n_frames, layout.frame_bytes)
        return _decoded(stretch[there, :: window.rows.step], layout, window)


def _gathered(parts: Sequence[OpenPart], layout: Layout, frames: Frames, window: Window) -> Array:
    """Copy the frames together from wherever they are; those that are nowhere are 0."""
    shape = (frames.size, len(window.rows), len(window.columns), *layout.pixels.components)
    block = None
    for part in parts:
        inside = frames - part.first
        order, wanted = in_file_order(inside, part.frames)
        runs = merged_runs(part, layout, wanted, window)
        spans = [(part.offset + run.start, part.offset + run.stop) for run in runs]
        for run, buffer in zip(runs, part.reader.views(spans), strict=True):
            there = wanted[run.first : run.last] - wanted[run.first]
            _announce(buffer, layout, window, there)
            stretch = frames_in(buffer, layout, window, int(there[-1]) + 1, layout.frame_bytes)
            if there.size == frames.size:  # all of them are here: one copy, in the array's order
                lines = stretch[inside - wanted[0], :: window.rows.step]
                block = _decoded(lines, layout, window)
            else:
                block = _memory(parts, frames, shape, layout.dtype) if block is None else block
                lines = stretch[as_slice(there), :: window.rows.step]
                places = as_slice(order[run.first : run.last])
                block[places] = layout.pixels.decode(lines, window.columns)
    return np.zeros(shape, layout.dtype) if block is None else block


def _memory(
    parts: Sequence[OpenPart], frames: Frames, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """Memory to write frames to; 0 where some are nowhere, else not cleared, which takes time."""
    found = [(frames >= part.first) & (frames < part.first + part.frames) for part in parts]
    everywhere = bool(np.all(np.logical_or.reduce(found)))
    return (np.empty if everywhere else np.zeros)(shape, dtype)


def _decoded(lines: Bytes, layout: Layout, window: Window) -> Array:
    """The numbers in rows of our own; a narrow view would hold on to all of them."""
    found = layout.pixels.decode(lines, window.columns)
    return found.copy() if found.nbytes < lines.nbytes else found


def _scattered(parts: Sequence[OpenPart], layout: Layout, frames: Frames, window: Window) -> Array:
    """Let the frames' parts come straight to their places; those that are nowhere are 0."""
    low, high = window.byte_span(layout)
    memory = _memory(parts, frames, (frames.size * (high - low),), np.dtype(np.uint8))
    for part in parts:
        _scatter(part, layout, frames, window, memory)
    stretch = frames_in(memory, layout, window, frames.size, high - low)
    found = layout.pixels.decode(stretch[:, :: window.rows.step], window.columns)
    # As in `_decoded`, but the memory holds what is between the rows, too.
    return found.copy() if found.nbytes < memory.nbytes else found


def _scatter(part: OpenPart, layout: Layout, frames: Frames, window: Window, memory: Bytes) -> None:
    """Read the frames' parts that are in one file to their places, one behind the other."""
    size = memory.size // frames.size
    places, numbers, repeats = once(frames - part.first, part.frames)
    if isinstance(part.reader, RangeKeeper):
        part.reader.copy(stretches(part, layout, window, places, numbers), memory)
    else:
        targets = [
            (part.offset + run.start, _target(run, places, numbers, layout, size, memory))
            for run in merged_runs(part, layout, numbers, window)
        ]
        cast(RangeFiller, part.reader).fill(targets)
    by_frame = memory.reshape(frames.size, size)
    for again, first in repeats:
        by_frame[again] = by_frame[first]


def _target(
    run: FrameRun, places: Frames, numbers: Frames, layout: Layout, size: int, memory: Bytes
) -> Target:
    """Where the bytes of a run belong."""
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
    return Target(segments)


def _announce(buffer: Bytes, layout: Layout, window: Window, frames: Frames) -> None:
    """Say which parts of a buffer will be used, in case they are pages that are yet to be read."""
    if buffer.flags.writeable:  # memory of our own
        return
    low, high = window.byte_span(layout)
    starts = (frames - frames[0]) * layout.frame_bytes
    expect(buffer, starts, length=high - low, stride=layout.frame_bytes)


def _increasing(positions: range) -> range:
    """The same positions in increasing order, as they lie in the file."""
    return positions if positions.step > 0 else positions[::-1]


def _direction(positions: range) -> slice:
    return slice(None, None, 1 if positions.step > 0 else -1)


def _stop(positions: range) -> int | None:
    return None if positions.stop < 0 else positions.stop
