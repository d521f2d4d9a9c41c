"""Reductions computed per block: a few numbers per frame, or the sum of frames.

Integer pixels of MRC files have at most 16 bits. With 2**16 pixels per band, integer weights of at
most 127 (7 bits) and row or column numbers of 14 bits, sums of a band stay below 2**53. So they are
exact in float64, for which matrix products are fast. Bands are added as int64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import Detector, FrameShape

__all__ = ["FrameSum", "PixelSums", "Reduction"]

Array = npt.NDArray[Any]


class Reduction(Protocol):
    """Reduction of the frames of a task, and how results of several tasks are combined."""

    @property
    def window(self) -> tuple[range, range]:
        """Rows and columns of the frames that are needed."""

    @property
    def joined_at_once(self) -> int:
        """Maximum number of results to join in one task."""

    def reduce(self, frames: Array) -> Array:
        """Reduce a block of shape (frames, rows, columns), cropped to the window."""

    def join(self, parts: Sequence[Array]) -> Array:
        """Combine the results of consecutive blocks."""


@dataclass(frozen=True, eq=False)
class PixelSums:
    """Weighted sums over the pixels of each frame.

    Parameters
    ----------
    detector : Detector
        The weights w.
    window : tuple of range
        Rows and columns outside of which w is 0.
    moments : bool
        Also compute sums weighted with w·y and w·x, where y and x are row and column in the frame.
    band_pixels : int, default 2**16
        Pixels of a frame summed at a time; with more, sums would not be exact.
    tile_pixels : int, default 2**17
        Pixels converted to float64 at a time: 1 MiB, which fits in the cache of a processor.

    Notes
    -----
    The result has shape (frames, 1) or (frames, 3): Σ w·I, Σ w·y·I, Σ w·x·I. For integer pixels and
    integer weights it is int64 and exact, else float64. Pixels with weight 0 have no influence,
    even if they are NaN.
    """

    detector: Detector
    window: tuple[range, range]
    moments: bool
    band_pixels: int = 2**16
    tile_pixels: int = 2**17

    joined_at_once = 1000

    def reduce(self, frames: Array) -> Array:
        """Return the sums of each frame."""
        exact = frames.dtype.kind in "iu" and self.detector.whole
        total = np.zeros((len(frames), 3 if self.moments else 1), np.int64 if exact else np.float64)
        rows, columns = self.window
        height = max(self.band_pixels // max(len(columns), 1), 1)
        for top in range(0, len(rows), height):
            band = rows[top : top + height]
            weights = self._weights(band, columns)
            pixels = frames[:, top : top + len(band)]
            step = max(self.tile_pixels // max(weights.shape[0], 1), 1)
            # Reused, because workers return freed memory to the system at once, and allocating it
            # again takes longer than the sums.
            tile = np.empty((step, len(band), len(columns)))
            for first in range(0, len(frames), step):
                some = pixels[first : first + step]
                np.copyto(tile[: len(some)], some)
                flat = tile[: len(some)].reshape(len(some), -1)
                if frames.dtype.kind == "f":
                    flat[:, weights[:, 0] == 0] = 0
                total[first : first + step] += (flat @ weights).astype(total.dtype)
        return total

    def _weights(self, rows: range, columns: range) -> Array:
        """Return the weights of a band, one column per sum."""
        weights = self.detector.weights(rows, columns)
        kinds = [weights]
        if self.moments:
            y, x = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
            kinds += [weights * y[:, None], weights * x]
        return np.stack([kind.ravel() for kind in kinds], axis=1)

    def join(self, parts: Sequence[Array]) -> Array:
        """Concatenate the results of consecutive blocks."""
        return np.concatenate(parts)


@dataclass(frozen=True)
class FrameSum:
    """Sum of all frames, pixel by pixel; uint64 or int64 for integer pixels, else float64.

    Parameters
    ----------
    frame_shape : tuple of int
    """

    frame_shape: FrameShape

    # The sum of large frames can take 128 MiB.
    joined_at_once = 4

    @property
    def window(self) -> tuple[range, range]:
        """The whole frame."""
        return range(self.frame_shape[0]), range(self.frame_shape[1])

    def reduce(self, frames: Array) -> Array:
        """Return the sum, shape (rows, columns)."""
        wide = {"u": np.uint64, "i": np.int64}.get(frames.dtype.kind, np.float64)
        return np.asarray(frames.sum(axis=0, dtype=wide))

    def join(self, parts: Sequence[Array]) -> Array:
        """Add the sums in the given order, so that the result is reproducible."""
        total = np.array(parts[0])
        for part in parts[1:]:
            total += part
        return total
