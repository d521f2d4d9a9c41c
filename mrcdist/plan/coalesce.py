"""Frames and a window of each → merged byte ranges.

What merging goes by: a request costs its latency, and its bytes divided by the bandwidth of a
connection. Two wanted parts with a gap between them occupy a connection for
``2 × latency + 2 × part / bandwidth`` as two requests, and for
``latency + (2 × part + gap) / bandwidth`` as one. One is better where
``gap < latency × bandwidth``; that product is ``max_gap``. For object stores it is about
15 ms × 70 MB/s = 1 MiB. Other connections are in use meanwhile, so that a client that is busy has
its own share in both: one that can do 4 requests or 1.2 MB a millisecond, over eight connections,
sees 2 ms × 150 MB/s = 300 kB, the bytes that it could have taken in instead of one request.

What cutting goes by: requests run several at a time, so a long read is cut in pieces, but in none
that takes about as long to ask for as to send; slow gateways have latencies of 50 ms, in which a
connection sends 4 MiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mrcdist.plan.layout import Frames, Layout
from mrcdist.plan.tuning import DEFAULT_TUNING

__all__ = ["FrameRun", "Merging", "Window", "even_run", "merge_frames", "piece_bytes"]


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


@dataclass(frozen=True)
class Merging:
    """What may be merged to one read, and how long that may be.

    Attributes
    ----------
    max_gap : int
        Unwanted bytes between two frames' parts that are read rather than skipped.
    amplification : float
        Bytes read for each wanted one, at most.
    max_bytes : int
        Length of a read at most, if it has two frames or more.
    pieces : int
        Number of reads at least, as far as `piece_bytes` allows.
    shortest : int
        Length of a read at least, where it is one of many.
    """

    max_gap: int
    amplification: float
    max_bytes: int
    pieces: int
    shortest: int = DEFAULT_TUNING.shortest_piece

    def gap_after(self, part: int) -> float:
        """Bytes to the next part that are read rather than skipped, after parts of this length."""
        return min(self.max_gap, (self.amplification - 1) * part)

    def frames_a_piece(self, n_frames: int, layout: Layout) -> int:
        """How many of so many frames are read at a time, at most, counting those in between."""
        longest = piece_bytes(
            n_frames * layout.frame_bytes,
            pieces=self.pieces,
            max_bytes=self.max_bytes,
            shortest=self.shortest,
        )
        return max(longest // layout.frame_bytes, 1)


def piece_bytes(
    total: int,
    *,
    pieces: int,
    max_bytes: int,
    shortest: int = DEFAULT_TUNING.shortest_piece,
) -> int:
    """Length of the pieces in which so many bytes are fetched.

    Parameters
    ----------
    total : int
        Bytes in all.
    pieces : int
        How many are fetched at a time: there should be as many.
    max_bytes : int
        Length at most.
    shortest : int, optional
        Length at least, as far as `max_bytes` allows.
    """
    return min(max_bytes, max(-(-total // pieces), shortest))


def even_run(
    first: int, last: int, step: int, layout: Layout, window: Window, merging: Merging
) -> FrameRun | None:
    """The one read that `merge_frames` makes of frames at an even step; None where it makes more.

    Parameters
    ----------
    first, last : int
        The first and the last frame.
    step : int
        From frame to frame, at least 1.
    layout, window, merging
        As for `merge_frames`, of which `whole` is True.
    """
    low, high = window.byte_span(layout)
    n_frames = (last - first) // step + 1
    gap = step * layout.frame_bytes - (high - low) if n_frames > 1 else 0
    if gap > merging.gap_after(high - low):
        return None
    if gap > 0 and last - first >= merging.frames_a_piece(last - first + 1, layout):
        return None
    return FrameRun(
        start=first * layout.frame_bytes + low,
        stop=last * layout.frame_bytes + high,
        first=0,
        last=n_frames,
    )


def merge_frames(
    frames: Frames, layout: Layout, window: Window, merging: Merging, *, whole: bool = False
) -> Iterator[FrameRun]:
    """Merge the wanted parts of frames to few contiguous reads.

    Parameters
    ----------
    frames : ndarray of int64
        Frame numbers, not decreasing, none negative.
    layout : Layout
    window : Window
        The part of each frame that is wanted.
    merging : Merging
    whole : bool, default False
        A stretch without gaps is not cut: it is to become one array where it lies.

    Yields
    ------
    FrameRun
        Disjoint runs, in file order, that cover every frame of the list.
    """
    low, high = window.byte_span(layout)
    gaps = np.diff(frames) * layout.frame_bytes - (high - low)
    cuts = (np.flatnonzero(gaps > merging.gap_after(high - low)) + 1).tolist()
    stretches = list(zip((0, *cuts), (*cuts, len(frames)), strict=True))
    total = sum(int(frames[last - 1] - frames[first]) + 1 for first, last in stretches)
    a_piece = merging.frames_a_piece(total, layout)
    for first, last in stretches:
        uncut = whole and not np.any(gaps[first : last - 1] > 0)
        pieces = [(first, last)] if uncut else _cut(frames, first, last, a_piece)
        for begin, end in pieces:
            yield FrameRun(
                start=int(frames[begin]) * layout.frame_bytes + low,
                stop=int(frames[end - 1]) * layout.frame_bytes + high,
                first=begin,
                last=end,
            )


def _cut(frames: Frames, first: int, last: int, a_piece: int) -> Iterator[tuple[int, int]]:
    """Cut a run where its span would pass so many frames; at least one frame a piece."""
    while first < last:
        end = int(np.searchsorted(frames[first:last], frames[first] + a_piece, "left")) + first
        yield first, end
        first = end
