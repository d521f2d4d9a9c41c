"""Panels, and what header, extended header and sidecar say in a few lines → one picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from dask.utils import format_bytes

from mrcdist.format.axis import Axis
from mrcdist.format.byte_order import ORDER_NAMES
from mrcdist.formatting import (
    figure_text,
    format_list,
    format_number,
    format_range,
    format_shape,
    format_unit,
)
from mrcdist.interop.rosettasciio import plan_metadata
from mrcdist.plotting import colour_bar, draw_image, extents, image_limits, log_limits, new_figure
from mrcdist.preview.panels import Panel
from mrcdist.printable import printable
from mrcdist.read_plan import Plan
from mrcdist.write.contents import metadata_items

_INK, _MARK = "#333333", "#ff3864"
_BRIGHT, _DARK = "#4cc9f0", "#5ce08a"
_TEXT_WIDTH, _TITLE_HEIGHT, _BAR_WIDTH = 3.7, 0.32, 0.95  # inches
_CHARACTERS = 50
_LABEL_WIDTH = 18

# A plane is never drawn thinner than this share of the picture, whatever its calibration says.
_LEAST_SHARE = 0.12

_MAX_METADATA = 18

# As HyperSpy's metadata have them.
_UNITS = {
    "beam energy": "keV",
    "camera length": "mm",
    "convergence angle": "mrad",
    "defocus": "nm",
    "dwell time": "s",
    "stage x": "mm",
    "stage y": "mm",
    "stage z": "mm",
    "tilt alpha": "deg",
    "tilt beta": "deg",
}
# Names that say little without that of what they belong to.
_SHORT = ("name", "x", "y", "z")


def preview_figure(
    panels: Sequence[Panel], *, title: str, lines: Sequence[tuple[str, str]], planes: bool
) -> Any:
    """Draw panels in a figure of matplotlib's, with title, labels and words beside them.

    Where `planes` is True, the panels are the three planes of a volume and share their edges.
    """
    lines = [(printable(label), printable(words)) for label, words in lines]
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
    figure = new_figure(width + _TEXT_WIDTH + 0.6, max(height, text_height))
    left, right = figure.subfigures(1, 2, width_ratios=(width + 0.6, _TEXT_WIDTH))
    _write(right, title, lines)
    if planes:
        _draw_planes(left, panels)
    else:
        axes = left.subplots(rows, columns, squeeze=False).ravel()
        for place in axes[len(panels) :]:
            place.set_axis_off()
        for place, panel in zip(axes, panels, strict=False):
            image = _draw_panel(place, panel, fontsize=9 if columns < 3 else 8)
            if with_bars:
                colour_bar(place, image, panel.numbers)
    return figure


def _draw_panel(
    place: Any, panel: Panel, *, fontsize: float, limits: tuple[float, float] | None = None
) -> Any:
    from matplotlib.patches import Circle

    how: dict[str, Any] = {"title": panel.title, "contrast": panel.contrast, "limits": limits}
    image = draw_image(place, panel.image, panel.down, panel.across, **how, fontsize=fontsize)
    if panel.cuts is not None:
        line = {"color": _MARK, "lw": 0.7, "alpha": 0.6, "ls": (0, (6, 4))}
        place.axhline(panel.cuts[0], **line)
        place.axvline(panel.cuts[1], **line)
    for ring, colour in zip(panel.rings, (_BRIGHT, _DARK), strict=False):
        for radius in filter(None, (ring.inner, ring.outer)):
            line = {"fill": False, "color": colour, "lw": 1.0, "ls": (0, (4, 3))}
            place.add_patch(Circle((ring.cx, ring.cy), radius, **line))
    if panel.point is not None:
        place.plot(panel.point[1], panel.point[0], "o", ms=8, mfc="none", mec=_MARK, mew=1.5)
    return image


def _draw_planes(figure: Any, panels: Sequence[Panel]) -> None:
    section, along_row, along_column = panels
    width, height = _cube(panels)
    down, across = extents(section.down, section.across)
    grid = figure.add_gridspec(
        2, 2, width_ratios=(across, width - across), height_ratios=(down, height - down)
    )
    images = [panel.image for panel in panels]
    limits = log_limits(*images) if section.contrast == "log" else None
    limits = limits or image_limits(*images)
    for panel, where in ((section, (0, 0)), (along_row, (1, 0)), (along_column, (0, 1))):
        place = figure.add_subplot(grid[where])
        image = _draw_panel(place, panel, fontsize=8, limits=limits)
        place.set_xlabel(figure_text(panel.across.name), fontsize=8, color=_INK, labelpad=2)
        place.set_ylabel(figure_text(panel.down.name), fontsize=8, color=_INK, labelpad=2)
    colour_bar(place, image, panel.numbers)


def _write(figure: Any, title: str, lines: Sequence[tuple[str, str]]) -> None:
    name = textwrap.wrap(printable(title), 34, break_on_hyphens=False)
    words = [
        f"{label if i == 0 else '':<{_LABEL_WIDTH}}{line}"
        for label, wrapped in _wrapped(lines)
        for i, line in enumerate(wrapped)
    ]
    below = 0.975 - 0.26 * len(name) / figure.figure.get_figheight()
    heading = {"fontsize": 11, "weight": "bold"}
    text = {"fontsize": 7.5, "family": "monospace"}
    for y, written, style in ((0.975, name, heading), (below, words, text)):
        joined = "\n".join(map(figure_text, written))
        figure.text(0.01, y, joined, va="top", color=_INK, **style)


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
    """Return height by width."""
    height, width = extents(panel.down, panel.across)
    return height / width


def _cube(panels: Sequence[Panel]) -> tuple[float, float]:
    """Width and height of three planes side by side, each plane's least share included."""
    section, _, along_column = panels
    down, across = extents(section.down, section.across)
    thick = max(
        extents(along_column.down, along_column.across)[1], _LEAST_SHARE * max(across, down)
    )
    return across + thick, down + thick


