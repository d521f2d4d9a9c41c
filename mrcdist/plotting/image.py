"""Drawing of one image, the same in every figure: colours, shape of pixels, scale bar, labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import MissingExtraError
from mrcdist.extras import install_command
from mrcdist.format.axis import Axis
from mrcdist.formatting import figure_text
from mrcdist.plotting.contrast import Contrast, colour_norm
from mrcdist.plotting.scale_bar import scale_bar

__all__ = [
    "colour_bar",
    "draw_image",
    "extents",
    "new_figure",
    "reduced",
    "require_matplotlib",
]

Array = npt.NDArray[Any]

# Colour map, and the colour of values that are missing (NaN).
_COLOURS = {
    "linear": ("gray", "#c9d4e5"),
    "log": ("magma", "#c9d4e5"),
    "phase": ("twilight", "#c9d4e5"),
    "signed": ("RdBu_r", "#999999"),
}

# As many pixels along an axis as a screen has.
_MAX_PIXELS = 1024

_DPI = 150
_INK = "#333333"


def require_matplotlib() -> None:
    """Raise `MissingExtraError` unless matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "matplotlib is not installed here",
            code="package-missing",
            cause="images are drawn with it",
            remedy=install_command("plot"),
        ) from None


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches, to be saved rather than shown."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    return figure


def draw_image(
    place: Any,
    image: Array,
    down: Axis,
    across: Axis,
    *,
    title: str,
    contrast: Contrast = "linear",
    limits: tuple[float, float] | None = None,
    extent: tuple[float, float, float, float] | None = None,
    fontsize: float = 9,
) -> Any:
    """Draw an image with its title and a scale bar.

    Parameters
    ----------
    place : matplotlib.axes.Axes
    image : ndarray, shape (rows, columns) or (rows, columns, 3)
        It fills `down` times `across`, however many pixels it has.
    down, across : Axis
        Sizes in pixels, and the calibration.
    title : str
    contrast : Contrast, default "linear"
    limits : tuple of float, optional
        Darkest and brightest value. Default: by `image_limits`, `log_limits` or
        `symmetric_limits`.
    extent : tuple of float, optional
        Left, right, bottom and top in pixels. Default: the first pixel's centre is at 0, 0.
    fontsize : float, default 9
        Of the title.

    Returns
    -------
    matplotlib.image.AxesImage
    """
    image = _thinned(image) if contrast == "phase" else reduced(image)
    options: dict[str, Any] = {}
    if contrast != "rgb":
        from matplotlib import colormaps

        image = image.astype(np.float64)
        name, missing = _COLOURS[contrast]
        options["cmap"] = colormaps[name].with_extremes(bad=missing)
        options["norm"] = colour_norm(image, contrast, limits)
    height, width = extents(down, across)
    drawn = place.imshow(
        image,
        extent=extent or (-0.5, across.size - 0.5, down.size - 0.5, -0.5),
        aspect=(height / down.size) / (width / across.size),
        # Few pixels are shown as what they are; many are averaged rather than picked.
        interpolation="nearest" if max(image.shape[:2]) <= 256 else "antialiased",
        **options,
    )
    place.set_title(figure_text(title), fontsize=fontsize, color=_INK, pad=4)
    place.set(xticks=[], yticks=[])
    for spine in place.spines.values():
        spine.set(color="#999999", linewidth=0.6)
    scale_bar(place, across)
    return drawn


def _thinned(image: Array) -> Array:
    """Leave out rows and columns: the mean of neighbouring phases means nothing."""
    down, across = (-(-size // _MAX_PIXELS) for size in image.shape)
    return image[::down, ::across]


def reduced(image: Array, most: int = _MAX_PIXELS) -> Array:
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


def extents(down: Axis, across: Axis) -> tuple[float, float]:
    """Return height and width of an image: in the axes' units, or pixels if these differ."""
    if down.units and down.units == across.units:
        height, width = (
            axis.size * abs(axis.scale) * (axis.values is None) for axis in (down, across)
        )
        if height and width:
            return height, width
    return float(down.size), float(across.size)


def colour_bar(place: Any, image: Any, words: str = "") -> None:
    """Draw a slender colour bar at the right of an image.

    Parameters
    ----------
    place, image : Axes, AxesImage
        Of matplotlib.
    words : str, optional
        What the colours mean.
    """
    bar = place.figure.colorbar(image, cax=place.inset_axes((1.025, 0, 0.03, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.set_label(figure_text(words), fontsize=9)
