"""Where the frames of a block are in the files that hold them, and by which way they are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcdist.plan.coalesce import FrameRun, Window, even_run, merge_frames
from mrcdist.plan.layout import Frames, Layout
from mrcdist.read.protocol import OpenPart, RangeFiller, RangeKeeper, Stretches

__all__ = [
    "in_file_order",
    "merged_runs",
    "once",
    "scatters",
    "single_run",
    "stored_bytes",
    "stretches",
    "usable",
]

# Of mapped frames, a part in pieces shorter than so many bytes, and below so much of the whole, is
# copied: arithmetic on what lies together takes up to 40 % less time, the copying included, and
# the pages around it go.
_SHORT_PIECE = 1024
_NARROW = 1 / 4

# Bytes of a frame's part above which Python can afford to place each by itself.
_LEAST_SCATTERED = 4096


def single_run(
    part: OpenPart, layout: Layout, frames: Frames, window: Window, step: int
) -> FrameRun | None:
    """The one read whose bytes, as they lie there, are the frames; None where there is none."""
    first, last = int(frames[0]) - part.first, int(frames[-1]) - part.first
    if not step or first < 0 or last >= part.frames:
        return None
    if isinstance(part.reader, RangeKeeper) and _narrow(layout, window):
        return None
    return even_run(first, last, step, layout, window, part.in_place)


def usable(part: OpenPart, layout: Layout) -> bool:
    """Whether stored pixels are numbers as they lie in the file: native, and aligned."""
    stored = np.dtype(layout.pixels.stored)
    return layout.pixels.plain and stored.isnative and part.offset % stored.alignment == 0


def stored_bytes(layout: Layout, frames: Frames, window: Window) -> int:
    """Bytes of the wanted pixels as they are stored."""
    return frames.size * len(window.rows) * layout.pixels.bytes_of(len(window.columns))


def scatters(parts: Sequence[OpenPart], layout: Layout, window: Window) -> bool:
    """Whether the frames' parts are read straight to their places, not by way of buffers."""
    low, high = window.byte_span(layout)
    kinds = RangeFiller if _narrow(layout, window) else RangeFiller | RangeKeeper
    return high - low >= _LEAST_SCATTERED and all(isinstance(part.reader, kinds) for part in parts)


def _narrow(layout: Layout, window: Window) -> bool:
    """Whether little is wanted of each frame, and that in short pieces."""
    columns, rows = window.columns, window.rows
    wanted = layout.pixels.bytes_of(len(columns))
    if wanted * len(rows) > layout.frame_bytes * _NARROW:
        return False
    whole = len(columns) == layout.frame_shape[1]
    piece = wanted * len(rows) if whole and rows.step == 1 else wanted
    return (piece if columns.step == 1 else layout.pixels.bytes_of(1)) < _SHORT_PIECE


def merged_runs(part: OpenPart, layout: Layout, frames: Frames, window: Window) -> list[FrameRun]:
    """The reads that serve a file's frames, which are in its order."""
    return list(merge_frames(frames, layout, window, part.merging)) if frames.size else []


def in_file_order(frames: Frames, present: int) -> tuple[Frames, Frames]:
    """Positions in the block, in the file's order, and frames, of those that the file holds."""
    here = np.flatnonzero((frames >= 0) & (frames < present))
    order = here[np.argsort(frames[here], kind="stable")]
    return order, frames[order]


def once(frames: Frames, present: int) -> tuple[Frames, Frames, list[tuple[int, int]]]:
    """Positions and frames in the file's order, each frame once; positions that repeat others."""
    order, wanted = in_file_order(frames, present)
    again = np.flatnonzero(np.diff(wanted) == 0) + 1
    repeats = list(zip(order[again].tolist(), order[again - 1].tolist(), strict=True))
    return np.delete(order, again), np.delete(wanted, again), repeats


def stretches(
    part: OpenPart, layout: Layout, window: Window, places: Frames, numbers: Frames
) -> Stretches:
    """Where in the file and in the block the parts of such frames are that are together in both.

    `places` and `numbers` are what `once` gives.
    """
    low, high = window.byte_span(layout)
    size = high - low
    gaps = np.diff(numbers) * layout.frame_bytes != size
    cuts = np.flatnonzero(gaps | (np.diff(places) != 1)) + 1
    firsts = np.concatenate(([0], cuts)) if numbers.size else cuts
    counts = np.diff(firsts, append=numbers.size)
    starts = part.offset + low + numbers[firsts] * layout.frame_bytes
    return Stretches(starts, places[firsts] * size, counts * size)
