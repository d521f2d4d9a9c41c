"""Drawing of images, the same in every figure: contrast, colours, pixel shape, scale bar, text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mrcdist.errors import MissingExtraError
from mrcdist.extras import install_command
from mrcdist.format.axis import Axis, frames_are_patterns
from mrcdist.formatting import figure_text, format_unit
from mrcdist.plan.navigation_shape import guess_scan

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

# Colour map, and the colour of values that are missing (NaN).
_COLOURS = {
    "linear": ("gray", "#c9d4e5"),
    "log": ("magma", "#c9d4e5"),
    "phase": ("twilight", "#c9d4e5"),
    "signed": ("RdBu_r", "#999999"),
}

# As many pixels along an axis as a screen has.
_MAX_PIXELS = 1024

# Of the width of the image.
_LONGEST_BAR = 0.3

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
    """Draw an image with its title and a scale bar, in axes of matplotlib; return its AxesImage.

    The image, of shape (rows, columns) or (rows, columns, 3), fills `down` times `across`, which
    have sizes in pixels and the calibration, however many pixels it has itself. Limits are the
    darkest and the brightest value, by default those of `colour_norm`. The extent is left, right,
    bottom and top in pixels; by default the first pixel's centre is at 0, 0.
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
    _scale_bar(place, across)
    return drawn


def _thinned(image: Array) -> Array:
    """Leave out rows and columns: the mean of neighbouring phases means nothing."""
    down, across = (-(-size // _MAX_PIXELS) for size in image.shape)
    return image[::down, ::across]


def reduced(image: Array, most: int = _MAX_PIXELS) -> Array:
    """Average neighbours until an image, (rows, columns) or (rows, columns, 3), has `most` a side.

    The image itself where it is small enough, else float64 means; uint8 remains uint8.
    """
    sides = [-(-size // most) for size in image.shape[:2]]
    if max(sides) <= 1:
        return image
    means = _block_means(image, sides)
    return means.astype(np.uint8) if image.dtype == np.uint8 else means


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
    """Draw a slender colour bar at the right of an image: what the colours mean, in words."""
    bar = place.figure.colorbar(image, cax=place.inset_axes((1.025, 0, 0.03, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.set_label(figure_text(words), fontsize=9)


def _scale_bar(place: Any, axis: Axis) -> None:
    """Draw a scale bar into the lower left corner of axes that count pixels horizontally.

    The bar is in pixels where the image's horizontal `axis` has no units or uneven steps.
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


def frame_contrast(axes: Sequence[Axis], image: Array) -> Contrast:
    """Return the contrast of a frame, or of the mean of frames: logarithmic if it is a pattern.

    Frames are diffraction patterns by the axes of the whole array, as those of a scan, or as those
    of a stack so long that it may be a scan. So are those of a stack without a pixel size, if some
    places are far brighter than most. Images of a sample, as of a tomogram or a tilt series, may be
    negative, and are not that bright anywhere.
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
    sides = [max(_MIN_SIDE, -(-size // _MAX_PLACES)) for size in values.shape]
    return _block_means(values, sides), float(np.prod(sides))


def _block_means(image: Array, sides: Sequence[int]) -> Array:
    """Return the float64 means of blocks with these sides along the first axes of an image."""
    for axis, side in enumerate(sides):
        if side == 1:
            continue
        starts = np.arange(0, image.shape[axis], side)
        sizes = np.diff([*starts, image.shape[axis]])
        along = (-1, *[1] * (image.ndim - axis - 1))
        image = np.add.reduceat(image, starts, axis, dtype=np.float64) / sizes.reshape(along)
    return image


def colour_norm(image: Array, contrast: Contrast, limits: tuple[float, float] | None = None) -> Any:
    """Return matplotlib's norm for an image: linear or logarithmic, between limits that suit it."""
    from matplotlib.colors import LogNorm, Normalize

    if contrast == "log" and (found := limits or log_limits(image)) and found[0] > 0:
        return LogNorm(*found, clip=True)
    if limits is None:
        by = {"phase": lambda _: (-np.pi, np.pi), "signed": symmetric_limits}
        limits = by.get(contrast, image_limits)(image)
    return Normalize(*limits)


def image_limits(*images: Array) -> tuple[float, float]:
    """Return the grey levels between which an image, or several alike, are best seen.

    These are percentiles 0.5 and 99.5 of what is finite, with ``low < high`` always.
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

    They are positive, low below high and at most 2000 times apart; low is below the faintest
    positive value or that limit. None where too little is positive, or all that is has one value.
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
