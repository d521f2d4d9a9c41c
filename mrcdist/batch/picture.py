"""A result as a PNG to look at."""

from __future__ import annotations

import math
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mrcdist.batch.quantities import Result
from mrcdist.format.axis import Axis

__all__ = ["bar_length", "deflection", "draw", "limits", "symmetric_limits"]

Array = npt.NDArray[Any]

_DPI = 150
_PANEL_INCHES = 5.0
_MISSING = "#999999"  # white is no deflection
_SUPERSCRIPT = str.maketrans("-1234", "⁻¹²³⁴")


def draw(file: IO[bytes], result: Result) -> None:
    """Draw one panel, or one for each of the result's names.

    Images are grey from the 1st to the 99th percentile. Diffraction patterns are on a logarithmic
    scale from the 1st percentile of the positive pixels to the maximum. Of positions the deflection
    is shown, from their median, in colours that part at zero. A scale bar where the axis has units.

    Parameters
    ----------
    file : binary file
        Gets the PNG.
    result : Result
        Of two axes, or of one more where it has names.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure

    images = result.values if result.names else result.values[None]
    names = [f", {name}" for name in result.names] or [""]
    units = result.units if len(result.units) == len(images) else result.units * len(images)
    figure = Figure(figsize=(_PANEL_INCHES * len(images) * 1.2, _PANEL_INCHES), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    for panel, image, name, unit in zip(
        figure.subplots(1, len(images), squeeze=False)[0], images, names, units, strict=True
    ):
        label = result.label or _pretty(unit)
        if result.deflection:
            image, middle = deflection(image)
            label += f" from the median, {middle:.4g} {label}"
            low, high = symmetric_limits(image)
        else:
            low, high = limits(image, logarithmic=result.pattern)
        logarithmic = result.pattern and low > 0
        cmap = "RdBu_r" if result.deflection else "magma" if logarithmic else "gray"
        drawn = panel.imshow(
            image.astype(np.float64),
            cmap=colormaps[cmap].with_extremes(bad=_MISSING) if result.deflection else cmap,
            norm=LogNorm(low, high, clip=True) if logarithmic else Normalize(low, high),
            interpolation="nearest",
            aspect=_aspect(*result.axes[-2:]),
        )
        panel.set_title(result.title + name)
        panel.set(xticks=[], yticks=[])
        figure.colorbar(drawn, ax=panel, label=label, shrink=0.85)
        _scale_bar(panel, result.axes[-1])
    figure.savefig(file, format="png")


def limits(image: Array, *, logarithmic: bool) -> tuple[float, float]:
    """Return the values to be shown as darkest and as brightest; NaN does not count.

    Parameters
    ----------
    image : ndarray
    logarithmic : bool
        From the 1st percentile of the positive pixels to the maximum, where there are any; else
        from the 1st to the 99th percentile.
    """
    numbers = image[np.isfinite(image)].astype(np.float64)
    positive = numbers[numbers > 0]
    if logarithmic and positive.size:
        low, high = float(np.percentile(positive, 1)), float(positive.max())
    elif numbers.size:
        low, high = (float(value) for value in np.percentile(numbers, (1, 99)))
        if low == high:  # a few bright points on an even ground
            low, high = float(numbers.min()), float(numbers.max())
    else:
        low, high = 0.0, 1.0
    return (low, high) if low < high else (low, low + (abs(low) or 1.0))


def deflection(image: Array) -> tuple[Array, float]:
    """Return how far positions are from their median, and the median; NaN stays NaN."""
    finite = image[np.isfinite(image)]
    middle = float(np.median(finite)) if finite.size else 0.0
    return image - middle, middle


def symmetric_limits(image: Array) -> tuple[float, float]:
    """Return limits about zero that leave out the largest hundredth of the lengths."""
    lengths = np.abs(image[np.isfinite(image)])
    edge = float(np.percentile(lengths, 99) or lengths.max()) if lengths.size else 0.0
    return (-edge, edge) if edge else (-1.0, 1.0)


def bar_length(width: float) -> float:
    """Return 1, 2 or 5 times a power of ten, a quarter of `width` at most."""
    most = width / 4
    power = 10.0 ** math.floor(math.log10(most) + 1e-9)
    return max(step * power for step in (0.5, 1, 2, 5) if step * power <= most * (1 + 1e-9))


def _scale_bar(panel: Any, axis: Axis) -> None:
    from matplotlib.patches import Rectangle

    if not axis.units or axis.values is not None or not axis.scale:
        return
    width = axis.size * abs(axis.scale)
    length = bar_length(width)
    share = length / width
    plate = {"transform": panel.transAxes, "lw": 0}
    panel.add_patch(
        Rectangle((0.03, 0.03), share + 0.04, 0.1, facecolor="black", alpha=0.6, **plate)
    )
    panel.add_patch(Rectangle((0.05, 0.05), share, 0.015, facecolor="white", **plate))
    panel.text(
        0.05 + share / 2,
        0.072,
        f"{length:g} {_pretty(axis.units)}",
        transform=panel.transAxes,
        color="white",
        ha="center",
        va="bottom",
        fontsize=9,
    )


def _aspect(y: Axis, x: Axis) -> float:
    """Height over width of a pixel; square where the axes cannot be compared."""
    if y.units != x.units or y.values is not None or x.values is not None or not y.scale:
        return 1.0
    return abs(y.scale / x.scale) if x.scale else 1.0


def _pretty(units: str) -> str:
    unit, power, exponent = units.partition("^")
    return unit + exponent.translate(_SUPERSCRIPT) if power else units
