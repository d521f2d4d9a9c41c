"""Overview page: the panels of a preview, arranged with title and metadata in one figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mrcdist.formatting import figure_text
from mrcdist.plotting import colour_bar, draw_image, extents, image_limits, log_limits, new_figure
from mrcdist.preview.panels import Panel
from mrcdist.printable import printable

_TEXT_COLOUR, _MARK_COLOUR = "#333333", "#ff3864"
_RING_COLOURS = ("#4cc9f0", "#5ce08a")  # bright field, dark field
_TEXT_WIDTH, _TITLE_HEIGHT, _BAR_WIDTH = 3.7, 0.32, 0.95  # inches
# Inches: height of a row whose colour bars have the longest labels.
_LABEL_LENGTH = 2.7
_CHARACTERS, _LABEL_CHARACTERS = 50, 18  # per line of text, and for its label

# Minimum thickness of a plane as a fraction of the others, whatever its calibration.
_MIN_THICKNESS = 0.12


def draw_overview(
    panels: Sequence[Panel], *, title: str, lines: Sequence[tuple[str, str]], planes: bool
) -> Any:
    """Return a matplotlib figure of the panels, with the title and labelled lines at the right.

    With `planes`, the panels are the three planes of a volume and share edges.
    """
    # In a montage, each image has its own grey levels, and colour bars would take too much space.
    with_bars = len(panels) <= 4 and panels[0].contrast != "rgb"
    grid = _cross(panels) if planes else _grid(panels, with_bars=with_bars)
    text = _wrap_lines(lines)
    width = grid.width + 0.6
    figure = new_figure(width + _TEXT_WIDTH, max(grid.height, 0.7 + 0.165 * len(text)))
    left, right = figure.subfigures(1, 2, width_ratios=(width, _TEXT_WIDTH))
    _write(right, title, text)
    images = [panel.image for panel in panels]
    limits = None
    if planes:
        limits = log_limits(*images) if panels[0].contrast == "log" else None
        limits = limits or image_limits(*images)
    _draw_panels(left, panels, grid, limits)
    return figure


def draw_panels(panels: Sequence[Panel]) -> Any:
    """Return a matplotlib figure of the panels, each with a colour bar."""
    grid = _grid(panels, with_bars=True)
    figure = new_figure(grid.width, grid.height)
    _draw_panels(figure, panels, grid)
    # The first layout cuts off labels of colour bars: it measures them before images are resized.
    figure.get_layout_engine().execute(figure)
    return figure


def _draw_panels(
    figure: Any, panels: Sequence[Panel], grid: _Grid, limits: tuple[float, float] | None = None
) -> None:
    all_axes = figure.subplot_mosaic(grid.cells, **grid.ratios)
    for number, panel in enumerate(panels):
        axes = all_axes[number]
        image = _draw_panel(axes, panel, fontsize=grid.fontsize, limits=limits)
        if grid.ratios:
            label = {"fontsize": 8, "color": _TEXT_COLOUR, "labelpad": 2}
            axes.set_xlabel(figure_text(panel.across.name), **label)
            axes.set_ylabel(figure_text(panel.down.name), **label)
        if number in grid.bars:
            colour_bar(axes, image, panel.quantity)


def _draw_panel(
    axes: Any, panel: Panel, *, fontsize: float, limits: tuple[float, float] | None = None
) -> Any:
    from matplotlib.patches import Circle

    options: dict[str, Any] = {"title": panel.title, "contrast": panel.contrast, "limits": limits}
    image = draw_image(axes, panel.image, panel.down, panel.across, **options, fontsize=fontsize)
    if panel.cuts is not None:
        style: dict[str, Any] = {"color": _MARK_COLOUR, "lw": 0.7, "alpha": 0.6, "ls": (0, (6, 4))}
        axes.axhline(panel.cuts[0], **style)
        axes.axvline(panel.cuts[1], **style)
    for ring, colour in zip(panel.rings, _RING_COLOURS, strict=False):
        for radius in filter(None, (ring.inner, ring.outer)):
            style = {"fill": False, "color": colour, "lw": 1.0, "ls": (0, (4, 3))}
            axes.add_patch(Circle((ring.cx, ring.cy), radius, **style))
    if panel.point is not None:
        y, x = panel.point
        axes.plot(x, y, "o", ms=8, mfc="none", mec=_MARK_COLOUR, mew=1.5)
    return image


def _write(figure: Any, title: str, lines: Sequence[str]) -> None:
    heading = textwrap.wrap(printable(title), 34, break_on_hyphens=False)
    below = 0.975 - 0.26 * len(heading) / figure.figure.get_figheight()
    bold = {"fontsize": 11, "weight": "bold"}
    monospace = {"fontsize": 7.5, "family": "monospace"}
    for y, block, style in ((0.975, heading, bold), (below, lines, monospace)):
        text = "\n".join(map(figure_text, block))
        figure.text(0.01, y, text, va="top", color=_TEXT_COLOUR, **style)


def _wrap_lines(lines: Sequence[tuple[str, str]]) -> list[str]:
    """Return lines of text with their labels in a column of its own."""
    wrapped = []
    for label, text in lines:
        label = printable(label)[: _LABEL_CHARACTERS - 1]
        for part in textwrap.wrap(printable(text), _CHARACTERS - _LABEL_CHARACTERS) or [""]:
            wrapped.append(f"{label:<{_LABEL_CHARACTERS}}{part}")
            label = ""
    return wrapped


@dataclass(frozen=True)
class _Grid:
    """Arrangement of panels, by number; size in inches, and font size of titles in points.

    Panels with `bars` have colour bars. Planes with other `ratios` of their sides have axis labels.
    """

    cells: list[list[Any]]
    width: float
    height: float
    bars: range
    fontsize: int = 8
    ratios: Mapping[str, Sequence[float]] = field(default_factory=dict)


def _grid(panels: Sequence[Panel], *, with_bars: bool) -> _Grid:
    """Arrange up to three panels in one row, more about as wide as high."""
    count = len(panels)
    aspects = [height / width for height, width in (extents(p.down, p.across) for p in panels)]
    columns = count
    if count > 3 or aspects[0] <= 0.6:
        columns = min(range(1, count + 1), key=lambda n: (abs(-(-count // n) * aspects[0] - n), n))
    numbers = [*range(count), *["."] * (-count % columns)]
    cells = [numbers[i : i + columns] for i in range(0, count, columns)]
    panel_width = {1: 7.0, 2: 4.3, 3: 3.6}.get(columns, 2.9)
    width = columns * (panel_width + (_BAR_WIDTH if with_bars else 0.1))
    # The bounds leave space for title, scale bar and label, and fit on a screen.
    lowest = _LABEL_LENGTH if with_bars else 0.25 * panel_width
    panel_height = min(max(lowest, panel_width * max(aspects)), 2 * panel_width)
    height = len(cells) * (panel_height + _TITLE_HEIGHT)
    bars = range(count if with_bars else 0)
    return _Grid(cells, width, height, bars, fontsize=9 if columns < 3 else 8)


def _cross(panels: Sequence[Panel]) -> _Grid:
    """Arrange a section with the other planes of the volume below it and to its right."""
    section, _, along_column = panels
    down, across = extents(section.down, section.across)
    _, depth = extents(along_column.down, along_column.across)
    thickness = max(depth, _MIN_THICKNESS * max(across, down))
    scale = 8.0 / (max(across, down) + thickness)
    width, height = (scale * (side + thickness) for side in (across, down))
    ratios = {"width_ratios": (across, thickness), "height_ratios": (down, thickness)}
    return _Grid([[0, 2], [1, "."]], width, height, bars=range(2, 3), ratios=ratios)
