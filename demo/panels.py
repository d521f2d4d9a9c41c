"""Figures of the demonstration and the notebooks: images, vector fields, task streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from demo.field import Detectors
from mrcdist.format.axis import Axis
from mrcdist.formatting import figure_text
from mrcdist.plotting import colour_bar, new_figure
from mrcdist.plotting import draw_image as draw_calibrated

__all__ = ["direction_colours", "draw_field", "draw_image", "draw_tasks", "save_figure"]

_ARROWS = 14  # number along the longer side
_BRIGHT, _DARK = "#4cc9f0", "#ffb703"
_TRANSFER = ("transfer between workers", "#d62728")
_OTHER = ("other tasks", "#b0b0b0")


def draw_image(
    panel: Any,
    image: NDArray[Any],
    axes: Sequence[Mapping[str, Any]],
    title: str,
    *,
    label: str = "",
    log: bool = False,
    cmap: str | None = None,
    limits: tuple[float, float] | None = None,
    fontsize: float = 11,
) -> Any:
    """Draw an image with a scale bar and the correct aspect ratio.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
    image : ndarray, shape (rows, columns)
    axes : sequence of mapping
        Axes of rows and columns, as returned by `mrcdist.read_mrc`.
    title : str
    label : str, optional
        Label of the colour bar; "" for no colour bar.
    log : bool, default False
        Use a logarithmic scale, for diffraction patterns.
    cmap : str, optional
        Default: that of mrcdist for such images.
    limits : tuple of float, optional
        Minimum and maximum of the scale. Default: as in `mrcdist preview`.
    fontsize : float, default 11
        Size of the title.

    Returns
    -------
    matplotlib.image.AxesImage
    """
    drawn = draw_calibrated(
        panel,
        image,
        *map(Axis.from_dict, axes),
        title=title,
        contrast="log" if log else "linear",
        limits=limits,
        fontsize=fontsize,
    )
    if cmap:
        drawn.set_cmap(cmap)
    if label:
        colour_bar(panel, drawn, label)
    return drawn


def save_figure(
    path: Path,
    images: Mapping[str, NDArray[Any]],
    detectors: Detectors,
    axes: Sequence[Mapping[str, Any]],
    title: str,
) -> None:
    """Save a figure of the mean pattern and two virtual images of a scan side by side.

    Parameters
    ----------
    path : Path
        PNG file, replaced if it exists.
    images : mapping of str to ndarray
        "pattern", the sum of all frames, shape (ky, kx); "bright" and "dark", the sums over the
        pixels of each detector, shape (y, x).
    detectors : Detectors
        Drawn over the mean pattern.
    axes : sequence of mapping
        The four axes as returned by `mrcdist.read_mrc`.
    title : str
        Title of the figure.
    """
    from matplotlib.patches import Circle

    figure = new_figure(13.2, 4.6)
    figure.suptitle(figure_text(title), fontsize=12, color="#444444")
    pattern, bright, dark = figure.subplots(1, 3)
    mean = images["pattern"] / images["bright"].size
    name = "Mean diffraction pattern"
    draw_image(pattern, mean, axes[2:], name, label="mean counts", log=True, fontsize=14)
    draw_image(bright, images["bright"], axes[:2], "Bright field", label="counts", fontsize=14)
    draw_image(dark, images["dark"], axes[:2], "Dark field", label="counts", fontsize=14)
    for radius, color in zip(detectors.radii, (_BRIGHT, _DARK, _DARK), strict=True):
        style = {"fill": False, "color": color, "lw": 1.3, "ls": (0, (4, 3))}
        pattern.add_patch(Circle(detectors.center[::-1], radius, **style))
    for panel, color in ((bright, _BRIGHT), (dark, _DARK)):
        for spine in panel.spines.values():
            spine.set(color=color, linewidth=2)
    figure.savefig(path)


def direction_colours(y: NDArray[Any], x: NDArray[Any], largest: float) -> NDArray[np.float64]:
    """Return colours for a vector field: hue for direction, brightness for length.

    Parameters
    ----------
    y, x : ndarray of the same shape
        Components; y points down.
    largest : float
        Length with full brightness.

    Returns
    -------
    ndarray, shape of `y` plus (3,)
        Red, green and blue from 0 to 1. Right is red, up yellow-green, left cyan, down violet.
    """
    from matplotlib.colors import hsv_to_rgb

    hue = np.arctan2(-y, x) / (2 * np.pi) % 1.0
    value = np.clip(np.hypot(y, x) / largest, 0, 1)
    return np.asarray(hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.9), value], -1)))


def draw_field(
    panel: Any,
    y: NDArray[Any],
    x: NDArray[Any],
    axes: Sequence[Mapping[str, Any]],
    title: str,
    *,
    units: str,
    largest: float | None = None,
) -> None:
    """Draw a vector field as colours and arrows, with a colour wheel as legend.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        The wheel is drawn to the right, in place of a colour bar.
    y, x : ndarray, shape (rows, columns)
        Components; y points down.
    axes, title
        As in `draw_image`.
    units : str
        Units of the components.
    largest : float, optional
        Length with full brightness. Default: the 99th percentile of the lengths.
    """
    length = np.hypot(y, x)
    largest = float(np.percentile(length, 99)) if largest is None else largest
    colours = direction_colours(y, x, largest)
    draw_calibrated(
        panel, colours, *map(Axis.from_dict, axes), title=title, contrast="rgb", fontsize=11
    )
    step = max(1, round(max(y.shape) / _ARROWS))
    rows, columns = (np.arange(step // 2, size, step) for size in y.shape)
    arrows = np.ix_(rows, columns)
    shown = length[arrows] > 0.35 * largest  # the direction of short vectors is noise
    panel.quiver(
        *(grid[shown] for grid in np.meshgrid(columns, rows)),
        (x[arrows] / length[arrows])[shown],
        (y[arrows] / length[arrows])[shown],
        angles="xy",
        scale_units="xy",
        scale=1.25 / step,
        pivot="mid",
        color="white",
        alpha=0.85,
        width=0.005,
    )
    _draw_wheel(panel, f"{largest:.3g} {units}")


def _draw_wheel(panel: Any, label: str) -> None:
    steps = np.linspace(-1, 1, 121)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    colours = np.dstack([direction_colours(y, x, 1.0), np.hypot(y, x) <= 1])
    wheel = panel.inset_axes((1.04, 0.36, 0.26, 0.26))
    wheel.imshow(colours, extent=(-1, 1, 1, -1), interpolation="bilinear")
    wheel.set_axis_off()
    wheel.set_title(label, fontsize=9, pad=3)


def draw_tasks(
    panel: Any, tasks: Iterable[Mapping[str, Any]], kinds: Mapping[str, tuple[str, str]]
) -> dict[str, float]:
    """Draw a task stream as in dask's dashboard: a row per thread, a bar per task.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
    tasks : iterable of mapping
        From `distributed.get_task_stream`.
    kinds : mapping of str to (str, str)
        Prefix of task names → label and colour; the first match is used. Other tasks are grey,
        transfers between workers red.

    Returns
    -------
    dict of str to float
        Label of each kind → total seconds of all threads.
    """
    from matplotlib.patches import Patch

    bars: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    tasks = list(tasks)
    threads = sorted({(task["worker"], task["thread"]) for task in tasks})
    begin = min(part["start"] for task in tasks for part in task["startstops"])
    for task in tasks:
        row = threads.index((task["worker"], task["thread"]))
        for part in task["startstops"]:
            kind = _kind(task["key"], part["action"], kinds)
            bars.setdefault(kind, []).append(
                (row, part["start"] - begin, part["stop"] - part["start"])
            )
    # In the order of `kinds`, so that the legend follows the order of the work.
    shown = [kind for kind in dict.fromkeys((*kinds.values(), _OTHER, _TRANSFER)) if kind in bars]
    for kind in shown:
        rows, starts, widths = zip(*bars[kind], strict=True)
        panel.barh(rows, widths, left=starts, height=0.8, color=kind[1], edgecolor="none")
    panel.set_yticks(range(len(threads)), _thread_names(threads))
    panel.invert_yaxis()
    panel.set_xlabel("seconds", fontsize=9)
    panel.tick_params(labelsize=9)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(
        handles=[Patch(color=colour, label=label) for label, colour in shown],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(shown),
        frameon=False,
        fontsize=9,
    )
    return {kind[0]: sum(width for _, _, width in bars[kind]) for kind in shown}


def _thread_names(threads: Sequence[tuple[str, Any]]) -> list[str]:
    """Return labels that number the workers, because their addresses are meaningless here."""
    workers = list(dict.fromkeys(worker for worker, _ in threads))
    names = [f"worker {workers.index(worker) + 1}" for worker, _ in threads]
    if len(workers) == len(threads):
        return names
    counts = dict.fromkeys(names, 0)
    for i, name in enumerate(names):
        counts[name] += 1
        names[i] = f"{name}, thread {counts[name]}"
    return names


def _kind(key: Any, action: str, kinds: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    if action != "compute":
        return _TRANSFER
    name = cast(str, key[0] if isinstance(key, tuple) else str(key))
    return next((kind for prefix, kind in kinds.items() if name.startswith(prefix)), _OTHER)
