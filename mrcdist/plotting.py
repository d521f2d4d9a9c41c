"""Drawing of images, the same in every figure: contrast, colours, pixel shape, scale bar, text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mrcdist.extras import import_optional, install_command
from mrcdist.format.axis import Axis, frames_are_patterns
from mrcdist.formatting import figure_text, format_unit
from mrcdist.plan.navigation_shape import guess_scan

Array = npt.NDArray[Any]

Contrast = Literal["linear", "log", "phase", "signed", "rgb"]
"""Linear grey levels; logarithmic, for patterns; phases; values of both signs; RGB colours."""

_PERCENTILES = (0.5, 99.5)

# A little over three decades: both the direct beam and the faintest disk are visible.
_DYNAMIC_RANGE = 2000.0

# Excludes single pixels that are far brighter than all others: defects, or the centre of the beam.
_HIGH_PERCENTILE = 99.98

# Direct beams are hundreds of times as bright as the median of a pattern, bright features of images
# at most ten times as bright. Negative values up to a hundredth of the maximum count as noise.
_BEAM_CONTRAST = 20.0
_NEGATIVE_NOISE = 0.01

# Blocks of pixels whose means are compared: their maximum number along an axis, their minimum side
# in pixels, and the number of counts per block that is added to the median of their means.
_MAX_BLOCKS = 32
_MIN_SIDE = 3
_MIN_COUNTS = 3

# Colour map, and the colour of missing values (NaN).
_COLOURS = {
    "linear": ("gray", "#c9d4e5"),
    "log": ("magma", "#c9d4e5"),
    "phase": ("twilight", "#c9d4e5"),
    "signed": ("RdBu_r", "#999999"),
}

_MAX_PIXELS = 1024  # along an axis, about as many as a screen has
_MAX_BAR = 0.3  # of the width of the image
_DPI = 150
_TEXT_COLOUR = "#333333"


def require_matplotlib() -> None:
    """Raise `MissingExtraError` unless matplotlib is installed."""
    import_optional("matplotlib", "images are drawn with it", install_command("plot"))


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure, sized in inches, to be saved rather than shown."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    return figure


def draw_image(
    axes: Any,
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
    """Draw an image with title and scale bar in matplotlib axes, and return its AxesImage.

    The image, of shape (rows, columns) or (rows, columns, 3), covers the calibrated axes `down` and
    `across` with any number of pixels. `limits` are the minimum and maximum of the colour scale, by
    default those of `colour_norm`. The extent is left, right, bottom and top in pixels of the axes;
    by default, the centre of the first pixel is at 0, 0.
    """
    if contrast == "phase":  # neighbouring phases cannot be averaged
        image = image[tuple(slice(None, None, -(-size // _MAX_PIXELS)) for size in image.shape)]
    else:
        image = downsample(image)
    options: dict[str, Any] = {}
    if contrast != "rgb":
        from matplotlib import colormaps

        image = image.astype(np.float64)
        name, missing = _COLOURS[contrast]
        options["cmap"] = colormaps[name].with_extremes(bad=missing)
        options["norm"] = colour_norm(image, contrast, limits)
    height, width = extents(down, across)
    drawn = axes.imshow(
        image,
        extent=extent or (-0.5, across.size - 0.5, down.size - 0.5, -0.5),
        aspect=(height / down.size) / (width / across.size),
        # A few pixels are shown as squares; many are averaged rather than sampled.
        interpolation="nearest" if max(image.shape[:2]) <= 256 else "antialiased",
        **options,
    )
    axes.set_title(figure_text(title), fontsize=fontsize, color=_TEXT_COLOUR, pad=4)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#999999", linewidth=0.6)
    _draw_scale_bar(axes, across)
    return drawn


def downsample(image: Array, max_pixels: int = _MAX_PIXELS) -> Array:
    """Average neighbouring pixels so that an image has at most `max_pixels` along each axis.

    A small image, (rows, columns) or (rows, columns, 3), is returned unchanged, others as float64;
    uint8 remains uint8.
    """
    sides = [-(-size // max_pixels) for size in image.shape[:2]]
    if max(sides) <= 1:
        return image
    means = _block_means(image, sides)
    return means.astype(np.uint8) if image.dtype == np.uint8 else means


def extents(down: Axis, across: Axis) -> tuple[float, float]:
    """Return height and width of an image, in units of the axes, or in pixels if these differ."""
    if down.units and down.units == across.units:
        height, width = (
            axis.size * abs(axis.scale) * (axis.values is None) for axis in (down, across)
        )
        if height and width:
            return height, width
    return float(down.size), float(across.size)


def colour_bar(axes: Any, image: Any, label: str = "") -> None:
    """Draw a narrow, labelled colour bar at the right of an image."""
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.025, 0, 0.03, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.set_label(figure_text(label), fontsize=9)


def _draw_scale_bar(axes: Any, axis: Axis) -> None:
    """Draw a scale bar in the lower left corner; in pixels if the axis is not calibrated evenly."""
    from matplotlib.lines import Line2D
    from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker

    units = axis.units if axis.values is None and axis.scale else None
    scale = abs(axis.scale) if units else 1.0
    length = round_length(_MAX_BAR * axis.size * scale)
    if not units:
        length = max(round(length), 1)
    # The length is in data coordinates, everything else in points: the same in all panels.
    bar = AuxTransformBox(axes.transData)
    line = Line2D((0, length / scale), (0, 0), color="white", lw=3, solid_capstyle="butt")
    bar.add_artist(line)
    label = f"{length:g} {format_unit(units) if units else 'px'}"
    text = TextArea(figure_text(label), textprops={"color": "white", "fontsize": 9})
    box = AnchoredOffsetbox(
        loc="lower left",
        child=VPacker(children=[text, bar], align="center", pad=0, sep=3),
        pad=0.35,
        borderpad=0.6,
        frameon=True,
    )
    box.patch.set(facecolor="black", alpha=0.55, linewidth=0)
    box.set_in_layout(False)
    axes.add_artist(box)


def round_length(maximum: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is at most `maximum`."""
    power = 10.0 ** math.floor(math.log10(maximum))
    # 0.5 in case the logarithm was rounded up to an integer.
    return max(step * power for step in (0.5, 1, 2, 5) if step * power <= maximum)


