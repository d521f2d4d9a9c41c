"""Panels and words → one picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from mrcdist.compute.detectors import Ring
from mrcdist.errors import MissingExtraError
from mrcdist.format.axis import Axis
from mrcdist.preview.contrast import image_limits, log_limits
from mrcdist.preview.drawing import colour_bar, scale_bar
from mrcdist.preview.panels import Panel

__all__ = ["draw", "require_matplotlib"]

_INK, _MARK = "#333333", "#ff3864"
_BRIGHT, _DARK = "#4cc9f0", "#5ce08a"
_MISSING = "#c9d4e5"
_TEXT_WIDTH, _TITLE_HEIGHT, _BAR_WIDTH = 3.7, 0.32, 0.95  # inches
_CHARACTERS = 50
_LABEL_WIDTH = 18

# A plane is never drawn thinner than this share of the picture, whatever its calibration says.
_LEAST_SHARE = 0.12


def require_matplotlib() -> None:
    """Raise `MissingExtraError` unless there is something to draw with."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "matplotlib is not installed here",
            code="package-missing",
            cause="pictures are drawn with it",
            remedy='pip install "mrcdist[plot]"',
        ) from None


def draw(
    path: Path | IO[bytes],
    panels: Sequence[Panel],
    *,
    title: str,
    lines: Sequence[tuple[str, str]],
    planes: bool,
) -> None:
    """Draw panels with words beside them, and save them as PNG.

    Parameters
    ----------
    path : Path or binary stream
        Replaced if it is there.
    panels : sequence of Panel
    title : str
        Above all.
    lines : sequence of (str, str)
        Labels and words at the side.
    planes : bool
        The panels are the three planes of a volume, and share their edges.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = (2, 2) if planes else _grid(len(panels), _aspect(panels[0]))
    # Of a montage every tile has its own greys, and a bar beside each would be all one sees.
    with_bars = len(panels) <= 4 and panels[0].contrast != "rgb"
    if planes:
        cube = _cube(panels)
        width, height = (8.0 * side / max(cube) for side in cube)
    else:
        tile = {1: 7.0, 2: 4.3, 3: 3.6}.get(columns, 2.9)
        aspect = max(min(_aspect(panel), 2.0) for panel in panels)
        width = columns * (tile + (_BAR_WIDTH if with_bars else 0.1))
        height = rows * (tile * aspect + _TITLE_HEIGHT)
    text_height = 0.7 + 0.165 * sum(len(wrapped) for _, wrapped in _wrapped(lines))
    figure: Any = Figure(
        figsize=(width + _TEXT_WIDTH + 0.6, max(height, text_height)), dpi=150, facecolor="white"
    )
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    left, right = figure.subfigures(1, 2, width_ratios=(width + 0.6, _TEXT_WIDTH))
    _write(right, title, lines)
    if planes:
        _draw_planes(left, panels)
    else:
        axes = left.subplots(rows, columns, squeeze=False).ravel()
        for place in axes[len(panels) :]:
            place.set_axis_off()
        for place, panel in zip(axes, panels, strict=False):
            image = _draw_panel(place, panel, size=9 if columns < 3 else 8)
            if with_bars:
                colour_bar(left, place, image, panel.numbers)
    figure.savefig(path, format="png")


def _draw_panel(
    place: Any, panel: Panel, *, size: int, limits: tuple[float, float] | None = None
) -> Any:
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    options: dict[str, Any] = {}
    if panel.contrast == "phase":
        options = {"cmap": "twilight", "vmin": -np.pi, "vmax": np.pi}
    elif panel.contrast != "rgb":
        logarithmic = log_limits(panel.image) if panel.contrast == "log" else None
        if logarithmic is not None:
            options = {"cmap": "magma", "norm": LogNorm(*logarithmic, clip=True)}
        else:
            low, high = limits or image_limits(panel.image)
            cmap = colormaps["magma" if panel.contrast == "log" else "gray"].with_extremes(
                bad=_MISSING
            )
            options = {"cmap": cmap, "vmin": low, "vmax": high}
    image = place.imshow(
        panel.image,
        extent=(0, panel.across.size, panel.down.size, 0),
        aspect=_step(panel.down, panel.across) / _step(panel.across, panel.down),
        # Few pixels are shown as what they are; many are averaged rather than picked.
        interpolation="nearest" if max(panel.image.shape[:2]) <= 256 else "antialiased",
        **options,
    )
    place.set_title(panel.title, fontsize=size, color=_INK, pad=4)
    place.set(xticks=[], yticks=[])
    for spine in place.spines.values():
        spine.set(color="#999999", linewidth=0.6)
    scale_bar(place, pixels=panel.across.size, scale=panel.across.scale, units=panel.across.units)
    if panel.cuts is not None:
        line = {"color": _MARK, "lw": 0.7, "alpha": 0.6, "ls": (0, (6, 4))}
        place.axhline(panel.cuts[0], **line)
        place.axvline(panel.cuts[1], **line)
    for ring, colour in zip(panel.rings, (_BRIGHT, _DARK), strict=False):
        _draw_ring(place, ring, colour)
    if panel.point is not None:
        place.plot(panel.point[1], panel.point[0], "o", ms=8, mfc="none", mec=_MARK, mew=1.5)
    return image


def _draw_ring(place: Any, ring: Ring, colour: str) -> None:
    from matplotlib.patches import Circle

    for radius in filter(None, (ring.inner, ring.outer)):
        middle = (ring.cx + 0.5, ring.cy + 0.5)  # pixels are counted from their edges here
        line = {"fill": False, "color": colour, "lw": 1.0, "ls": (0, (4, 3))}
        place.add_patch(Circle(middle, radius, **line))


def _draw_planes(figure: Any, panels: Sequence[Panel]) -> None:
    section, along_row, along_column = panels
    width, height = _cube(panels)
    side = _length(section.across, section.down), _length(section.down, section.across)
    grid = figure.add_gridspec(
        2,
        2,
        width_ratios=(side[0], width - side[0]),
        height_ratios=(side[1], height - side[1]),
    )
    limits = image_limits(*(panel.image for panel in panels))
    for panel, where in ((section, (0, 0)), (along_row, (1, 0)), (along_column, (0, 1))):
        place = figure.add_subplot(grid[where])
        image = _draw_panel(place, panel, size=8, limits=limits)
        place.set_xlabel(panel.across.name, fontsize=8, color=_INK, labelpad=2)
        place.set_ylabel(panel.down.name, fontsize=8, color=_INK, labelpad=2)
    colour_bar(figure, place, image, panel.numbers)


def _write(figure: Any, title: str, lines: Sequence[tuple[str, str]]) -> None:
    name = "\n".join(textwrap.wrap(title, 34, break_on_hyphens=False))
    words = "\n".join(
        f"{label if i == 0 else '':<{_LABEL_WIDTH}}{line}"
        for label, wrapped in _wrapped(lines)
        for i, line in enumerate(wrapped)
    )
    figure.text(0.01, 0.975, name, va="top", fontsize=11, weight="bold", color=_INK)
    below = 0.975 - 0.26 * (1 + name.count("\n")) / figure.figure.get_figheight()
    figure.text(0.01, below, words, va="top", fontsize=7.5, family="monospace", color=_INK)


def _wrapped(lines: Sequence[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    return [
        (label[: _LABEL_WIDTH - 1], textwrap.wrap(words, _CHARACTERS - _LABEL_WIDTH) or [""])
        for label, words in lines
    ]


def _grid(count: int, aspect: float) -> tuple[int, int]:
    """Rows and columns: in a row if they are few and not flat, else about as wide as high."""
    if count <= 3 and aspect > 0.6:
        return 1, count
    columns = min(range(1, count + 1), key=lambda n: (abs(-(-count // n) * aspect - n), n))
    return -(-count // columns), columns


def _aspect(panel: Panel) -> float:
    """Height by width."""
    return _length(panel.down, panel.across) / _length(panel.across, panel.down)


def _length(axis: Axis, other: Axis) -> float:
    return axis.size * _step(axis, other)


def _step(axis: Axis, other: Axis) -> float:
    """A pixel's length beside that of another axis: 1 where the two cannot be compared."""
    return abs(axis.scale) if axis.units and axis.units == other.units and axis.scale else 1.0


def _cube(panels: Sequence[Panel]) -> tuple[float, float]:
    """Width and height of three planes side by side, each plane's least share included."""
    section, _, along_column = panels
    across, down = _length(section.across, section.down), _length(section.down, section.across)
    depth = along_column.across
    thick = depth.size * _step(depth, section.down)
    thick = max(thick, _LEAST_SHARE * max(across, down))
    return across + thick, down + thick
