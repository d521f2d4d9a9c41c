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
    """Whether each frame is in a file of so many frames, of which the first one has this number."""
    return (frames >= first) & (frames < first + count)


@dataclass(frozen=True)
class Layout:
    """Consecutive frames of equal size, and the navigation axes that they fill.

    A frame has rows and columns; navigation axes are in array order, slowest first. Frames after
    those that are `present` in the file read as 0.
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
        """Return the frame numbers at a box of navigation positions, flat and in array order.

        Those of `table`, of the navigation shape, with -1 for none, or else those in file order; -1
        for frames that are not in the file.
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
