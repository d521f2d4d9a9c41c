"""The scale bar of an image: its length, its label, how it is drawn."""

from __future__ import annotations

import math
from typing import Any

from mrcdist.format.axis import Axis
from mrcdist.formatting import figure_text, format_unit

__all__ = ["round_length", "scale_bar"]

# Of the width of the image.
_LONGEST_BAR = 0.3


def scale_bar(place: Any, axis: Axis) -> None:
    """Draw a scale bar into the lower left corner of an image.

    Parameters
    ----------
    place : matplotlib.axes.Axes
        Its horizontal axis counts pixels.
    axis : Axis
        Of the image, horizontally. The bar is in pixels where it has no units or uneven steps.
    """
    from matplotlib.lines import Line2D
    from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker

    units = axis.units if axis.values is None and axis.scale else None
    scale = abs(axis.scale) if units else 1.0
    length = round_length(_LONGEST_BAR * axis.size * scale)
    if not units:
        length = max(round(length), 1)
    # A bar's length is data, all else of it is print: the same in panels of any size and shape.
    bar = AuxTransformBox(place.transData)
    ends = (0, length / scale)
    bar.add_artist(Line2D(ends, (0, 0), color="white", lw=3, solid_capstyle="butt"))
    words = f"{length:g} {format_unit(units) if units else 'px'}"
    text = TextArea(figure_text(words), textprops={"color": "white", "fontsize": 9})
    box = AnchoredOffsetbox(
        loc="lower left",
        child=VPacker(children=[text, bar], align="center", pad=0, sep=3),
        pad=0.35,
        borderpad=0.6,
        frameon=True,
    )
    box.patch.set(facecolor="black", alpha=0.55, linewidth=0)
    box.set_in_layout(False)
    place.add_artist(box)


def round_length(most: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is at most `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    # 0.5 for when the logarithm was rounded up to a whole number.
    return max(step * power for step in (0.5, 1, 2, 5) if step * power <= most)
