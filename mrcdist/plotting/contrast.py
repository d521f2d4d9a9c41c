"""Contrast of an image: between which values its grey levels or colours lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mrcdist.format.axis import Axis, frames_are_patterns
from mrcdist.plan.navigation_shape import guess_scan

__all__ = [
    "Contrast",
    "colour_norm",
    "frame_contrast",
    "image_limits",
    "log_limits",
    "symmetric_limits",
]

Array = npt.NDArray[Any]

Contrast = Literal["linear", "log", "phase", "signed", "rgb"]
"""Grey levels; logarithmic, for diffraction patterns; phases; both sides of zero; colours."""

_PERCENTILES = (0.5, 99.5)

# Three decades and a little: the direct beam and the faintest disk are both visible.
_DECADES = 2000.0

# Single pixels that are far brighter than all others are defects or the very middle of the beam.
_ALMOST_ALL = 99.98

# Direct beams are hundreds of times as bright as most of a pattern, images at most ten times as
# bright in some places as in most; of what is negative, noise around zero is left out.
_BRIGHT = 20.0
_FAINT = 0.01

# Places along an axis of a frame that are compared, and pixels along an axis of a place: fewer
# counts than three in a place are taken for three.
_MAX_PLACES = 32
_MIN_SIDE = 3
_MIN_COUNTS = 3


def frame_contrast(axes: Sequence[Axis], image: Array) -> Contrast:
    """Return the contrast of a frame, or of the mean of frames: logarithmic if it is a pattern.

    Frames are diffraction patterns by their axes, as those of a scan, or as those of a stack so
    long that it may be a scan. So are those of a stack without a pixel size, if some places are far
    brighter than most. Images of a sample, as of a tomogram or a tilt series, may be negative, and
    are not that bright anywhere.

    Parameters
    ----------
    axes : sequence of Axis
        Of the whole array.
    image : ndarray, shape (rows, columns)
        Real numbers.

    Returns
    -------
    {"log", "linear"}
    """
    if frames_are_patterns(axes):
        return "log"
    signal = [axis for axis in axes if not axis.navigate]
    if len(signal) == len(axes) or not image.size:
        return "linear"
    places, count = _mean_of_places(image)
    if -places.min() > _FAINT * places.max():
        return "linear"
    if guess_scan(axes) is not None:
        return "log"
    positive = image[image > 0]
    # 1 Å a pixel is also what programs write that know no pixel size.
    calibrated = any(axis.units and not math.isclose(axis.scale, 0.1) for axis in signal)
    if calibrated or not positive.size:
        return "linear"
    few = _MIN_COUNTS * float(positive.min()) / count
    return "log" if places.max() > _BRIGHT * (float(np.median(places)) + few) else "linear"


def _mean_of_places(image: Array) -> tuple[Array, float]:
    """Return means over small rectangles, without single bright pixels; and pixels in each."""
    values = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
    values = np.minimum(values, np.percentile(values, _ALMOST_ALL, method="lower"))
    count = 1.0
    for axis, size in enumerate(values.shape):
        side = max(_MIN_SIDE, -(-size // _MAX_PLACES))
        starts = np.arange(0, size, side)
        sizes = np.diff([*starts, size]).reshape((-1, 1) if axis == 0 else (1, -1))
        values = np.add.reduceat(values, starts, axis) / sizes
        count *= side
    return values, count


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


def log_limits(*patterns: Array) -> tuple[float, float] | None:
    """Return the limits of a logarithmic scale that suits a diffraction pattern, or several alike.

    Parameters
    ----------
    *patterns : ndarray
        Real numbers.

    Returns
    -------
    low, high : float, or None
        ``0 < low < high``; at most 2000 times apart, and low is below the faintest positive value
        or that limit. None where too little is positive, or all that is has one value.
    """
    values = np.concatenate([_finite(pattern) for pattern in patterns])
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
