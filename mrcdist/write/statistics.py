"""Minimum, maximum, mean and RMS deviation of all values, from parts that come in any order."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.write.encoded_block import in_order

# Values summed at a time: few enough that squares of 16-bit integers add up exactly in float64
# (2**18 * 2**32 < 2**53), and that a block's statistics take 2 MiB beside it.
_PIECE = 2**18

# Binary digits of a mean, counted from the first one of the largest value.
_SETTLED = 44


@dataclass(frozen=True)
class Statistics:
    """Of integers sums are exact; of floats they are merged pairwise in float64.

    Of integers, `total` and `squares` are their sum and that of their squares; of floats, the mean
    and the sum of squared deviations from it.
    """

    count: int
    minimum: float
    maximum: float
    total: int | float
    squares: int | float

    def summary(self) -> tuple[float, float, float, float]:
        """Return DMIN, DMAX, DMEAN and RMS, the last being the deviation from the mean."""
        if isinstance(self.total, int) and isinstance(self.squares, int):
            mean = self.total / self.count
            variance = (self.squares * self.count - self.total**2) / self.count**2
        else:
            largest = max(abs(self.minimum), abs(self.maximum))
            mean, variance = _settled(self.total, largest), self.squares / self.count
        return self.minimum, self.maximum, mean, math.sqrt(max(variance, 0.0))


def _settled(mean: float, largest: float) -> float:
    """Round a mean to what does not depend on the order of the sums.

    Of values that cancel out, what is left in float64 differs with the blocks that they were
    written in; it is less than 2**-47 of the largest one.
    """
    if not (math.isfinite(mean) and math.isfinite(largest)):
        return mean
    step = math.ldexp(1.0, math.frexp(largest)[1] - _SETTLED)
    return round(mean / step) * step


def statistics_of(
    numbers: npt.NDArray[Any], stored: npt.DTypeLike | None = None
) -> Statistics | None:
    """Sum up an array of real numbers, rounded to the dtype that is stored; None for other ones.

    A value that is not a number makes all four of them NaN, which the header marks as
    undetermined.
    """
    dtype = np.dtype(stored or numbers.dtype)
    if "c" in (numbers.dtype.kind, dtype.kind) or numbers.size == 0:
        return None
    pieces = (in_order(numbers, at, at + _PIECE) for at in range(0, numbers.size, _PIECE))
    return merge_statistics(_of_piece(piece, dtype) for piece in pieces)


def merge_statistics(parts: Iterable[Statistics | None]) -> Statistics | None:
    """Merge neighbours two by two; None if one of them is."""
    level = list(parts)
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [_merged(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0] if level else None


def _of_piece(piece: npt.NDArray[Any], dtype: np.dtype[Any]) -> Statistics:
    exact = dtype.kind in "iub" and dtype.itemsize <= 2
    with np.errstate(invalid="ignore", over="ignore"):  # what does not fit is an error elsewhere
        piece = piece.astype(dtype, copy=False)
        values = piece.astype(np.float64)
        total = int(values.sum()) if exact else float(values.mean())
        if not exact:
            values -= total
        # By numpy alone: np.dot starts BLAS's own threads, which wait for each other in every task.
        squares = np.einsum("i,i->", values, values)
    return Statistics(
        values.size,
        float(piece.min()),
        float(piece.max()),
        total,
        int(squares) if exact else float(squares),
    )


def _merged(a: Statistics | None, b: Statistics | None) -> Statistics | None:
    if a is None or b is None:
        return None
    count = a.count + b.count
    # min() and max() of Python pass over NaN.
    minimum = float(np.minimum(a.minimum, b.minimum))
    maximum = float(np.maximum(a.maximum, b.maximum))
    if isinstance(a.total, int) and isinstance(b.total, int):
        return Statistics(count, minimum, maximum, a.total + b.total, a.squares + b.squares)
    a, b = _of_mean(a), _of_mean(b)
    # Chan, Golub and LeVeque, Am. Stat. 37 (1983), 242-247.
    difference = b.total - a.total
    mean = a.total + difference * b.count / count
    squares = a.squares + b.squares + difference**2 * a.count * b.count / count
    return Statistics(count, minimum, maximum, mean, squares)


def _of_mean(part: Statistics) -> Statistics:
    """Return sums of integers as those of floats: records of earlier versions may have either."""
    if not (isinstance(part.total, int) and isinstance(part.squares, int)):
        return part
    _, _, mean, rms = part.summary()
    return replace(part, total=mean, squares=rms**2 * part.count)
