"""What pictures of this package share: scale bars and colour bars."""

from __future__ import annotations

import math
from typing import Any

from mrcdist.words import unit_words

__all__ = ["bar_length", "colour_bar", "scale_bar"]


def bar_length(width: float) -> float:
    """Return a round length, 1, 2 or 5 times a power of ten, for a scale bar.

    Parameters
    ----------
    width : float
        Of the image, in any unit.

    Returns
    -------
    float
        At most 30 % of it.
    """
    most = 0.3 * width
    power = 10.0 ** math.floor(math.log10(most))
    # 0.5 for when the logarithm was rounded up to a whole number.
    return max(step * power for step in (0.5, 1, 2, 5) if step * power <= most)


def scale_bar(panel: Any, *, pixels: int, scale: float, units: str | None) -> None:
    """Draw a scale bar into the lower left corner of an image.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        Its horizontal axis counts pixels.
    pixels : int
        Of the image, along that axis.
    scale : float
        Of a pixel, in `units`.
    units : str or None
        Without units the bar is in pixels.
    """
    from matplotlib.lines import Line2D
    from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker

    scale = abs(scale) if units else 1.0
    length = bar_length(pixels * scale)
    if not units:
        length = max(round(length), 1)
    # A bar's length is data, all else of it is print: the same in panels of any size and shape.
    bar = AuxTransformBox(panel.transData)
    ends = (0, length / scale)
    bar.add_artist(Line2D(ends, (0, 0), color="white", lw=3, solid_capstyle="butt"))
    words = f"{length:g} {unit_words(units) if units else 'px'}"
    text = TextArea(words, textprops={"color": "white", "fontsize": 9})
    box = AnchoredOffsetbox(
        loc="lower left",
        child=VPacker(children=[text, bar], align="center", pad=0, sep=3),
        pad=0.35,
        borderpad=0.6,
        frameon=True,
    )
    box.patch.set(facecolor="black", alpha=0.55, linewidth=0)
    box.set_in_layout(False)
    panel.add_artist(box)


def colour_bar(figure: Any, panel: Any, image: Any, words: str = "") -> None:
    """Draw a slender colour bar at the right of an image.

    Parameters
    ----------
    figure, panel, image : Figure, Axes, AxesImage
        Of matplotlib.
    words : str, optional
        What the colours mean.
    """
    bar = figure.colorbar(image, cax=panel.inset_axes((1.025, 0, 0.03, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.set_label(words, fontsize=9)
