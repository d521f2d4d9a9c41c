"""Results as a figure: one that is written, or those of a job so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.results import Result
from mrcdist.compute.whole_file import write_whole
from mrcdist.formatting import format_unit
from mrcdist.plotting.image import colour_bar, draw_image, new_figure

__all__ = ["PictureSoFar", "deflection", "result_figure"]

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
    return _figure({"": result})


def _figure(results: Mapping[str, Result]) -> Any:
    """Draw a row of panels for each result, with its name before its title."""
    panels = {
        name: result.values if result.names else result.values[None]
        for name, result in results.items()
    }
    most = max(map(len, panels.values()))
    figure = new_figure(_PANEL_INCHES * most * 1.2, _PANEL_INCHES * len(panels))
    rows = figure.subplots(len(panels), most, squeeze=False)
    for places, (name, images) in zip(rows, panels.items(), strict=True):
        for place in places[len(images) :]:
            place.remove()
        result = results[name]
        of_what = [f", {each}" for each in result.names] or [""]
        units = result.units if len(result.units) == len(images) else result.units * len(images)
        for place, image, which, unit in zip(places, images, of_what, units, strict=False):
            label = result.label or format_unit(unit)
            if result.contrast == "signed":
                image, middle = deflection(image)
                label += f" from the median, {middle:.4g} {label}"
            title = (f"{name}: " if name else "") + result.title + which
            drawn = draw_image(
                place, image, *result.axes[-2:], title=title, contrast=result.contrast, fontsize=11
            )
            colour_bar(place, drawn, label)
    return figure


class PictureSoFar:
    """A picture of a job that fills in while it runs.

    Parameters
    ----------
    path : Path
        Replaced each time.
    interval : float
        Seconds before the first picture, and at least from one to the next. Drawing takes at most a
        twentieth of the time.
    """

    def __init__(self, path: Path, interval: float = 20.0) -> None:
        self._path, self._interval = path, interval
        self._due = time.monotonic() + interval

    def draw(self, results: Callable[[], Mapping[str, Result]]) -> None:
        """Draw the images among the results so far if it is time to."""
        begun = time.monotonic()
        if begun < self._due or find_spec("matplotlib") is None:
            return
        try:
            self._draw(results())
        except Exception:  # noqa: BLE001 no job fails for its picture
            self._due = math.inf
            return
        now = time.monotonic()
        self._due = now + max(self._interval, 20 * (now - begun))

    def _draw(self, results: Mapping[str, Result]) -> None:
        images = {
            name: each
            for name, each in results.items()
            if each.values.ndim - bool(each.names) == len(each.axes) == 2
        }
        if images:
            with write_whole(self._path) as file:
                _figure(images).savefig(file, format="png")


def deflection(image: Array) -> tuple[Array, float]:
    """Return how far positions are from their median, and the median; NaN stays NaN."""
    finite = image[np.isfinite(image)]
    middle = float(np.median(finite)) if finite.size else 0.0
    return image - middle, middle
