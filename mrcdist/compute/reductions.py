"""Frames → a few numbers each, or their sum: what a task computes of a block.

Integer pixels of MRC files have 16 bits at most. A band has 2**16 pixels, a whole weight is at most
127 (7 bits), the number of a row or column has 14 bits: sums of a band stay below 2**53, so that
float64, and with it the machine's fast matrix product, has them exactly. Bands are added as int64.
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
    """What a task makes of frames, and how the results of several tasks become one."""

    @property
    def window(self) -> tuple[range, range]:
        """Rows and columns of the frames that it needs."""

    @property
    def joined_at_once(self) -> int:
        """Results that one task should join at most."""

    def reduce(self, frames: Array) -> Array:
        """Reduce a block of frames, shape (frames, rows, columns) of the window."""

    def join(self, parts: Sequence[Array]) -> Array:
        """Put the results of consecutive blocks together."""


@dataclass(frozen=True, eq=False)
class PixelSums:
    """Weighted sums over the pixels of each frame.

    Parameters
    ----------
    detector : Detector
        The weights w.
    window : tuple of range
        Rows and columns outside of which they are 0.
    moments : bool
        Also sum w·y and w·x times the pixels, y and x being rows and columns of the whole frame.
    band_pixels : int, default 2**16
        Pixels of a frame that are summed at a time; of more, sums would not be exact.
    tile_pixels : int, default 2**17
        Pixels that are converted to float64 at a time: 1 MiB, which stays in a processor's cache.

    Notes
    -----
    The result has shape (frames, 1) or (frames, 3): Σ w·I, Σ w·y·I, Σ w·x·I. For integer pixels and
    whole weights it is int64 and exact, else float64. What a pixel with weight 0 holds, NaN for
    one, has no influence.
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
            # One for all: workers give freed memory back at once, and getting it anew takes longer
            # than the sums.
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
        """The weights of a band, one column for each sum."""
        weights = self.detector.weights(rows, columns)
        kinds = [weights]
        if self.moments:
            y, x = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
            kinds += [weights * y[:, None], weights * x]
        return np.stack([kind.ravel() for kind in kinds], axis=1)

    def join(self, parts: Sequence[Array]) -> Array:
        """Put the frames of consecutive blocks one behind the other."""
        return np.concatenate(parts)


@dataclass(frozen=True)
class FrameSum:
    """The sum of all frames, pixel by pixel; uint64 or int64 for integer pixels, else float64.

    Parameters
    ----------
    frame_shape : tuple of int
    """

    frame_shape: FrameShape

    # A sum of large frames takes 128 MiB.
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
        """Add the sums, in the order given: the result is the same in every run."""
        total = np.array(parts[0])
        for part in parts[1:]:
            total += part
        return total
