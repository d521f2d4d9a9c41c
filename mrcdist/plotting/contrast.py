"""Contrast of an image: between which values its grey levels or colours lie."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Contrast", "colour_norm", "image_limits", "log_limits", "symmetric_limits"]

Array = npt.NDArray[Any]

Contrast = Literal["linear", "log", "phase", "signed", "rgb"]
"""Grey levels; logarithmic, for diffraction patterns; phases; both sides of zero; colours."""

_PERCENTILES = (0.5, 99.5)

# Three decades and a little: the direct beam and the faintest disk are both visible.
_DECADES = 2000.0

# Single pixels that are far brighter than all others are defects or the very middle of the beam.
_ALMOST_ALL = 99.98


def colour_norm(image: Array, contrast: Contrast, limits: tuple[float, float] | None = None) -> Any:
    """Return matplotlib's norm for an image: linear or logarithmic, between limits that suit it."""
    from matplotlib.colors import LogNorm, Normalize

    if contrast == "log" and (found := limits or log_limits(image)) and found[0] > 0:
        return LogNorm(*found, clip=True)
    if limits is None:
        limits = (
            (-np.pi, np.pi)
            if contrast == "phase"
            else symmetric_limits(image)
            if contrast == "signed"
            else image_limits(image)
        )
    return Normalize(*limits)


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
    low, high = map(float, np.percentile(values, _PERCENTILES))
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


def symmetric_limits(image: Array) -> tuple[float, float]:
    """Return limits about zero that leave out the largest hundredth of the magnitudes."""
    lengths = np.abs(_finite(image))
    edge = float(np.percentile(lengths, 99) or lengths.max()) if lengths.size else 0.0
    return (-edge, edge) if edge else (-1.0, 1.0)


def _finite(image: Array) -> Array:
    values = np.asarray(image).ravel()
    # float16 and small integers overflow in differences of percentiles.
    finite: Array = values[np.isfinite(values)].astype(np.float64)
    return finite
