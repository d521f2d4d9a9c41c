"""Frames of one size, and the array that they make."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.format.pixels import PixelFormat

__all__ = ["FrameTable", "Frames", "Layout"]

Frames = npt.NDArray[np.int64]
FrameTable = npt.NDArray[np.int32] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Frames of one size, one behind the other, and the navigation axes that they fill.

    Attributes
    ----------
    pixels : PixelFormat
        What the bytes mean.
    frame_shape : tuple of int
        Rows and columns of a frame.
    navigation_shape : tuple of int
        The navigation axes in array order, slowest first.
    present : int
        Frames that the file holds, from the first on. Later ones read as 0.
    """

    pixels: PixelFormat
    frame_shape: tuple[int, int]
    navigation_shape: tuple[int, ...]
    present: int

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The array's shape: navigation, rows, columns, and the components of RGB."""
        return (*self.navigation_shape, *self.frame_shape, *self.pixels.components)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The array's dtype, native-endian."""
        return self.pixels.dtype

    @cached_property
    def n_frames(self) -> int:
        """Frames in the array."""
        return math.prod(self.navigation_shape)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes from one row of a frame to the next."""
        return self.pixels.bytes_of(self.frame_shape[1])

    @cached_property
    def frame_bytes(self) -> int:
        """Bytes from one frame to the next."""
        return self.frame_shape[0] * self.row_bytes

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the whole array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def frames(self, navigation: tuple[range, ...], table: FrameTable | None = None) -> Frames:
        """Frame numbers of a box of navigation positions.

        Parameters
        ----------
        navigation : tuple of range
            Positions along each navigation axis.
        table : ndarray of int, shape ``navigation_shape``, optional
            The frame at each position, -1 for none. Without it, frames fill the positions in the
            file's order.

        Returns
        -------
        ndarray of int64, shape (product of the ranges' lengths,)
            In array order; -1 where the file has no such frame.
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
