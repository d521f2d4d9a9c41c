"""A 4D-STEM movie of any size whose frames can be told apart, on disk and in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrcdist.testing.acquisition import write_acquisition
from mrcdist.testing.movie import movie_header

__all__ = ["CustomScan", "Movie", "scan_of"]

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
        return self._frames(np.arange(y * self.scan_shape[1], (y + 1) * self.scan_shape[1]))

    def _frames(self, numbers: NDArray[np.int64]) -> Frames:
        level = (numbers // _PATTERNS % _LEVELS).astype(np.uint16)
        return self._patterns[numbers % _PATTERNS] + level[:, None, None]

    def write(self) -> None:
        """Write the file; a sparse one takes the disk space of its last row alone."""
        rows = range(self.scan_shape[0])
        with self.path.open("wb") as file:
            file.write(self.header)
            for y in rows[-1:] if self.sparse else rows:
                file.seek(len(self.header) + y * self.scan_shape[1] * FRAME_BYTES)
                file.write(Movie.row(self, y))
            file.flush()
            # Pages on their way to the disk would slow down whoever is measured first.
            os.fsync(file.fileno())

    def forget(self) -> None:
        """Drop the file's pages from the page cache: the next reader waits for the disk.

        Pages that some process still maps stay.
        """
        with self.path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class CustomScan(Movie):
    """The same frames, recorded at the scan's points in random order; the points are beside it."""

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The frame of each point, shape `scan_shape`."""
        return np.random.default_rng(seed=2).permutation(self.n_frames).reshape(self.scan_shape)

    def row(self, y: int) -> Frames:
        """One row of the scan, as `Movie.row`."""
        return self._frames(self.order[y])

    def write(self) -> None:
        """Write sidecar and points too, into a folder of their own."""
        points = np.empty((self.n_frames, 2), int)
        rows, columns = np.indices(self.scan_shape)
        points[self.order.ravel()] = np.stack([columns.ravel(), rows.ravel()], axis=1)
        written = write_acquisition(
            self.path.parent,
            name=self.path.name.removesuffix("_movie.mrc"),
            scan_shape=self.scan_shape,
            frame_shape=FRAME_SHAPE,
            custom_points=points,
            present=1,
            # RosettaSciIO joins this to the time of a scan and takes both for one number.
            sidecar={"Scan - Repeat Delay (seconds)": "0"},
        )
        assert written.movie == self.path
        super().write()
