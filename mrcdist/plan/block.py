"""How a block is read, decided before it is: a value that is carried out, or asked for its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from mrcdist.plan.capabilities import Cost, FrameFile
from mrcdist.plan.coalesce import FrameRun, Window, even_run, merge_frames
from mrcdist.plan.layout import Frames, Layout
from mrcdist.plan.tuning import DEFAULT_TUNING, Tuning

__all__ = [
    "Access",
    "BlockPlan",
    "PlannedRead",
    "Request",
    "Stretches",
    "even_step",
    "plan_block",
]


class Access(Enum):
    """The ways to a block."""

    VIEW = "view"
    """One range, whose bytes are the block as they lie there."""
    COPY_FROM_MAP = "copy from map"
    """Frames from all over a file, copied out of a map of it."""
    GATHER = "gather"
    """Ranges in buffers or mapped pages, from which the frames are copied one by one."""
    SCATTER = "scatter"
    """Ranges whose bytes are read straight to their places in the block."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """What follows one another both in a file and in memory.

    Attributes
    ----------
    starts, places, lengths : ndarray of int64
        First byte in the file, first byte in memory, and bytes, of each.
    """

    starts: Frames
    places: Frames
    lengths: Frames


@dataclass(frozen=True, slots=True)
class PlannedRead:
    """What is read of one file.

    Attributes
    ----------
    part : int
        Position of the file in the list of files.
    offset : int
        Byte that the runs are counted from.
    runs : tuple of FrameRun
        The byte ranges; which of `places` and `numbers` each serves.
    places, numbers : ndarray of int64
        Where frames go in the block, and their numbers, counted from the file's first frame.
    repeats : tuple of (int, int)
        Places that take the same frame as another place.
    stretches : Stretches or None
        Instead of runs, where single parts of frames are read to their places.
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
        """First byte and the byte after the last of each run, in the file."""
        return [(self.offset + run.start, self.offset + run.stop) for run in self.runs]


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted, and of which files: see `plan_block`."""

    parts: Sequence[FrameFile]
    layout: Layout
    frames: Frames
    window: Window
    tuning: Tuning

    @property
    def stored_bytes(self) -> int:
        """Bytes of the wanted pixels as they are stored."""
        pixels, window = self.layout.pixels, self.window
        return self.frames.size * len(window.rows) * pixels.bytes_of(len(window.columns))


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How a block is read.

    Attributes
    ----------
    access : Access
    reads : tuple of PlannedRead
        Of each file that holds some of the frames; of the only one where `access` needs it.
    request : Request
        What it is the plan for.
    mapped : bool
        Whether the block is a view of mapped pages, or is copied out of a shared map; either takes
        room in the process.
    spare : int
        Bytes of the pages of a view that are not wanted.
    """

    access: Access
    reads: tuple[PlannedRead, ...]
    request: Request
    mapped: bool = False
    spare: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the block: frames, rows, columns, and the components of RGB."""
        window, layout = self.request.window, self.request.layout
        sizes = self.request.frames.size, len(window.rows), len(window.columns)
        return (*sizes, *layout.pixels.components)

    @property
    def complete(self) -> bool:
        """Whether every frame is somewhere; others are 0."""
        found = sum(read.places.size + len(read.repeats) for read in self.reads)
        return found == self.request.frames.size

    @property
    def fallback(self) -> BlockPlan | None:
        """The plan for a process that has no room for the map; None where this one has no map.

        It is worked out when it is asked for: most blocks never need it.
        """
        return _copied(self.request) if self.mapped else None

    @property
    def cost(self) -> Cost:
        """What carrying the plan out takes in a process that has no memory to spare for pages.

        One that has it reads the same bytes in fewer requests, and in memory that the pool of maps
        accounts for.
        """
        if not self.request.parts:
            return Cost(0, 0)
        if self.access is Access.VIEW:
            return self._cost_of_view()
        if self.access is Access.COPY_FROM_MAP:
            return _copied(self.request).cost
        return self._cost_of_copies()

    def _cost_of_view(self) -> Cost:
        request = self.request
        [(start, stop)] = self.reads[0].spans
        can = request.parts[0].can
        taken = can.cost(start, stop)
        nbytes = stop - start
        unwanted = max(nbytes - request.stored_bytes, 0)
        if self.mapped and unwanted:
            return Cost(0, nbytes, _copied(request).cost.held)
        if can.maps:
            return Cost(taken.requests, nbytes, unwanted)
        # A buffer that holds nothing but the block becomes the block.
        becomes_block = request.layout.pixels.plain and not unwanted
        return Cost(taken.requests, taken.nbytes, (0 if becomes_block else nbytes) + taken.held)

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
        elif parts[0].can.maps:
            # The largest piece, and its pixels on their way.
            held += max((run.stop - run.start for run in runs), default=0)
            each = len(window.rows) * len(window.columns) * layout.dtype.itemsize
            held += max((run.last - run.first for run in runs), default=0) * each
        else:
            # Those fetched ahead, the one that comes and the one that is being copied.
            held += sum(sorted(run.stop - run.start for run in runs)[-(ahead + 2) :])
        return Cost(sum(cost.requests for cost in costs), sum(cost.nbytes for cost in costs), held)


def plan_block(
    parts: Sequence[FrameFile],
    layout: Layout,
    frames: Frames,
    window: Window,
    tuning: Tuning = DEFAULT_TUNING,
) -> BlockPlan:
    """Decide how a block is read.

    Parameters
    ----------
    parts : sequence of FrameFile
        The files that hold the frames.
    layout : Layout
    frames : ndarray of int64
        The wanted frames in array order, at least one; -1 where there is none, which reads as 0.
    window : Window
        The part of each frame that is wanted.
    tuning : Tuning, optional

    Returns
    -------
    BlockPlan
    """
    request = Request(parts, layout, frames, window, tuning)
    plan = None
    if len(parts) == 1:
        step = even_step(frames)
        # Frames at an even step are read from one end to the other.
        plan = _view(request, step) if step else _copy_from_map(request)
    return _copied(request) if plan is None else plan


def even_step(frames: Frames) -> int:
    """Return the step of an arithmetic, increasing list of frames; 0 if it is none."""
    if frames.size == 1:
        return 1
    steps = np.diff(frames)
    return int(steps[0]) if steps[0] > 0 and np.all(steps == steps[0]) else 0


def _view(request: Request, step: int) -> BlockPlan | None:
    """Plan the one read whose bytes, as they lie there, are the frames; None if there is none."""
    [part] = request.parts
    layout, frames, window = request.layout, request.frames, request.window
    first, last = int(frames[0]) - part.first, int(frames[-1]) - part.first
    if first < 0 or last >= part.frames:
        return None
    if part.can.maps and (_narrow(request) or not _usable(part, layout)):
        return None
    run = even_run(first, last, step, layout, window, part.in_place)
    if run is None:
        return None
    mapped = part.can.gives_pages(run.stop - run.start)
    return BlockPlan(
        Access.VIEW,
        (PlannedRead(0, part.offset, (run,), np.arange(frames.size), frames - part.first),),
        request,
        mapped,
        _spare(request, step) if mapped else 0,
    )


def _spare(request: Request, step: int) -> int:
    """Bytes of the pages that frames at an even step bring in beside what is wanted of them."""
    low, high = request.window.byte_span(request.layout)
    each = min(step * request.layout.frame_bytes, high - low + request.tuning.around)
    return max(request.frames.size * each - request.stored_bytes, 0)


def _copy_from_map(request: Request) -> BlockPlan | None:
    """Plan to copy frames from all over a file out of a map of it; None where that is no way."""
    [part] = request.parts
    if not part.can.maps:
        return None
    numbers = request.frames - part.first
    first, last = int(numbers.min()), int(numbers.max())
    low, high = request.window.byte_span(request.layout)
    if first < 0 or last >= part.frames or not part.can.gives_pages(numbers.size * (high - low)):
        return None
    frame_bytes = request.layout.frame_bytes
    run = FrameRun(first * frame_bytes + low, last * frame_bytes + high, 0, numbers.size)
    read = PlannedRead(0, part.offset, (run,), np.arange(numbers.size), numbers)
    return BlockPlan(Access.COPY_FROM_MAP, (read,), request, mapped=True)


def _copied(request: Request) -> BlockPlan:
    """Plan to copy the frames together from wherever they are."""
    if _scatters(request):
        reads = (_scattered(request, number) for number in range(len(request.parts)))
        return BlockPlan(Access.SCATTER, tuple(reads), request)
    return BlockPlan(
        Access.GATHER,
        tuple(_gathered(request, number) for number in range(len(request.parts))),
        request,
    )


def _gathered(request: Request, number: int) -> PlannedRead:
    part = request.parts[number]
    places, numbers = _in_file_order(request.frames - part.first, part.frames)
    return PlannedRead(number, part.offset, _runs(request, part, numbers), places, numbers)


def _scattered(request: Request, number: int) -> PlannedRead:
    part = request.parts[number]
    places, numbers, repeats = _once(request.frames - part.first, part.frames)
    fills = part.can.fills
    return PlannedRead(
        number,
        part.offset,
        _runs(request, part, numbers) if fills else (),
        places,
        numbers,
        repeats,
        None if fills else _stretches(request, part, places, numbers),
    )


def _usable(part: FrameFile, layout: Layout) -> bool:
    """Whether stored pixels are numbers as they lie in the file: native, and aligned."""
    stored = np.dtype(layout.pixels.stored)
    return layout.pixels.plain and stored.isnative and part.offset % stored.alignment == 0


def _scatters(request: Request) -> bool:
    """Whether the frames' parts are read straight to their places, not by way of buffers."""
    low, high = request.window.byte_span(request.layout)
    if high - low < request.tuning.least_scattered:
        return False
    narrow = _narrow(request)
    return all(part.can.fills or (part.can.maps and not narrow) for part in request.parts)


