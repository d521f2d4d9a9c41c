"""Plan for reading one block, which can be executed or asked for its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from mrcdist.plan.coalesce import FrameRun, Window, even_run, merge_frames
from mrcdist.plan.layout import Frames, Layout, within
from mrcdist.plan.reader_capabilities import Cost, FrameFile, MapReader, Stretches
from mrcdist.read_limits import ReadLimits


class Access(Enum):
    """Ways to read a block."""

    VIEW = "view"
    """Return a view of one byte range."""
    COPY_FROM_MAP = "copy from map"
    """Copy frames out of a map of the whole file."""
    GATHER = "gather"
    """Copy frames out of buffers or mapped pages of byte ranges."""
    SCATTER = "scatter"
    """Read the bytes of each range directly to their places in the block."""


@dataclass(frozen=True, slots=True)
class PlannedRead:
    """Reads from one file, the one with the index `part`.

    Each run serves a slice of `places` and `numbers`: the positions of its frames in the block, and
    their numbers in the file. Runs are relative to the first frame, at byte `offset`. `repeats` are
    pairs of places that hold the same frame: copy to the first from the second. If parts of frames
    are read one by one to their places, there are `stretches` instead of runs.
    """

    part: int
    offset: int
    runs: tuple[FrameRun, ...]
    places: Frames
    numbers: Frames
    repeats: tuple[tuple[int, int], ...] = ()
    stretches: Stretches | None = None

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Start and stop offset of each run in the file."""
        return [(self.offset + run.start, self.offset + run.stop) for run in self.runs]


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """Frames of one or more files, and the window to read from each of them.

    `frames` are numbers in array order, at least one; -1 is a missing frame, which reads as 0.
    """

    parts: Sequence[FrameFile]
    layout: Layout
    frames: Frames
    window: Window
    limits: ReadLimits

    @property
    def stored_bytes(self) -> int:
        """Bytes of the requested pixels as stored."""
        pixels, window = self.layout.pixels, self.window
        return self.frames.size * len(window.rows) * pixels.bytes_of(len(window.columns))


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """Plan for reading a block, with the reads of each file.

    A view or a copy from a map has exactly one read. If there is a reader that `maps`, the block is
    a view of its mapped pages or is copied out of a shared map; both count towards the process's
    budget for maps. `unused_bytes` of the pages of a view are not needed.
    """

    access: Access
    reads: tuple[PlannedRead, ...]
    request: BlockRequest
    maps: MapReader | None = None
    unused_bytes: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the block: frames, rows, columns and, for RGB, components."""
        window, layout = self.request.window, self.request.layout
        sizes = self.request.frames.size, len(window.rows), len(window.columns)
        return (*sizes, *layout.pixels.components)

    @property
    def complete(self) -> bool:
        """Whether all requested frames exist; missing ones are 0."""
        n_frames = sum(read.places.size + len(read.repeats) for read in self.reads)
        return n_frames == self.request.frames.size

    @property
    def without_map(self) -> BlockPlan:
        """Plan to use if the budget for maps is exhausted.

        Computed on demand, because most blocks never need it.
        """
        return _copied(self.request)

    @property
    def cost(self) -> Cost:
        """Cost of reading in a process that has no memory to spare for mapped pages.

        Other processes read the same bytes with fewer requests, in memory that counts towards the
        budget for maps. Coroutines also make fewer requests if they read adjacent blocks at the
        same time; see `mrcdist.plan.coalesce.join_adjacent`.
        """
        if not self.request.parts:
            return Cost(0, 0)
        if self.access is Access.VIEW:
            return self._cost_of_view()
        if self.access is Access.COPY_FROM_MAP:
            return self.without_map.cost
        return self._cost_of_copies()

    def _cost_of_view(self) -> Cost:
        request = self.request
        [(start, stop)] = self.reads[0].spans
        can = request.parts[0].can
        cost = can.cost(start, stop)
        nbytes = stop - start
        unused = max(nbytes - request.stored_bytes, 0)
        if self.maps is not None and unused:
            return Cost(0, nbytes, self.without_map.cost.held)
        # A buffer that contains nothing but the block is returned as the block.
        becomes_block = request.layout.pixels.plain and not unused
        return Cost(cost.requests, cost.nbytes, (0 if becomes_block else nbytes) + cost.held)

    def _cost_of_copies(self) -> Cost:
        request = self.request
        parts, layout, window = request.parts, request.layout, request.window
        costs = [parts[read.part].can.cost(*span) for read in self.reads for span in read.spans]
        ahead = max(part.can.ahead for part in parts)
        held = sum(sorted(cost.held for cost in costs)[-(ahead + 1) :])
        for read in self.reads:
            if read.stretches is not None:
                lengths = read.stretches.lengths
                costs.append(Cost(lengths.size, int(lengths.sum())))
        runs = [run for read in self.reads for run in read.runs]
        if self.access is Access.SCATTER:
            low, high = window.byte_span(layout)
            memory = request.frames.size * (high - low)
            held += 0 if layout.pixels.plain and memory <= request.stored_bytes else memory
        elif parts[0].can.maps is not None:
            # The largest piece and its decoded pixels.
            held += max((run.stop - run.start for run in runs), default=0)
            decoded = len(window.rows) * len(window.columns) * layout.dtype.itemsize
            held += max((run.last - run.first for run in runs), default=0) * decoded
        else:
            # Pieces fetched ahead, the one arriving and the one being copied.
            held += sum(sorted(run.stop - run.start for run in runs)[-(ahead + 2) :])
        return Cost(sum(cost.requests for cost in costs), sum(cost.nbytes for cost in costs), held)


def plan_by_rows(request: BlockRequest) -> list[BlockPlan]:
    """Return a plan for each group of rows between gaps that cost more than another request.

    Evenly spaced rows are one group if they can be a view of mapped pages, and so are all rows of
    compressed frames: each group would be decompressed from the start.
    """
    rows, parts, layout = request.window.rows, request.parts, request.layout
    even = isinstance(rows, range)
    contiguous = isinstance(rows, range) and rows.step == 1
    if contiguous or any(part.can.whole_frames for part in parts):
        return [plan_block(request)]
    gaps = [part.in_place.max_gap if even else part.can.gap for part in parts]
    windows = request.window.split(layout.row_bytes, max(gaps, default=layout.nbytes))
    return [plan_block(replace(request, window=window)) for window in windows]


def plan_block(request: BlockRequest) -> BlockPlan:
    """Return the plan for reading a block."""
    plan = None
    if len(request.parts) == 1:
        [part] = request.parts
        step = even_step(request.frames)
        # The first and last of evenly spaced frames enclose the others.
        frames = request.frames[[0, -1]] if step else request.frames
        if within(frames, part.first, part.frames).all():
            plan = _view(request, step) if step else _copy_from_map(request)
    return _copied(request) if plan is None else plan


def even_step(frames: Frames) -> int:
    """Return the step of evenly spaced, increasing frames, or 0 if they are not."""
    if frames.size == 1:
        return 1
    steps = np.diff(frames)
    return int(steps[0]) if steps[0] > 0 and np.all(steps == steps[0]) else 0


def _view(request: BlockRequest, step: int) -> BlockPlan | None:
    """Return a plan to view the frames in one byte range, or None if that is impossible."""
    [part] = request.parts
    layout, window = request.layout, request.window
    stored = np.dtype(layout.pixels.stored)
    as_stored = layout.pixels.plain and stored.isnative and part.offset % stored.alignment == 0
    if part.can.maps is not None and (_narrow(request) or not as_stored):
        return None
    numbers = request.frames - part.first
    run = even_run(int(numbers[0]), int(numbers[-1]), step, layout, window, part.in_place)
    if run is None:
        return None
    read = PlannedRead(0, part.offset, (run,), np.arange(numbers.size), numbers)
    if not part.can.gives_pages(run.stop - run.start):
        return BlockPlan(Access.VIEW, (read,), request)
    low, high = window.byte_span(layout)
    touched = min(step * layout.frame_bytes, high - low + request.limits.around)
    unused = max(numbers.size * touched - request.stored_bytes, 0)
    return BlockPlan(Access.VIEW, (read,), request, part.can.maps, unused)


def _copy_from_map(request: BlockRequest) -> BlockPlan | None:
    """Return a plan to copy frames out of a map of the file, or None if it is not mapped."""
    [part] = request.parts
    low, high = request.window.byte_span(request.layout)
    if not part.can.gives_pages(request.frames.size * (high - low)):
        return None
    numbers = request.frames - part.first
    first, last = int(numbers.min()), int(numbers.max())
    frame_bytes = request.layout.frame_bytes
    run = FrameRun(first * frame_bytes + low, last * frame_bytes + high, 0, numbers.size)
    read = PlannedRead(0, part.offset, (run,), np.arange(numbers.size), numbers)
    return BlockPlan(Access.COPY_FROM_MAP, (read,), request, part.can.maps)


def _copied(request: BlockRequest) -> BlockPlan:
    """Return a plan to scatter the frames if all readers can, or else to gather them."""
    low, high = request.window.byte_span(request.layout)
    narrow = _narrow(request)
    scatter = high - low >= request.limits.min_scattered and all(
        part.can.fills is not None or (part.can.maps is not None and not narrow)
        for part in request.parts
    )
    reads = (_copying(request, part, once=scatter) for part in range(len(request.parts)))
    return BlockPlan(Access.SCATTER if scatter else Access.GATHER, tuple(reads), request)


def _copying(request: BlockRequest, index: int, *, once: bool) -> PlannedRead:
    """Return the reads of one file, in file order; `once` reads repeated frames only once."""
    part = request.parts[index]
    frames = request.frames - part.first
    places = np.flatnonzero(within(frames, 0, part.frames))
    places = places[np.argsort(frames[places], kind="stable")]
    numbers = frames[places]
    repeats: tuple[tuple[int, int], ...] = ()
    if once:
        repeated = np.flatnonzero(np.diff(numbers) == 0) + 1
        repeats = tuple(zip(places[repeated].tolist(), places[repeated - 1].tolist(), strict=True))
        places, numbers = np.delete(places, repeated), np.delete(numbers, repeated)
        if part.can.fills is None and part.can.maps is not None:
            stretches = _stretches(request, part, part.can.maps, places, numbers)
            return PlannedRead(index, part.offset, (), places, numbers, repeats, stretches)
    runs = tuple(merge_frames(numbers, request.layout, request.window, part.merging))
    return PlannedRead(index, part.offset, runs, places, numbers, repeats)


def _narrow(request: BlockRequest) -> bool:
    """Whether only a small part of each frame is needed, in short pieces."""
    layout, limits = request.layout, request.limits
    columns, rows = request.window.columns, request.window.rows
    row_piece = layout.pixels.bytes_of(len(columns))
    if row_piece * len(rows) > layout.frame_bytes * limits.narrow:
        return False
    if columns.step > 1:
        return layout.pixels.bytes_of(1) < limits.short_piece
    whole_rows = len(columns) == layout.frame_shape[1] and len(rows) == rows[-1] - rows[0] + 1
    return (row_piece * len(rows) if whole_rows else row_piece) < limits.short_piece


def _stretches(
    request: BlockRequest, part: FrameFile, reader: MapReader, places: Frames, numbers: Frames
) -> Stretches:
    """Return the stretches to read; the frames are in file order, and each occurs once."""
    low, high = request.window.byte_span(request.layout)
    size, frame_bytes = high - low, request.layout.frame_bytes
    gaps = np.diff(numbers) * frame_bytes != size
    cuts = np.flatnonzero(gaps | (np.diff(places) != 1)) + 1
    firsts = np.concatenate(([0], cuts)) if numbers.size else cuts
    counts = np.diff(firsts, append=numbers.size)
    starts = part.offset + low + numbers[firsts] * frame_bytes
    return Stretches(reader, starts, places[firsts] * size, counts * size)
