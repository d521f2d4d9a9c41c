"""A grid of cells over the file, each written once, by one task, and blocks cut by it.

A cell is a part of an upload, a page that no two hosts share, or, on a local disk, any bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

Piece = tuple[int, bytes]
"""Its offset in the file, and its bytes."""

Between = Callable[[int, int], memoryview]
"""Returns the bytes of the file from one position up to another."""


@dataclass(frozen=True)
class Grid:
    """Cells [0, first), [first, first + step), … up to the end of the file, at `size` bytes.

    The first one holds the header; the second one may be shorter than the others, by `lacking`
    bytes, fewer than `step`.
    """

    first: int
    step: int
    size: int
    lacking: int = 0

    @property
    def cells(self) -> int:
        """Number of cells."""
        return 1 if self.size <= self.first else 1 + self.number(self.size - 1)

    def number(self, at: int) -> int:
        """Return the number of the cell that holds a byte."""
        return 0 if at < self.first else 1 + (at - self.first + self.lacking) // self.step

    def span(self, number: int) -> tuple[int, int]:
        """Return first byte and end of a cell."""
        if number == 0:
            return 0, min(self.first, self.size)
        start = self.first - self.lacking + (number - 1) * self.step
        return max(start, self.first), min(start + self.step, self.size)

    def whole(self, start: int, stop: int) -> tuple[int, int]:
        """Return the whole cells of a byte range; an empty one where there are none."""
        low = self.span(self.number(start))
        begin = start if low[0] == start else min(low[1], stop)
        if stop == self.size:
            return begin, stop
        end = max(self.span(self.number(stop))[0], start)
        return (begin, end) if begin < end else (begin, begin)


def split_run(grid: Grid, start: int, stop: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Cut a contiguous run into whole cells, if any, and the parts of cells at its ends."""
    begin, end = grid.whole(start, stop)
    if begin == end:
        cuts = [
            start,
            *(grid.span(n)[0] for n in range(grid.number(start) + 1, grid.number(stop - 1) + 1)),
            stop,
        ]
        return (start, start), list(itertools.pairwise(cuts))
    return (begin, end), [span for span in ((start, begin), (end, stop)) if span[0] < span[1]]


def join_pieces(grid: Grid, pieces: Iterable[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Join pieces of a cell that follow each other: whole cells, and what lacks its neighbours."""
    joined: list[tuple[int, list[bytes], int]] = []
    for start, raw in sorted(pieces, key=lambda piece: piece[0]):
        if joined and joined[-1][2] == start and grid.number(joined[-1][0]) == grid.number(start):
            joined[-1] = (joined[-1][0], [*joined[-1][1], raw], start + len(raw))
        else:
            joined.append((start, [raw], start + len(raw)))
    complete: list[Piece] = []
    carried: list[Piece] = []
    for start, parts, stop in joined:
        whole = grid.span(grid.number(start)) == (start, stop)
        (complete if whole else carried).append((start, b"".join(parts)))
    return complete, carried


def piece_bytes(piece: Piece) -> tuple[int, int, Between]:
    """Return where a piece begins and ends, and a function of its bytes in between."""
    at, raw = piece
    view = memoryview(raw)
    return at, at + len(raw), lambda start, stop: view[start - at : stop - at]


def block_runs(
    shape: Sequence[int], box: Sequence[tuple[int, int]]
) -> tuple[int, Iterator[tuple[int, tuple[int, ...]]]]:
    """Describe where a block lies in the file, which holds the array of this shape in C order.

    `box` is its start and stop along each axis. Returned are the number of elements of each
    contiguous run, and of each run its first element in the file, and the index of that in the
    block along the leading axes.
    """
    axis = len(shape)
    while axis > 0 and all(box[k] == (0, shape[k]) for k in range(axis, len(shape))):
        axis -= 1
    # Axes from `axis` on are contiguous: those behind it are whole.
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    length = math.prod(stop - start for start, stop in box[axis:])
    leading = [range(start, stop) for start, stop in box[:axis]]
    base = box[axis][0] * strides[axis] if axis < len(shape) else 0

    def runs() -> Iterator[tuple[int, tuple[int, ...]]]:
        for index in itertools.product(*leading):
            at = base + sum(i * stride for i, stride in zip(index, strides, strict=False))
            yield at, tuple(i - start for i, (start, _) in zip(index, box, strict=False))

    return length, runs()
