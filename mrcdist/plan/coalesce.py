"""Coalescing: the same window of many frames → few byte ranges.

Merging: a request takes its latency plus its bytes / bandwidth of the connection. Two parts that
are separated by a gap occupy a connection for ``2 × latency + 2 × part / bandwidth`` as two
requests, and for ``latency + (2 × part + gap) / bandwidth`` as one. One request is faster if
``gap < latency × bandwidth``; this product is ``max_gap``, for object stores about
15 ms × 70 MB/s = 1 MiB. If the client is the bottleneck, the same rule holds with the latency and
bandwidth that it observes: a client that handles 4 requests or 1.2 MB per millisecond with eight
connections sees 2 ms × 150 MB/s = 300 kB, the bytes that it could have received in the time that
one request takes.

Splitting: several requests run concurrently, so a long read is split into pieces. The pieces must
be long enough that latency does not dominate: slow gateways have latencies of 50 ms, in which a
connection transfers 4 MiB.

Joining: coroutines that request adjacent ranges at the same time share a request, which takes as
much CPU time as receiving 1 MiB; but over a slow connection, several short requests in parallel are
faster than a long one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mrcdist.plan.layout import Frames, Layout

Rows = range | Frames


@dataclass(frozen=True, eq=False)
class Window:
    """Rows and columns to read from each frame: increasing, at least one of each."""

    rows: Rows
    columns: range

    def byte_span(self, layout: Layout) -> tuple[int, int]:
        """Return the start and stop offset of the window within a frame, in bytes."""
        first, last = layout.pixels.byte_range(self.columns)
        top, bottom = int(self.rows[0]), int(self.rows[-1])
        return top * layout.row_bytes + first, bottom * layout.row_bytes + last

    def split(self, row_bytes: int, max_gap: int) -> list[Window]:
        """Split the window at gaps between rows of more than `max_gap` bytes."""
        rows = self.rows
        if isinstance(rows, range):
            if (rows.step - 1) * row_bytes <= max_gap:
                return [self]
            groups: Sequence[Rows] = [rows[i : i + 1] for i in range(len(rows))]
        else:
            groups = np.split(rows, np.flatnonzero((np.diff(rows) - 1) * row_bytes > max_gap) + 1)
        return [Window(group, self.columns) for group in groups]


@dataclass(frozen=True)
class FrameRun:
    """One contiguous byte range, and the slice of the requested frames that it serves.

    Bytes are counted from the start of the first frame of the file.
    """

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Merging:
    """Limits for merging byte ranges, in bytes.

    A gap of up to `max_gap` is read rather than skipped, unless more than `amplification` bytes
    would be read per byte requested. A read of several frames takes at most `max_bytes`. Long reads
    are split into at least `pieces` pieces of at least `shortest` bytes.
    """

    max_gap: int
    amplification: float
    max_bytes: int
    pieces: int
    shortest: int

    def gap_after(self, part: int) -> float:
        """Return the longest gap that is read rather than skipped after `part` bytes."""
        return min(self.max_gap, (self.amplification - 1) * part)

    def frames_per_piece(self, n_frames: int, layout: Layout) -> int:
        """Return the maximum number of frames per read, including skipped ones in between."""
        longest = piece_bytes(
            n_frames * layout.frame_bytes,
            pieces=self.pieces,
            max_bytes=self.max_bytes,
            shortest=self.shortest,
        )
        return max(longest // layout.frame_bytes, 1)


def piece_bytes(total: int, *, pieces: int, max_bytes: int, shortest: int) -> int:
    """Return the length of the pieces into which a read of `total` bytes is split.

    There are `pieces` of them, or fewer if they would be shorter than `shortest`, or more if they
    would be longer than `max_bytes`.
    """
    return min(max_bytes, max(-(-total // pieces), shortest))


def join_adjacent(ranges: Sequence[tuple[int, int]], longest: int) -> list[list[int]]:
    """Return the indices of the ranges that are fetched with each request.

    Ranges are joined if one ends where the next one starts, up to `longest` bytes in total.
    """
    groups: list[list[int]] = []
    first = end = -1
    for index in sorted(range(len(ranges)), key=ranges.__getitem__):
        start, stop = ranges[index]
        if start != end or stop - first > longest:
            groups.append([])
            first = start
        groups[-1].append(index)
        end = stop
    return groups


def even_run(
    first: int, last: int, step: int, layout: Layout, window: Window, merging: Merging
) -> FrameRun | None:
    """Return the run for evenly spaced frames, or None if `merge_frames` would return several.

    Frames without gaps are not split, because they are used as a view.
    """
    low, high = window.byte_span(layout)
    n_frames = (last - first) // step + 1
    gap = step * layout.frame_bytes - (high - low) if n_frames > 1 else 0
    if gap > merging.gap_after(high - low):
        return None
    if gap > 0 and last - first >= merging.frames_per_piece(last - first + 1, layout):
        return None
    return FrameRun(first * layout.frame_bytes + low, last * layout.frame_bytes + high, 0, n_frames)


def merge_frames(
    frames: Frames, layout: Layout, window: Window, merging: Merging
) -> Iterator[FrameRun]:
    """Merge the window of frames, in non-decreasing order, into few contiguous runs.

    Runs are disjoint, in file order, and together cover all frames.
    """
    if not frames.size:
        return
    low, high = window.byte_span(layout)
    gaps = np.diff(frames) * layout.frame_bytes - (high - low)
    cuts = (np.flatnonzero(gaps > merging.gap_after(high - low)) + 1).tolist()
    stretches = list(zip((0, *cuts), (*cuts, len(frames)), strict=True))
    total = sum(int(frames[last - 1] - frames[first]) + 1 for first, last in stretches)
    longest = merging.frames_per_piece(total, layout)
    for first, last in stretches:
        while first < last:  # pieces that span at most `longest` frames
            end = int(np.searchsorted(frames[first:last], frames[first] + longest, "left")) + first
            yield FrameRun(
                start=int(frames[first]) * layout.frame_bytes + low,
                stop=int(frames[end - 1]) * layout.frame_bytes + high,
                first=first,
                last=end,
            )
            first = end