def _narrow(request: Request) -> bool:
    """Whether little is wanted of each frame, and that in short pieces."""
    layout, tuning = request.layout, request.tuning
    columns, rows = request.window.columns, request.window.rows
    wanted = layout.pixels.bytes_of(len(columns))
    if wanted * len(rows) > layout.frame_bytes * tuning.narrow:
        return False
    whole = len(columns) == layout.frame_shape[1]
    piece = wanted * len(rows) if whole and rows.step == 1 else wanted
    return (piece if columns.step == 1 else layout.pixels.bytes_of(1)) < tuning.short_piece


def _runs(request: Request, part: FrameFile, numbers: Frames) -> tuple[FrameRun, ...]:
    """The reads that serve a file's frames, which are in its order."""
    if not numbers.size:
        return ()
    return tuple(merge_frames(numbers, request.layout, request.window, part.merging))


def _in_file_order(frames: Frames, present: int) -> tuple[Frames, Frames]:
    """Positions in the block, in the file's order, and frames, of those that the file holds."""
    here = np.flatnonzero((frames >= 0) & (frames < present))
    order = here[np.argsort(frames[here], kind="stable")]
    return order, frames[order]


def _once(frames: Frames, present: int) -> tuple[Frames, Frames, tuple[tuple[int, int], ...]]:
    """Positions and frames in the file's order, each frame once; positions that repeat others."""
    order, wanted = _in_file_order(frames, present)
    again = np.flatnonzero(np.diff(wanted) == 0) + 1
    repeats = tuple(zip(order[again].tolist(), order[again - 1].tolist(), strict=True))
    return np.delete(order, again), np.delete(wanted, again), repeats


def _stretches(request: Request, part: FrameFile, places: Frames, numbers: Frames) -> Stretches:
    """Where in the file and in the block the parts of such frames are that are together in both.

    `places` and `numbers` are what `_once` gives.
    """
    low, high = request.window.byte_span(request.layout)
    size, frame_bytes = high - low, request.layout.frame_bytes
    gaps = np.diff(numbers) * frame_bytes != size
    cuts = np.flatnonzero(gaps | (np.diff(places) != 1)) + 1
    firsts = np.concatenate(([0], cuts)) if numbers.size else cuts
    counts = np.diff(firsts, append=numbers.size)
    starts = part.offset + low + numbers[firsts] * frame_bytes
    return Stretches(starts, places[firsts] * size, counts * size)
