"""A 4D-STEM movie of any size whose frames can be told apart, on disk and in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrcdist.demo.movie import movie_header

__all__ = ["Movie", "scan_of"]

Frames = NDArray[np.uint16]

FRAME_SHAPE = (128, 128)
FRAME_BYTES = 2 * FRAME_SHAPE[0] * FRAME_SHAPE[1]
SCAN_WIDTH = 256

# A prime: no scan row, chunk or page begins with the same pattern as another one nearby.
_PATTERNS = 1021
# Few counts a pixel: sums over the scan stay exact in float32, in which some readers add.
_LEVELS = 64


def scan_of(gib: float, width: int = SCAN_WIDTH) -> tuple[int, int]:
    """Shape (rows, columns) of the smallest scan, two-dimensional, of at least that many GiB."""
    row = width * FRAME_BYTES
    return max(-(-int(gib * 2**30) // row), 2), width


@dataclass(frozen=True)
class Movie:
    """A file of 128 × 128 frames of uint16 behind a Direct Electron header.

    Parameters
    ----------
    path : Path
    scan_shape : tuple of int
        (rows, columns), slowest first.
    sparse : bool, default False
        Whether only the last row of the scan is written; the others are 0.
    """

    path: Path
    scan_shape: tuple[int, int]
    sparse: bool = False

    @property
    def n_frames(self) -> int:
        return self.scan_shape[0] * self.scan_shape[1]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (*self.scan_shape, *FRAME_SHAPE)

    @property
    def nbytes(self) -> int:
        return self.n_frames * FRAME_BYTES

    @property
    def header(self) -> bytes:
        # MZ = 1, a stack of images: LiberTEM takes the camera's MZ = NZ for another axis.
        camera = movie_header(self.n_frames, FRAME_SHAPE)
        return camera[:36] + (1).to_bytes(4, "little") + camera[40:]

    @cached_property
    def _patterns(self) -> Frames:
        rng = np.random.default_rng(seed=0)
        return rng.integers(0, 8, (_PATTERNS, *FRAME_SHAPE), dtype=np.uint16)

    def row(self, y: int) -> Frames:
        """One row of the scan, shape (columns, ky, kx), from memory alone."""
        frames = np.arange(y * self.scan_shape[1], (y + 1) * self.scan_shape[1])
        level = (frames // _PATTERNS % _LEVELS).astype(np.uint16)
        return self._patterns[frames % _PATTERNS] + level[:, None, None]

    def write(self) -> None:
        """Write the file; a sparse one takes the disk space of its last row alone."""
        rows = range(self.scan_shape[0])
        with self.path.open("wb") as file:
            file.write(self.header)
            for y in rows[-1:] if self.sparse else rows:
                file.seek(len(self.header) + y * self.scan_shape[1] * FRAME_BYTES)
                file.write(self.row(y))
            file.flush()
            # Pages on their way to the disk would slow down whoever is measured first.
            os.fsync(file.fileno())

    def forget(self) -> None:
        """Drop the file's pages from the page cache: the next reader waits for the disk.

        Pages that some process still maps stay.
        """
        with self.path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
