"""Reading of the pieces of a sample, and the cost of it."""

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


class SamplePixels:
    """Pixels of a sample by frame and row; each piece is (frames, rows, columns) + components."""

    def __init__(self, blocks: Mapping[Piece, Array]) -> None:
        self._by_frame: dict[int, list[tuple[range, Array]]] = defaultdict(list)
        for piece, block in blocks.items():
            for frame, pixels in zip(piece.frames, block, strict=True):
                self._by_frame[frame].append((piece.rows, pixels))

    def rows(self, frame: int, rows: range) -> Array:
        """Return adjacent rows of a frame from one piece, (rows, columns) + components."""
        for stored, pixels in self._by_frame[frame]:
            if stored.start <= rows.start and rows.stop <= stored.stop:
                return pixels[rows.start - stored.start : rows.stop - stored.start]
        raise KeyError((frame, rows))


def _in_file_order(source: MrcSource) -> MrcSource:
    """Return the same frames along one axis, in file order."""
    n_frames = source.layout.present
    # A table may contain any frame of the file, not only the first n_frames.
    if source.table is None:
        n_frames = min(n_frames, source.layout.n_frames)
    return replace(source, layout=replace(source.layout, navigation_shape=(n_frames,)), table=None)


def cost_of(source: MrcSource, pieces: Sequence[Piece]) -> Cost:
    """Return the cost of reading pieces of a source."""
    settings, in_order = read_settings(), _in_file_order(source)
    whole_rows = tuple(map(range, in_order.shape[2:]))
    costs = [in_order.cost((piece.frames, piece.rows, *whole_rows), settings) for piece in pieces]
    return Cost(sum(cost.requests for cost in costs), sum(cost.nbytes for cost in costs))


def read_pieces(source: MrcSource, pieces: Sequence[Piece], progress: Progress) -> SamplePixels:
    """Read pieces of a source in threads; the first error is raised, and no more are started."""
    in_order = _in_file_order(source)

    def read(piece: Piece) -> Array:
        frames, rows = piece.frames, piece.rows
        block: Array = in_order[frames.start : frames.stop, rows.start : rows.stop]
        progress.advance()
        return block

    with ReadingThreads(read_settings().process_concurrency) as threads:
        blocks = list(threads.map(read, pieces))
    return SamplePixels(dict(zip(pieces, blocks, strict=True)))


def magnitude(pixels: Array) -> Array:
    """Return the magnitude of complex pixels, and real pixels unchanged."""
    return np.abs(pixels) if pixels.dtype.kind == "c" else pixels


def frames_of_grid(sample: ScanSample, pixels: SamplePixels, band: range) -> dict[Point, Array]:
    """Return a band of rows of each existing frame of a grid, as real numbers."""
    return {
        point: magnitude(pixels.rows(int(frame), band))
        for point, frame in np.ndenumerate(sample.frames)
        if frame >= 0
    }


def mean_on_grid(frames: Mapping[Point, Array], mask: Array, shape: Point) -> Array:
    """Return the mean over a detector's pixels at each point of a grid; NaN without a frame."""
    image = np.full(shape, np.nan)
    for point, frame in frames.items():
        image[point] = frame[mask].mean(dtype=np.float64)
    return image


def mean_frame(frames: Iterable[Array]) -> Array:
    """Return the mean of one or more frames, as float64."""
    frames = list(frames)
    return np.asarray(sum(frame.astype(np.float64) for frame in frames) / len(frames))