def summary_lines(plan: Plan) -> list[tuple[str, str]]:
    """Return labels and words: array, how it is stored, axes, instrument, the header's own labels.

    The label is empty where the line belongs to the one before. No secret.
    """
    header = plan.header
    lines = [
        ("array", f"{format_shape(plan.shape)} {plan.dtype}"),
        ("", format_bytes(plan.layout.nbytes)),
        ("stored", f"mode {header.mode}, {ORDER_NAMES[header.byteorder]}"),
    ]
    if len(plan.source.parts) > 1:
        lines.append(("", f"in {len(plan.source.parts)} files"))
    if compression := plan.source.parts[0].compression:
        lines.append(("", f"one {compression} stream"))
    lines += [(axis.name, _axis_words(axis)) for axis in plan.axes]
    if plan.question:
        lines.append(("note", plan.question))
    metadata = plan_metadata(plan)
    shown = [
        _metadata_line(path, value)
        for path, value in metadata_items(metadata)
        if path[0] not in ("General", "Signal") or path[-1] in ("date", "time", "notes")
    ]
    lines += shown[:_MAX_METADATA]
    if len(shown) > _MAX_METADATA:
        lines.append(("", f"and {len(shown) - _MAX_METADATA} more: mrcdist info"))
    lines += [("label", label.strip()) for label in header.labels if label.strip()]
    return lines


def _axis_words(axis: Axis) -> str:
    """Describe how long an axis is and what a step on it means."""
    if axis.values is not None:
        return f"{axis.size}, {format_range(axis)}"
    if not axis.units:
        return f"{axis.size}" if axis.name == "rgb" else f"{axis.size}, uncalibrated"
    units = format_unit(axis.units)
    start = f" from {format_number(axis.offset)}" if axis.offset else ""
    return f"{axis.size} × {format_number(axis.scale)} {units}{start}"


def _metadata_line(path: tuple[str, ...], value: Any) -> tuple[str, str]:
    *parents, key = path
    name = f"{parents[-1].lower()} {key}" if key in _SHORT else key.replace("_", " ")
    words = f"{value:.6g}" if isinstance(value, float) else str(value)
    if isinstance(value, list):
        words = format_list(value)
    return name, f"{words} {_UNITS.get(name, '')}".rstrip()
