"""Results of the size of a frame: sum, mean, maximum and standard deviation of all frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrcdist.compute.reductions import FrameMaximum, FrameSquares, FrameSum
from mrcdist.compute.results import Array, Dataset, PartLoader, Result
from mrcdist.compute.schedule import Part
from mrcdist.compute.tiles import Reduction
from mrcdist.errors import ArgumentError
from mrcdist.plotting.contrast import frame_contrast

__all__ = ["MaximumPattern", "MeanPattern", "StandardDeviation", "SumPattern"]


@dataclass(frozen=True)
class SumPattern:
    """The sum of all frames: exact integers for integer data, else float64."""

    title: str = "sum"

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """The sum."""
        return (FrameSum(data.layout.frame_shape),)

    def finish(
        self, data: Dataset, parts: tuple[Part, ...], loads: tuple[PartLoader, ...]
    ) -> Result:
        """Join the parts."""
        [total] = _joined(self.reductions(data), parts, loads)
        return _pattern(self.title, data, total)


@dataclass(frozen=True)
class MeanPattern:
    """The mean of all frames that are there: the exact sum, for integers, over their number."""

    title: str = "mean"

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Their sum."""
        return (FrameSum(data.layout.frame_shape),)

    def finish(
        self, data: Dataset, parts: tuple[Part, ...], loads: tuple[PartLoader, ...]
    ) -> Result:
        """Divide by the number of frames."""
        present = _present(data)
        [total] = _joined(self.reductions(data), parts, loads)
        return _pattern(self.title, data, total / present)


@dataclass(frozen=True)
class MaximumPattern:
    """The largest value of each pixel in the frames that are there, in the dtype of the data."""

    title: str = "maximum"

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """The maximum."""
        return (FrameMaximum(data.layout.frame_shape),)

    def finish(
        self, data: Dataset, parts: tuple[Part, ...], loads: tuple[PartLoader, ...]
    ) -> Result:
        """Join the parts."""
        _present(data)
        [largest] = _joined(self.reductions(data), parts, loads)
        return _pattern(self.title, data, largest)


@dataclass(frozen=True)
class StandardDeviation:
    """The standard deviation of each pixel over the frames that are there, float64; as `numpy.std`.

    For integer data it is computed from exact sums, without the loss of digits that a small
    deviation from a large mean costs otherwise.
    """

    title: str = "standard deviation"

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Sums of the pixels and of their squares."""
        shape = data.layout.frame_shape
        return FrameSum(shape), FrameSquares(shape)

    def finish(
        self, data: Dataset, parts: tuple[Part, ...], loads: tuple[PartLoader, ...]
    ) -> Result:
        """Combine the sums."""
        n = _present(data)
        total, squares = _joined(self.reductions(data), parts, loads)
        if total.dtype.kind in "iu":
            # Σ(x - m)² with m the whole part of the mean stays in 64 bits; the rest is small.
            total, squares = total.astype(np.int64), squares.astype(np.int64)
            middle, rest = np.divmod(total, n)
            around = squares - middle * middle * n - 2 * middle * rest
            variance = (around - rest * (rest / n)) / n
        else:
            variance = squares / n - (total / n) ** 2
        return _pattern(self.title, data, np.sqrt(np.maximum(variance, 0)))


def _joined(
    reductions: tuple[Reduction, ...], parts: tuple[Part, ...], loads: tuple[PartLoader, ...]
) -> list[Array]:
    joined = []
    for reduction, load in zip(reductions, loads, strict=True):
        found = load(0)
        for part in range(1, len(parts)):
            found = reduction.join([found, load(part)])
        joined.append(found)
    return joined


def _present(data: Dataset) -> int:
    present = data.frames_present()
    if present == 0:
        raise ArgumentError("no frames to average", code="data-not-reducible")
    return present


def _pattern(title: str, data: Dataset, values: Array) -> Result:
    return Result(
        title,
        values,
        data.signal_axes,
        units=("counts per pixel",),
        contrast=frame_contrast(data.axes, values),
        notes=data.missing_note(title),
    )
