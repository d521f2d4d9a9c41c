"""Numbers → what an eye can tell apart: limits of grey, and images no larger than a screen."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["image_limits", "log_limits", "magnitude", "reduced"]

Array = npt.NDArray[Any]

# Three decades and a little: the direct beam and the faintest disk are both to be seen.
_DECADES = 2000.0

# Single pixels that are far brighter than all others are defects or the very middle of the beam.
_ALMOST_ALL = 99.98


def image_limits(*images: Array) -> tuple[float, float]:
    """Return the grey levels between which an image, or several alike, are best seen.

    Parameters
    ----------
    *images : ndarray
        Real numbers; what is not finite does not count.

    Returns
    -------
    low, high : float
        Their percentiles 0.5 and 99.5, always ``low < high``.
    """
    values = np.concatenate([_finite(image) for image in images])
    if not values.size:
        return 0.0, 1.0
    low, high = map(float, np.percentile(values, (0.5, 99.5)))
    if low < high:
        return low, high
    low, high = float(values.min()), float(values.max())
    # A constant in the middle of the grey, with a width that its own precision can tell.
    width = max(abs(low), 1.0) * 1e-3
    return (low, high) if low < high else (low - width, high + width)


def log_limits(pattern: Array) -> tuple[float, float] | None:
    """Return the limits of a logarithmic scale that suits a diffraction pattern.

    Parameters
    ----------
    pattern : ndarray
        Real numbers.

    Returns
    -------
    low, high : float, or None
        ``0 < low < high``; at most 2000 times apart, and low is below the faintest positive value
        or that limit. None where too little is positive, or all that is has one value.
    """
    values = _finite(pattern)
    positive = values[values > 0]
    if positive.size < max(values.size // 1000, 2) or positive.min() == positive.max():
        return None
    high = float(np.percentile(positive, _ALMOST_ALL))
    if not np.isfinite(high):
        return None
    # Half of the faintest: where detectors count, one electron is told from none.
    low = max(float(np.percentile(positive, 1)) / 2, high / _DECADES)
    return (low, high) if 0 < low < high else None


def magnitude(numbers: Array) -> Array:
    """Return what can be drawn in one colour scale: the magnitude of complex numbers, else all."""
    return np.abs(numbers) if numbers.dtype.kind == "c" else numbers


def reduced(image: Array, most: int = 1024) -> Array:
    """Average neighbours until an image is no larger than a screen.

    Parameters
    ----------
    image : ndarray, shape (rows, columns) or (rows, columns, 3)
        Real numbers.
    most : int, default 1024
        Pixels along an axis.

    Returns
    -------
    ndarray
        The image itself where it is small enough, else float64 means; uint8 remains uint8.
    """
    found = image
    for axis in (0, 1):
        size = image.shape[axis]
        starts = np.arange(0, size, -(-size // most))
        if len(starts) == size:
            continue
        counts = np.diff([*starts, size])
        along = (-1, *[1] * (image.ndim - axis - 1))
        found = np.add.reduceat(found, starts, axis, dtype=np.float64) / counts.reshape(along)
    return found.astype(np.uint8) if image.dtype == np.uint8 and found is not image else found


def _finite(image: Array) -> Array:
    values = np.asarray(image).ravel()
    # float16 and small integers overflow in differences of percentiles.
    finite: Array = values[np.isfinite(values)].astype(np.float64)
    return finite
