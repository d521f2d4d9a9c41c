"""Minimum, maximum, mean and RMS deviation of all values, merged from parts in any order."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.write.encoded_block import flat_slice

# Values summed at a time: few enough that the sum of squares of 16-bit integers is exact in float64
# (2**18 * 2**32 < 2**53) and that the temporary arrays take only 2 MiB.
_PIECE = 2**18

# Binary digits to which a mean is rounded, counted from the leading digit of the largest value.
_MEAN_DIGITS = 44


@dataclass(frozen=True)
class Statistics:
    """Statistics of a part of the values.

    For integers of up to 16 bits, `total` and `squares` are the exact sums of the values and of
    their squares. Otherwise, they are the mean and the sum of squared deviations from it.
    """

    count: int
    minimum: float
    maximum: float
    total: int | float
    squares: int | float

    def summary(self) -> tuple[float, float, float, float]:
        """Return DMIN, DMAX, DMEAN and RMS, the RMS deviation from the mean."""
        if isinstance(self.total, int) and isinstance(self.squares, int):
            mean = self.total / self.count
            variance = (self.squares * self.count - self.total**2) / self.count**2
        else:
            largest = max(abs(self.minimum), abs(self.maximum))
            mean, variance = _rounded_mean(self.total, largest), self.squares / self.count
        return self.minimum, self.maximum, mean, math.sqrt(max(variance, 0.0))


def _rounded_mean(mean: float, largest: float) -> float:
    """Round a mean to the digits that do not depend on the order of summation.

    If values cancel out, the rounding error left in float64 varies with the chunks; it is less than
    2**-47 of the largest value.
    """
    if not (math.isfinite(mean) and math.isfinite(largest)):
        return mean
    step = math.ldexp(1.0, math.frexp(largest)[1] - _MEAN_DIGITS)
    return round(mean / step) * step


def statistics_of(
    array: npt.NDArray[Any], stored: npt.DTypeLike | None = None
) -> Statistics | None:
    """Return the statistics of an array after conversion to the dtype `stored`.

    NaN makes all four results NaN, which the header marks as undetermined. Empty and complex arrays
    have no statistics: the result is None.
    """
    dtype = np.dtype(stored or array.dtype)
    if "c" in (array.dtype.kind, dtype.kind) or array.size == 0:
        return None
    pieces = (flat_slice(array, at, at + _PIECE) for at in range(0, array.size, _PIECE))
    return merge_statistics(_of_piece(piece, dtype) for piece in pieces)


def merge_statistics(parts: Iterable[Statistics | None]) -> Statistics | None:
    """Merge neighbours pairwise; return None if any part is None, or if there are none."""
    level = list(parts)
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [_merged(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0] if level else None


def _of_piece(piece: npt.NDArray[Any], dtype: np.dtype[Any]) -> Statistics:
    exact = dtype.kind in "iub" and dtype.itemsize <= 2
    with np.errstate(invalid="ignore", over="ignore"):  # encoding raises if a value does not fit
        piece = piece.astype(dtype, copy=False)
        values = piece.astype(np.float64)
        total = int(values.sum()) if exact else float(values.mean())
        if not exact:
            values -= total
        # Not np.dot: it starts BLAS's own threads, which slow each other down if every task has
        # some.
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
    # Unlike Python's min() and max(), numpy's propagate NaN.
    minimum = float(np.minimum(a.minimum, b.minimum))
    maximum = float(np.maximum(a.maximum, b.maximum))
    if isinstance(a.total, int):
        return Statistics(count, minimum, maximum, a.total + b.total, a.squares + b.squares)
    # Chan, Golub and LeVeque, Am. Stat. 37 (1983), 242-247.
    difference = b.total - a.total
    mean = a.total + difference * b.count / count
    squares = a.squares + b.squares + difference**2 * a.count * b.count / count
    return Statistics(count, minimum, maximum, mean, squares)