def frame_contrast(axes: Sequence[Axis], image: Array) -> Contrast:
    """Return the contrast for a frame or a mean of frames: logarithmic for diffraction patterns.

    Frames are patterns if the axes of the whole array say so, if they belong to a scan, or to a
    stack long enough to be one. Frames of other stacks are patterns if they have no pixel size and
    some blocks of pixels are far brighter than most. Images of a sample, such as those of a
    tomogram or a tilt series, may be negative, and have no blocks that bright.
    """
    if frames_are_patterns(axes):
        return "log"
    signal = [axis for axis in axes if not axis.navigate]
    if len(signal) == len(axes) or not image.size:
        return "linear"
    values = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
    values = np.minimum(values, np.percentile(values, _HIGH_PERCENTILE, method="lower"))
    sides = [max(_MIN_SIDE, -(-size // _MAX_BLOCKS)) for size in values.shape]
    means = _block_means(values, sides)
    if -means.min() > _NEGATIVE_NOISE * means.max():
        return "linear"
    if guess_scan(axes) is not None:
        return "log"
    positive = image[image > 0]
    # Programs that do not know the pixel size write 1 Å.
    calibrated = any(axis.units and not math.isclose(axis.scale, 0.1) for axis in signal)
    if calibrated or not positive.size:
        return "linear"
    floor = _MIN_COUNTS * float(positive.min()) / math.prod(sides)
    bright = means.max() > _BEAM_CONTRAST * (float(np.median(means)) + floor)
    return "log" if bright else "linear"


def _block_means(image: Array, sides: Sequence[int]) -> Array:
    """Return float64 means of blocks of pixels with these sides, along the first axes of an image.

    Blocks at the end of an axis may be smaller.
    """
    for axis, side in enumerate(sides):
        if side == 1:
            continue
        starts = np.arange(0, image.shape[axis], side)
        sizes = np.diff([*starts, image.shape[axis]])
        along = (-1, *[1] * (image.ndim - axis - 1))
        image = np.add.reduceat(image, starts, axis, dtype=np.float64) / sizes.reshape(along)
    return image


def colour_norm(image: Array, contrast: Contrast, limits: tuple[float, float] | None = None) -> Any:
    """Return matplotlib's norm for an image; by default with limits chosen from its values."""
    from matplotlib.colors import LogNorm, Normalize

    if contrast == "log" and (log := limits or log_limits(image)) and log[0] > 0:
        return LogNorm(*log, clip=True)
    if limits is None:
        choices = {"phase": lambda _: (-np.pi, np.pi), "signed": symmetric_limits}
        limits = choices.get(contrast, image_limits)(image)
    return Normalize(*limits)


def image_limits(*images: Array) -> tuple[float, float]:
    """Return limits of grey levels that suit one or more similar images, always low < high.

    These are the percentiles 0.5 and 99.5 of the finite values.
    """
    values = np.concatenate([_finite(image) for image in images])
    if not values.size:
        return 0.0, 1.0
    low, high = map(float, np.percentile(values, _PERCENTILES))
    if low < high:
        return low, high
    low, high = float(values.min()), float(values.max())
    # A constant image becomes medium grey; the width must exceed the precision of its value.
    width = max(abs(low), 1.0) * 1e-3
    return (low, high) if low < high else (low - width, high + width)


def log_limits(*patterns: Array) -> tuple[float, float] | None:
    """Return limits of a logarithmic scale that suits one or more similar diffraction patterns.

    They are positive, with low < high ≤ 2000 × low; low is below the faintest positive values
    unless these are out of range. None if there are too few positive values, or all are equal.
    """
    values = np.concatenate([_finite(pattern) for pattern in patterns])
    positive = values[values > 0]
    if positive.size < max(values.size // 1000, 2) or positive.min() == positive.max():
        return None
    high = float(np.percentile(positive, _HIGH_PERCENTILE))
    if not np.isfinite(high):
        return None
    # Half of the faintest value, so that single electrons of a counting detector differ from 0.
    low = max(float(np.percentile(positive, 1)) / 2, high / _DYNAMIC_RANGE)
    return (low, high) if 0 < low < high else None


def symmetric_limits(image: Array) -> tuple[float, float]:
    """Return limits symmetric about 0 that exclude the largest hundredth of the magnitudes."""
    magnitudes = np.abs(_finite(image))
    limit = float(np.percentile(magnitudes, 99) or magnitudes.max()) if magnitudes.size else 0.0
    return (-limit, limit) if limit else (-1.0, 1.0)


def _finite(image: Array) -> Array:
    values = np.asarray(image).ravel()
    # In float16 and small integers, differences of percentiles would overflow.
    finite: Array = values[np.isfinite(values)].astype(np.float64)
    return finite
