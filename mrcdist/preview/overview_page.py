"""Overview page: the panels of a preview, arranged with title and metadata in one figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from mrcdist.formatting import figure_text
from mrcdist.plotting import colour_bar, draw_image, extents, image_limits, log_limits, new_figure
from mrcdist.preview.panels import Panel
from mrcdist.printable import printable

_TEXT_COLOUR, _MARK_COLOUR = "#333333", "#ff3864"
_RING_COLOURS = ("#4cc9f0", "#5ce08a")  # bright field, dark field
_TEXT_WIDTH, _TITLE_HEIGHT, _BAR_WIDTH = 3.7, 0.32, 0.95  # inches
_CHARACTERS, _LABEL_CHARACTERS = 50, 18  # per line of text, and for its label

# Minimum thickness of a plane as a fraction of the others, whatever its calibration.
_MIN_THICKNESS = 0.12


def draw_overview(
    panels: Sequence[Panel], *, title: str, lines: Sequence[tuple[str, str]], planes: bool
) -> Any:
    """Return a matplotlib figure of the panels, with the title and labelled lines at the right.

    With `planes`, the panels are the three planes of a volume and share edges.
    """
    rows, columns = (2, 2) if planes else _arrange(len(panels), _aspect(panels[0]))
    # In a montage, each image has its own grey levels, and colour bars would take too much space.
    with_bars = len(panels) <= 4 and panels[0].contrast != "rgb"
    if planes:
        sides = _cross_size(panels)
        width, height = (8.0 * side / max(sides) for side in sides)
    else:
        panel_width = {1: 7.0, 2: 4.3, 3: 3.6}.get(columns, 2.9)
        aspect = max(min(_aspect(panel), 2.0) for panel in panels)
        width = columns * (panel_width + (_BAR_WIDTH if with_bars else 0.1))
        height = rows * (panel_width * aspect + _TITLE_HEIGHT)
    text = _wrap_lines(lines)
    figure = new_figure(width + _TEXT_WIDTH + 0.6, max(height, 0.7 + 0.165 * len(text)))
    left, right = figure.subfigures(1, 2, width_ratios=(width + 0.6, _TEXT_WIDTH))
    _write(right, title, text)
    if planes:
        _draw_planes(left, panels)
        return figure
    all_axes = left.subplots(rows, columns, squeeze=False).ravel()
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(all_axes, panels, strict=False):
        image = _draw_panel(axes, panel, fontsize=9 if columns < 3 else 8)
        if with_bars:
            colour_bar(axes, image, panel.quantity)
    return figure


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


def _draw_planes(figure: Any, panels: Sequence[Panel]) -> None:
    section, along_row, along_column = panels
    width, height = _cross_size(panels)
    down, across = extents(section.down, section.across)
    grid = figure.add_gridspec(
        2, 2, width_ratios=(across, width - across), height_ratios=(down, height - down)
    )
    images = [panel.image for panel in panels]
    limits = log_limits(*images) if section.contrast == "log" else None
    limits = limits or image_limits(*images)
    for panel, cell in ((section, (0, 0)), (along_row, (1, 0)), (along_column, (0, 1))):
        axes = figure.add_subplot(grid[cell])
        image = _draw_panel(axes, panel, fontsize=8, limits=limits)
        label = {"fontsize": 8, "color": _TEXT_COLOUR, "labelpad": 2}
        axes.set_xlabel(figure_text(panel.across.name), **label)
        axes.set_ylabel(figure_text(panel.down.name), **label)
    colour_bar(axes, image, panel.quantity)


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


def _arrange(count: int, aspect: float) -> tuple[int, int]:
    """Return rows and columns: one row for up to three panels, else about as wide as high."""
    if count <= 3 and aspect > 0.6:
        return 1, count
    columns = min(range(1, count + 1), key=lambda n: (abs(-(-count // n) * aspect - n), n))
    return -(-count // columns), columns


def _aspect(panel: Panel) -> float:
    """Return height ÷ width."""
    height, width = extents(panel.down, panel.across)
    return height / width


def _cross_size(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return width and height of a section with the other planes to its right and below it."""
    section, _, along_column = panels
    down, across = extents(section.down, section.across)
    _, depth = extents(along_column.down, along_column.across)
    thickness = max(depth, _MIN_THICKNESS * max(across, down))
    return across + thickness, down + thickness
