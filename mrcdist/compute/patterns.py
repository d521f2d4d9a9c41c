"""Results of the size of a frame: sum, mean, maximum and standard deviation of all frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mrcdist.compute.reductions import FrameMaximum, FrameSquares, FrameSum, Reduction
from mrcdist.compute.results import Array, Dataset, Result
from mrcdist.errors import ArgumentError
from mrcdist.plotting import frame_contrast


class _Pattern:
    """A result of the size of a frame; unless a class says otherwise, the sum of all frames."""

    title: str
    _made_of: ClassVar[tuple[type[FrameSum], ...]] = (FrameSum,)
    _of_nothing: ClassVar = False

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        return tuple(each(data.layout.frame_shape) for each in self._made_of)

    def _values(self, n: int, *joined: Array) -> Array:
        """Combine the reductions of all `n` frames."""
        return joined[0]

    def finish(self, data: Dataset, *values: Array) -> Result:
        n = data.frames_present()
        if n == 0 and not self._of_nothing:
            raise ArgumentError("no frames to average", code="data-not-reducible")
        pattern = self._values(n, *values)
        return Result(
            self.title,
            pattern,
            data.signal_axes,
            units=("counts per pixel",),
            contrast=frame_contrast(data.axes, pattern),
            notes=data.missing_note(self.title),
        )


@dataclass(frozen=True)
class SumPattern(_Pattern):
    """Sum of all frames: exact integers for integer data, otherwise float64."""

    title: str = "sum"
    _of_nothing = True


@dataclass(frozen=True)
class MeanPattern(_Pattern):
    """Mean of all existing frames: their sum, exact for integers, divided by their number."""

    title: str = "mean"

    def _values(self, n: int, *joined: Array) -> Array:
        return joined[0] / n


@dataclass(frozen=True)
class MaximumPattern(_Pattern):
    """Maximum of each pixel over all existing frames, in the dtype of the data."""

    title: str = "maximum"
    _made_of = (FrameMaximum,)


@dataclass(frozen=True)
class StandardDeviation(_Pattern):
    """Standard deviation of each pixel over all existing frames, as `numpy.std`; float64.

    For integer data it is computed from exact sums, so that a small deviation from a large mean
    does not lose precision.
    """

    title: str = "standard deviation"
    _made_of = (FrameSum, FrameSquares)

    def _values(self, n: int, *joined: Array) -> Array:
        total, squares = joined
        if total.dtype.kind in "iu":
            # Σ(x - m)² with m the whole part of the mean stays in 64 bits; the rest is small.
            total, squares = total.astype(np.int64), squares.astype(np.int64)
            middle, rest = np.divmod(total, n)
            around = squares - middle * middle * n - 2 * middle * rest
            variance = (around - rest * (rest / n)) / n
        else:
            variance = squares / n - (total / n) ** 2
        deviation: Array = np.sqrt(np.maximum(variance, 0))
        return deviation
