"""A 4D-STEM movie of any size with distinct frames, on disk and in memory."""

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

# A prime, so that neighbouring scan rows, chunks and pages begin with different patterns.
_PATTERNS = 1021
# Few counts per pixel, so that sums over the scan are exact in float32, which some readers use.
_LEVELS = 64


def scan_of(gib: float, width: int = SCAN_WIDTH) -> tuple[int, int]:
    """Return the shape (rows, columns) of the smallest 2-D scan of at least `gib` GiB."""
    row = width * FRAME_BYTES
    return max(-(-int(gib * 2**30) // row), 2), width


@dataclass(frozen=True)
class Movie:
    """A file of 128 × 128 frames of uint16 with a Direct Electron header.

    Parameters
    ----------
    path : Path
    scan_shape : tuple of int
        (rows, columns), slowest first.
    sparse : bool, default False
        Whether only the last row of the scan is written; the others are zeros.
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
        # MZ = 1, a stack of images: LiberTEM interprets the camera's MZ = NZ as another axis.
        camera = movie_header(self.n_frames, FRAME_SHAPE)
        return camera[:36] + (1).to_bytes(4, "little") + camera[40:]

    @cached_property
    def _patterns(self) -> Frames:
        rng = np.random.default_rng(seed=0)
        return rng.integers(0, 8, (_PATTERNS, *FRAME_SHAPE), dtype=np.uint16)

    def row(self, y: int) -> Frames:
        """Return one row of the scan, shape (columns, ky, kx), without reading the file."""
        return self._frames(np.arange(y * self.scan_shape[1], (y + 1) * self.scan_shape[1]))

    def _frames(self, numbers: NDArray[np.int64]) -> Frames:
        level = (numbers // _PATTERNS % _LEVELS).astype(np.uint16)
        return self._patterns[numbers % _PATTERNS] + level[:, None, None]

    def write(self) -> None:
        """Write the file; a sparse one occupies only the disk space of its last row."""
        rows = range(self.scan_shape[0])
        with self.path.open("wb") as file:
            file.write(self.header)
            for y in rows[-1:] if self.sparse else rows:
                file.seek(len(self.header) + y * self.scan_shape[1] * FRAME_BYTES)
                file.write(Movie.row(self, y))
            file.flush()
            # Otherwise, writing pages to the disk would slow down the first reader.
            os.fsync(file.fileno())

    def forget(self) -> None:
        """Drop the file from the page cache, except for pages that a process still maps."""
        with self.path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class CustomScan(Movie):
    """The same frames with scan points in random order, which are stored next to the file."""

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Frame number of each point, shape `scan_shape`."""
        return np.random.default_rng(seed=2).permutation(self.n_frames).reshape(self.scan_shape)

    def row(self, y: int) -> Frames:
        """Return one row of the scan, like `Movie.row`."""
        return self._frames(self.order[y])

    def write(self) -> None:
        """Write the file with its sidecar and scan points."""
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
            # RosettaSciIO appends this value to the scan time and parses both as one number.
            sidecar={"Scan - Repeat Delay (seconds)": "0"},
        )
        assert written.movie == self.path
        super().write()
