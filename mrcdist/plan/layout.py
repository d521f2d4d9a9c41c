"""Layout of frames in the file and in the array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.format.pixels import PixelFormat

Frames = npt.NDArray[np.int64]
FrameTable = npt.NDArray[np.int32] | npt.NDArray[np.int64]


def within(frames: Frames, first: int, count: int) -> npt.NDArray[np.bool_]:
    """Return which frames are in a file of `count` frames that starts with frame `first`."""
    return (frames >= first) & (frames < first + count)


@dataclass(frozen=True)
class Layout:
    """Consecutive frames of equal shape (rows, columns), and the navigation axes that they fill.

    Navigation axes are in array order, slowest first. Only the first `present` frames are in the
    file; later ones read as 0.
    """

    pixels: PixelFormat
    frame_shape: tuple[int, int]
    navigation_shape: tuple[int, ...]
    present: int

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array: navigation axes, rows, columns and, for RGB, components."""
        return (*self.navigation_shape, *self.frame_shape, *self.pixels.components)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native-endian dtype of the array."""
        return self.pixels.dtype

    @cached_property
    def n_frames(self) -> int:
        """Number of frames in the array."""
        return math.prod(self.navigation_shape)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes per row of a frame in the file."""
        return self.pixels.bytes_of(self.frame_shape[1])

    @cached_property
    def frame_bytes(self) -> int:
        """Bytes per frame in the file."""
        return self.frame_shape[0] * self.row_bytes

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the whole array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def frames(self, navigation: tuple[range, ...], table: FrameTable | None = None) -> Frames:
        """Return the frame numbers in a box of navigation positions, flat and in array order.

        Frames are in file order unless `table`, of the navigation shape, gives the frame at each
        position (-1: none). Frames that are not in the file are -1.
        """
        if table is not None:
            frames = table[np.ix_(*navigation)].ravel().astype(np.int64)
            return np.where(frames < self.present, frames, -1)
        frames = np.zeros(1, np.int64)
        for positions, size in zip(navigation, self.navigation_shape, strict=True):
            if len(positions) == 1:
                frames = frames * size + positions.start
                continue
            along = np.arange(positions.start, positions.stop, positions.step, dtype=np.int64)
            frames = np.add.outer(frames * size, along).ravel()
        if self.present < self.n_frames:
            frames[frames >= self.present] = -1
        return frames
