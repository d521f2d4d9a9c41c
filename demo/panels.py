"""Figures of the notebooks: calibrated images, vector fields, task streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mrcdist.format.axis import Axis
from mrcdist.plotting import colour_bar
from mrcdist.plotting import draw_image as draw_calibrated

__all__ = ["direction_colours", "draw_field", "draw_image", "draw_tasks"]

_ARROWS = 14  # number along the longer side
_WAITING = "#d62728"
_OTHER = "#b0b0b0"


def draw_image(
    panel: Any,
    image: NDArray[Any],
    axes: Sequence[Mapping[str, Any]],
    title: str,
    *,
    words: str = "",
    log: bool = False,
    cmap: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Any:
    """Draw an image with a scale bar and the correct aspect ratio.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
    image : ndarray, shape (rows, columns)
    axes : sequence of mapping
        Axes of rows and columns, as returned by `mrcdist.read_mrc`.
    title : str
    words : str, optional
        Label of the colour bar; "" for no colour bar.
    log : bool, default False
        Use a logarithmic scale, for diffraction patterns.
    cmap : str, optional
        Default: that of mrcdist for such images.
    limits : tuple of float, optional
        Minimum and maximum of the scale. Default: as in `mrcdist preview`.

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
        fontsize=11,
    )
    if cmap:
        drawn.set_cmap(cmap)
    if words:
        colour_bar(panel, drawn, words)
    return drawn


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
    words: str,
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
    words : str
        Units.
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
    at = np.ix_(rows, columns)
    shown = length[at] > 0.35 * largest  # the direction of short vectors is noise
    panel.quiver(
        *(part[shown] for part in np.meshgrid(columns, rows)),
        (x[at] / length[at])[shown],
        (y[at] / length[at])[shown],
        angles="xy",
        scale_units="xy",
        scale=1.25 / step,
        pivot="mid",
        color="white",
        alpha=0.85,
        width=0.005,
    )
    _wheel(panel, f"{largest:.3g} {words}")


def _wheel(panel: Any, words: str) -> None:
    steps = np.linspace(-1, 1, 121)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    colours = np.dstack([direction_colours(y, x, 1.0), np.hypot(y, x) <= 1])
    wheel = panel.inset_axes((1.04, 0.36, 0.26, 0.26))
    wheel.imshow(colours, extent=(-1, 1, 1, -1), interpolation="bilinear")
    wheel.set_axis_off()
    wheel.set_title(words, fontsize=9, pad=3)


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
    order = [*kinds.values(), ("other tasks", _OTHER), ("transfer between workers", _WAITING)]
    for kind in sorted(bars, key=order.index):
        for row, start, width in bars[kind]:
            panel.barh(row, width, left=start, height=0.8, color=kind[1], edgecolor="none")
    panel.set_yticks(range(len(threads)), _thread_names(threads))
    panel.invert_yaxis()
    panel.set_xlabel("seconds", fontsize=9)
    panel.tick_params(labelsize=9)
    panel.spines[["top", "right"]].set_visible(False)
    legend = [Patch(color=kind[1], label=kind[0]) for kind in sorted(bars, key=order.index)]
    panel.legend(
        handles=legend,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(legend),
        frameon=False,
        fontsize=9,
    )
    return {
        kind[0]: sum(width for _, _, width in bars[kind]) for kind in sorted(bars, key=order.index)
    }


def _thread_names(threads: Sequence[tuple[str, Any]]) -> list[str]:
    """Return labels that number the workers, because their addresses are meaningless here."""
    workers = list(dict.fromkeys(worker for worker, _ in threads))
    names = [f"worker {workers.index(worker) + 1}" for worker, _ in threads]
    if len(workers) == len(threads):
        return names
    counts = dict.fromkeys(names, 0)
    for place, name in enumerate(names):
        counts[name] += 1
        names[place] = f"{name}, thread {counts[name]}"
    return names


def _kind(key: Any, action: str, kinds: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    if action != "compute":
        return ("transfer between workers", _WAITING)
    name = cast(str, key[0] if isinstance(key, tuple) else str(key))
    for beginning, kind in kinds.items():
        if name.startswith(beginning):
            return kind
    return ("other tasks", _OTHER)
