"""Pieces of a file → arrays, at a cost that is known before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist import stats
from mrcdist.config import read_settings
from mrcdist.preview.pieces import Band, Piece
from mrcdist.progress import Progress
from mrcdist.read.source import MrcSource

__all__ = ["Cost", "Taken", "cost_of", "in_file_order", "magnitude", "read_pieces"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Cost:
    """What reading takes.

    Attributes
    ----------
    requests : int
        Ranged requests, or read() calls; none where a local file is mapped.
    nbytes : int
        Bytes fetched or mapped.
    """

    requests: int = 0
    nbytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.requests + other.requests, self.nbytes + other.nbytes)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.requests - other.requests, self.nbytes - other.nbytes)

    @classmethod
    def so_far(cls) -> Cost:
        """What this process has read until now, by its own count."""
        now = stats.snapshot()
        return cls(now.requests, now.bytes_fetched + now.bytes_mapped)


class Taken:
    """The pieces that were read, by frame and row.

    Parameters
    ----------
    blocks : mapping of Piece to ndarray, shape (frames, rows, columns) + components
    """

    def __init__(self, blocks: Mapping[Piece, Array]) -> None:
        self._by_frame: dict[int, list[tuple[int, Array]]] = defaultdict(list)
        for piece, block in blocks.items():
            for i in range(piece.frames):
                self._by_frame[piece.first + i].append((piece.top, block[i]))

    def rows(self, frame: int, band: Band) -> Array:
        """Return neighbouring rows of a frame, shape (rows, columns) + components.

        Raises
        ------
        KeyError
            They were not read.
        """
        for top, rows in self._by_frame[frame]:
            if top <= band.top and band.top + band.rows <= top + len(rows):
                return rows[band.top - top : band.top - top + band.rows]
        raise KeyError((frame, band))


def magnitude(numbers: Array) -> Array:
    """Return the magnitude of complex numbers, and all others as they are."""
    return np.abs(numbers) if numbers.dtype.kind == "c" else numbers


def in_file_order(source: MrcSource) -> MrcSource:
    """Return the same frames on one axis, as the file has them."""
    n_frames = min(source.layout.present, source.layout.n_frames)
    return replace(source, layout=replace(source.layout, navigation_shape=(n_frames,)), table=None)


def cost_of(source: MrcSource, pieces: Sequence[Piece]) -> Cost:
    """Work out what reading will take, by the rules of reading.

    Parameters
    ----------
    source : MrcSource
        In the order of the file.
    pieces : sequence of Piece
    """
    settings = read_settings()
    total = Cost()
    for piece in pieces:
        rows = range(piece.top, piece.top + piece.rows)
        frames = range(piece.first, piece.first + piece.frames)
        box = (frames, rows, *map(range, source.shape[2:]))
        cost = source.cost(box, settings)
        total += Cost(cost.requests, cost.nbytes)
    return total


def read_pieces(source: MrcSource, pieces: Sequence[Piece], progress: Progress) -> Taken:
    """Read pieces on threads of this process.

    Parameters
    ----------
    source : MrcSource
        In the order of the file.
    pieces : sequence of Piece
    progress : Progress
        Advanced by one for each piece.

    Raises
    ------
    MrcdistError
        The first piece that cannot be read says why; no more are begun.
    """

    def read(piece: Piece) -> Array:
        block: Array = source[
            piece.first : piece.first + piece.frames, piece.top : piece.top + piece.rows
        ]
        progress.advance()
        return block

    pool = ThreadPoolExecutor(read_settings().process_concurrency)
    try:
        blocks = list(pool.map(read, pieces))
    finally:
        pool.shutdown(cancel_futures=True)
    return Taken(dict(zip(pieces, blocks, strict=True)))
