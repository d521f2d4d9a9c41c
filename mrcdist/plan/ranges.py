"""Frames and a window of each → merged byte ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mrcdist.plan.layout import Frames, Layout

__all__ = ["FrameRun", "Window", "merge_frames"]


@dataclass(frozen=True)
class Window:
    """The part of each frame that is wanted.

    Attributes
    ----------
    rows, columns : range
        Increasing, at least one position each.
    """

    rows: range
    columns: range

    def byte_span(self, layout: Layout) -> tuple[int, int]:
        """First byte and the byte after the last, counted from the start of a frame."""
        first, last = layout.pixels.byte_range(self.columns)
        return self.rows.start * layout.row_bytes + first, self.rows[-1] * layout.row_bytes + last


@dataclass(frozen=True)
class FrameRun:
    """One contiguous read that serves a run of wanted frames.

    Attributes
    ----------
    start, stop : int
        Byte range, counted from the start of the file's first frame.
    first, last : int
        The run's positions in the list of frames: from first up to, without, last.
    """

    start: int
    stop: int
    first: int
    last: int


def merge_frames(
    frames: Frames, layout: Layout, window: Window, *, max_gap: int, max_bytes: int
) -> Iterator[FrameRun]:
    """Merge the wanted parts of frames to few contiguous reads.

    Parameters
    ----------
    frames : ndarray of int64
        Frame numbers, not decreasing, none negative.
    layout : Layout
    window : Window
        The part of each frame that is wanted.
    max_gap : int
        Unwanted bytes between two frames' parts that are read rather than skipped.
    max_bytes : int
        A read with unwanted bytes in it is cut at about this size; one without is never cut.

    Yields
    ------
    FrameRun
        Disjoint runs, in file order, that cover every frame of the list.
    """
    low, high = window.byte_span(layout)
    wanted = high - low
    steps = np.diff(frames)
    gaps = steps * layout.frame_bytes - wanted
    cuts = np.flatnonzero(gaps > max_gap) + 1
    for first, last in zip((0, *cuts.tolist()), (*cuts.tolist(), len(frames)), strict=True):
        gapless = not np.any(gaps[first : last - 1] > 0)
        pieces = (
            [(first, last)] if gapless else _cut(frames, first, last, layout.frame_bytes, max_bytes)
        )
        for begin, end in pieces:
            yield FrameRun(
                start=int(frames[begin]) * layout.frame_bytes + low,
                stop=int(frames[end - 1]) * layout.frame_bytes + high,
                first=begin,
                last=end,
            )


def _cut(
    frames: Frames, first: int, last: int, frame_bytes: int, max_bytes: int
) -> Iterator[tuple[int, int]]:
    """Cut a run where its span would pass max_bytes; at least one frame a piece."""
    frames_a_piece = max(max_bytes // frame_bytes, 1)
    while first < last:
        end = (
            int(np.searchsorted(frames[first:last], frames[first] + frames_a_piece, "left")) + first
        )
        yield first, end
        first = end
