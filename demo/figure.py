"""The mean pattern and the two virtual images as one figure, with scale bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo.field import Detectors
from mrcdist.preview.drawing import colour_bar, scale_bar

__all__ = ["Images", "save_figure"]

_BRIGHT, _DARK = "#4cc9f0", "#ffb703"


@dataclass(frozen=True)
class Images:
    """What one pass over a 4D-STEM scan gives.

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
    """Draw the three images side by side.

    Parameters
    ----------
    path : Path
        PNG file, replaced if it is there.
    images : Images
        Patterns and images of one scan.
    detectors : Detectors
        Drawn over the mean pattern.
    axes : sequence of mapping
        The four axes, as `read_mrc` returns them: scale and units make the scale bars.
    title : str
        Above all three.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    figure = Figure(figsize=(13.2, 4.6), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.10)
    figure.suptitle(title, fontsize=12, color="#444444")
    panels = figure.subplots(1, 3)
    scan = {"y": axes[0], "x": axes[1]}
    detector = {"y": axes[2], "x": axes[3]}

    mean = images.pattern / images.bright.size
    # Three decades: the direct beam and the faintest disk are both to be seen.
    norm = LogNorm(mean.max() / 500, mean.max(), clip=True)
    image = panels[0].imshow(mean, cmap="magma", norm=norm)
    middle = detectors.center[::-1]
    rings = zip(detectors.radii, (_BRIGHT, _DARK, _DARK), strict=True)
    for radius, color in rings:
        panels[0].add_patch(Circle(middle, radius, fill=False, color=color, lw=1.3, ls=(0, (4, 3))))
    _label(figure, panels[0], image, "Mean diffraction pattern", "mean counts", detector)

    drawn = (
        (images.bright, "gray", "Bright field", _BRIGHT),
        (images.dark, "inferno", "Dark field", _DARK),
    )
    for panel, (values, colors, name, frame) in zip(panels[1:], drawn, strict=True):
        low, high = np.percentile(values, (0.5, 99.5))
        image = panel.imshow(values, cmap=colors, vmin=low, vmax=high)
        _label(figure, panel, image, name, "counts", scan)
        for spine in panel.spines.values():
            spine.set(color=frame, linewidth=2)
    figure.savefig(path)


def _label(
    figure: Any,
    panel: Any,
    image: Any,
    name: str,
    values: str,
    axes: Mapping[str, Mapping[str, Any]],
) -> None:
    panel.set_title(name, fontsize=14, pad=8)
    panel.set(xticks=[], yticks=[])
    panel.set_aspect(float(axes["y"]["scale"]) / float(axes["x"]["scale"]))
    colour_bar(figure, panel, image, values)
    across = axes["x"]
    scale_bar(
        panel, pixels=int(across["size"]), scale=float(across["scale"]), units=across["units"]
    )
