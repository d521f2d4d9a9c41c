"""Pieces of a file → arrays, at a cost that is known before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.config import read_settings
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.preview.sample import Piece, ScanSample
from mrcdist.progress import Progress
from mrcdist.read.source import MrcSource
from mrcdist.storage.event_loop import ReadingThreads

Array = npt.NDArray[Any]
Point = tuple[int, ...]
"""(y, x): a position in a sparse grid of scan points."""


class PixelsRead:
    """Pieces that were read, (frames, rows, columns) + components each, by frame and row."""

    def __init__(self, blocks: Mapping[Piece, Array]) -> None:
        self._by_frame: dict[int, list[tuple[range, Array]]] = defaultdict(list)
        for piece, block in blocks.items():
            for frame, rows in zip(piece.frames, block, strict=True):
                self._by_frame[frame].append((piece.rows, rows))

    def rows(self, frame: int, wanted: range) -> Array:
        """Return neighbouring rows of a frame that were read, (rows, columns) + components."""
        for there, rows in self._by_frame[frame]:
            if there.start <= wanted.start and wanted.stop <= there.stop:
                return rows[wanted.start - there.start : wanted.stop - there.start]
        raise KeyError((frame, wanted))


def _in_file_order(source: MrcSource) -> MrcSource:
    """Return the same frames on one axis, as the file has them."""
    n_frames = source.layout.present
    # A table may name any frame of the file, not only the first n_frames.
    if source.table is None:
        n_frames = min(n_frames, source.layout.n_frames)
    return replace(source, layout=replace(source.layout, navigation_shape=(n_frames,)), table=None)


def cost_of(source: MrcSource, pieces: Sequence[Piece]) -> Cost:
    """Return what reading pieces of a source will take, by the plans of reading."""
    settings, frames = read_settings(), _in_file_order(source)
    whole_rows = tuple(map(range, frames.shape[2:]))
    costs = [frames.cost((piece.frames, piece.rows, *whole_rows), settings) for piece in pieces]
    return Cost(sum(cost.requests for cost in costs), sum(cost.nbytes for cost in costs))


def read_pieces(source: MrcSource, pieces: Sequence[Piece], progress: Progress) -> PixelsRead:
    """Read pieces of a source, on threads of this process.

    The error of the first piece that cannot be read is raised, and no more are begun.
    """
    in_order = _in_file_order(source)

    def read(piece: Piece) -> Array:
        frames, rows = piece.frames, piece.rows
        block: Array = in_order[frames.start : frames.stop, rows.start : rows.stop]
        progress.advance()
        return block

    with ReadingThreads(read_settings().process_concurrency) as threads:
        blocks = list(threads.map(read, pieces))
    return PixelsRead(dict(zip(pieces, blocks, strict=True)))


def magnitude(numbers: Array) -> Array:
    """Return the magnitude of complex numbers, and all others as they are."""
    return np.abs(numbers) if numbers.dtype.kind == "c" else numbers


def frames_of_grid(sample: ScanSample, pixels: PixelsRead, band: range) -> dict[Point, Array]:
    """Return rows of the frame at each point of a grid that has one, real numbers."""
    return {
        point: magnitude(pixels.rows(int(frame), band))
        for point, frame in np.ndenumerate(sample.frames)
        if frame >= 0
    }


def mean_on_grid(frames: Mapping[Point, Array], mask: Array, shape: Point) -> Array:
    """Return the mean over a detector's pixels at every point of a grid; NaN without a frame."""
    image = np.full(shape, np.nan)
    for point, frame in frames.items():
        image[point] = frame[mask].mean(dtype=np.float64)
    return image


def mean_frame(frames: Iterable[Array]) -> Array:
    """Return the mean of frames, one or more, float64."""
    total: Any = 0.0
    count = 0
    for frame in frames:
        total, count = total + frame.astype(np.float64), count + 1
    return np.asarray(total / count)
