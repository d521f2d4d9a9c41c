"""Figure of the mean pattern and two virtual images, with scale bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from demo.field import Detectors
from mrcdist.format.axis import Axis
from mrcdist.formatting import figure_text
from mrcdist.plotting import Contrast, colour_bar, draw_image, new_figure

__all__ = ["Images", "save_figure"]

_BRIGHT, _DARK = "#4cc9f0", "#ffb703"


@dataclass(frozen=True)
class Images:
    """Images computed in one pass over a 4D-STEM scan.

    Parameters
    ----------
    pattern : ndarray, shape (ky, kx)
        Sum of all frames.
    bright, dark : ndarray, shape (y, x)
        Sums over the pixels of each virtual detector.
    """

    pattern: NDArray[Any]
    bright: NDArray[Any]
    dark: NDArray[Any]


def save_figure(
    path: Path, images: Images, detectors: Detectors, axes: Sequence[Mapping[str, Any]], title: str
) -> None:
    """Save a figure of the three images side by side.

    Parameters
    ----------
    path : Path
        PNG file, replaced if it exists.
    images : Images
        Images of one scan.
    detectors : Detectors
        Drawn over the mean pattern.
    axes : sequence of mapping
        The four axes as returned by `read_mrc`; scale and units are used for scale bars.
    title : str
        Title of the figure.
    """
    from matplotlib.patches import Circle

    figure = new_figure(13.2, 4.6)
    figure.suptitle(figure_text(title), fontsize=12, color="#444444")
    mean = images.pattern / images.bright.size
    y, x, ky, kx = map(Axis.from_dict, axes)
    drawn: tuple[tuple[str, NDArray[Any], Axis, Axis, Contrast, str], ...] = (
        ("Mean diffraction pattern", mean, ky, kx, "log", "mean counts"),
        ("Bright field", images.bright, y, x, "linear", "counts"),
        ("Dark field", images.dark, y, x, "linear", "counts"),
    )
    places = figure.subplots(1, 3)
    for place, (name, image, down, across, contrast, words) in zip(places, drawn, strict=True):
        colours = draw_image(place, image, down, across, title=name, contrast=contrast, fontsize=14)
        colour_bar(place, colours, words)
    middle = detectors.center[::-1]
    for radius, color in zip(detectors.radii, (_BRIGHT, _DARK, _DARK), strict=True):
        places[0].add_patch(Circle(middle, radius, fill=False, color=color, lw=1.3, ls=(0, (4, 3))))
    for place, color in zip(places[1:], (_BRIGHT, _DARK), strict=True):
        for spine in place.spines.values():
            spine.set(color=color, linewidth=2)
    figure.savefig(path)
