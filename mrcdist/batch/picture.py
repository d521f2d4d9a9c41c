"""A result as a figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.results import Result
from mrcdist.formatting import format_unit
from mrcdist.plotting.image import colour_bar, draw_image, new_figure

__all__ = ["deflection", "result_figure"]

Array = npt.NDArray[Any]

_PANEL_INCHES = 5.0


def result_figure(result: Result) -> Any:
    """Draw one panel, or one for each of the result's names.

    Diffraction patterns are on a logarithmic scale. Of positions the deflection from their median
    is shown, in colours that part at zero.

    Parameters
    ----------
    result : Result
        Of two axes, or of one more where it has names.

    Returns
    -------
    matplotlib.figure.Figure
    """
    images = result.values if result.names else result.values[None]
    names = [f", {name}" for name in result.names] or [""]
    units = result.units if len(result.units) == len(images) else result.units * len(images)
    figure = new_figure(_PANEL_INCHES * len(images) * 1.2, _PANEL_INCHES)
    places = figure.subplots(1, len(images), squeeze=False)[0]
    for place, image, name, unit in zip(places, images, names, units, strict=True):
        label = result.label or format_unit(unit)
        if result.contrast == "signed":
            image, middle = deflection(image)
            label += f" from the median, {middle:.4g} {label}"
        title = result.title + name
        drawn = draw_image(
            place, image, *result.axes[-2:], title=title, contrast=result.contrast, fontsize=11
        )
        colour_bar(place, drawn, label)
    return figure


def deflection(image: Array) -> tuple[Array, float]:
    """Return how far positions are from their median, and the median; NaN stays NaN."""
    finite = image[np.isfinite(image)]
    middle = float(np.median(finite)) if finite.size else 0.0
    return image - middle, middle
