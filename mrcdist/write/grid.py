"""Grid of cells over a file, each written once, by one task; splitting blocks at cell boundaries.

A cell is a part of an upload, a range of pages that no two hosts share, or, on a local disk, a
single byte.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

Piece = tuple[int, bytes]
"""Offset in the file, and the bytes from there on."""

Between = Callable[[int, int], memoryview]
"""Function that returns the bytes of the file from a start to a stop offset."""


@dataclass(frozen=True)
class Grid:
    """Cells [0, first), [first, first + step), … up to the end of the file, at `size` bytes.

    The first cell contains the header. The second cell may be `lacking` bytes shorter than the
    others, with `lacking` < `step`.
    """

    first: int
    step: int
    size: int
    lacking: int = 0

    @property
    def cells(self) -> int:
        """Number of cells."""
        return 1 if self.size <= self.first else 1 + self.number(self.size - 1)

    def number(self, offset: int) -> int:
        """Return the number of the cell that contains the byte at `offset`."""
        return 0 if offset < self.first else 1 + (offset - self.first + self.lacking) // self.step

    def span(self, number: int) -> tuple[int, int]:
        """Return the start and stop offsets of a cell."""
        if number == 0:
            return 0, min(self.first, self.size)
        start = self.first - self.lacking + (number - 1) * self.step
        return max(start, self.first), min(start + self.step, self.size)


def split_run(grid: Grid, start: int, stop: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Split a byte range into its whole cells and the partial cells at its ends.

    The range of whole cells may be empty.
    """
    begin = grid.span(grid.number(start - 1))[1] if start else 0
    end = stop if stop == grid.size else grid.span(grid.number(stop))[0]
    if begin > end:  # inside a single cell
        return (start, start), [(start, stop)]
    return (begin, end), [span for span in ((start, begin), (end, stop)) if span[0] < span[1]]


def join_pieces(grid: Grid, pieces: Iterable[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Join adjacent pieces of the same cell; return complete cells and partial ones."""
    runs: list[list[Piece]] = []
    stop = -1  # of the last run
    for start, raw in sorted(pieces, key=operator.itemgetter(0)):
        if start == stop and grid.number(runs[-1][0][0]) == grid.number(start):
            runs[-1].append((start, raw))
        else:
            runs.append([(start, raw)])
        stop = start + len(raw)
    complete: list[Piece] = []
    partial: list[Piece] = []
    for run in runs:
        start, raw = run[0][0], b"".join(raw for _, raw in run)
        is_whole = grid.span(grid.number(start)) == (start, start + len(raw))
        (complete if is_whole else partial).append((start, raw))
    return complete, partial


def piece_bytes(piece: Piece) -> tuple[int, int, Between]:
    """Return the start and stop offsets of a piece, and a function that returns parts of it."""
    offset, raw = piece
    view = memoryview(raw)
    return offset, offset + len(raw), lambda start, stop: view[start - offset : stop - offset]


def block_runs(
    shape: Sequence[int], box: Sequence[tuple[int, int]]
) -> tuple[int, Iterator[tuple[int, tuple[int, ...]]]]:
    """Return the contiguous runs of a block in an array that is stored in C order.

    `box` is the start and stop of the block along each axis. Returned are the number of elements
    per run and, for each run, the position of its first element in the flattened array and its
    index along the leading axes of the block.
    """
    # The axes after this one are complete, so the block is contiguous along it.
    axis = next((k for k in reversed(range(len(shape))) if box[k] != (0, shape[k])), 0)
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    starts = [start for start, _ in box]

    def runs() -> Iterator[tuple[int, tuple[int, ...]]]:
        for position in itertools.product(*(range(*span) for span in box[:axis])):
            first = sum(map(operator.mul, (*position, starts[axis]), strides))
            yield first, tuple(map(operator.sub, position, starts))

    return math.prod(stop - start for start, stop in box[axis:]), runs()
