"""`browse`: a scan and its patterns side by side, in a notebook or a window.

Drawn with matplotlib, so that it runs wherever matplotlib does; in a notebook on ipympl, the
backend that HyperSpy's users have already. HyperSpy's own plot would compute a navigator from the
whole file first, and build a dask graph for each click. Here a click is one request for one frame,
and the virtual detector sums frames that were read once, within a budget.
"""

from __future__ import annotations

import os
import shlex
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mrcdist.compute.bright_disk import find_disk
from mrcdist.compute.detectors import Ring
from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.formatting import figure_text
from mrcdist.plotting.contrast import colour_norm
from mrcdist.plotting.image import draw_image, reduced
from mrcdist.preview.interactive_figure import interactive_figure, show_figure
from mrcdist.preview.sample import DEFAULT_BUDGET, describe_grid
from mrcdist.preview.scan_data import ScanData, open_scan
from mrcdist.read_plan import Plan

__all__ = ["Browser", "browse"]

Array = npt.NDArray[Any]

_MARK, _RING, _HOLE = "#ff3864", "#4cc9f0", "#ffb703"

# How near to a circle, as a share of the pattern's side, a press takes hold of it.
_NEAR = 0.02
_ZOOM = 1.1

_FRAMES_KEPT = 32


def browse(
    data: str | os.PathLike[str] | Plan | Mapping[str, Any],
    *,
    budget: int = DEFAULT_BUDGET,
    figure: Any = None,
) -> Browser:
    """Browse a 4D-STEM scan: a navigator on the left, the pattern of a scan point on the right.

    Click or drag in the navigator to see the pattern of a point. Drag the circle in the pattern to
    move the virtual detector; drag its rim or scroll to resize it; press "a" to toggle an annulus.
    The navigator shows the mean over the detector at each point of a sparse grid.

    Parameters
    ----------
    data : str, PathLike, Plan or dict
        A path or URL, a plan from `plan_mrc`, or one of the dicts that `read_mrc` returns.
    budget : int, default 64 MiB
        Bytes of frames to read at the start and keep in memory, for the navigator. A larger budget
        gives a finer grid.
    figure : matplotlib.figure.Figure, optional
        Figure to draw in, such as that of a Qt application. Default: a widget in a notebook, a
        pyplot window elsewhere.

    Returns
    -------
    Browser
        Keep a reference to it: the figure reacts to the mouse only as long as it exists.

    Raises
    ------
    ArgumentError
        The data are not a scan, or were modified after reading.
    MissingExtraError
        matplotlib, or in a notebook ipympl, is not installed.

    Examples
    --------
    >>> import mrcdist
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> movie = write_acquisition("demo", scan_shape=(16, 16), frame_shape=(32, 32)).movie
    >>> browser = mrcdist.browse(movie)
    >>> browser.place_detector(16, 16, outer=5)
    >>> browser.command  # the same for the whole file
    'mrcdist virtual ...20260101_00001_movie.mrc --detector circle:16,16,5 --out virtual.npy'
    """
    if budget < 1:
        raise ArgumentError(
            f"budget={budget}",
            code="budget-invalid",
            argument="budget",
            remedy="give a number of bytes, such as 64 * 2**20",
        )
    return Browser(open_scan(data, budget), interactive_figure() if figure is None else figure)


class Browser:
    """Interactive figure of a scan; see `browse`.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    position : tuple of int
        (y, x), the scan point whose pattern is shown.
    pattern : ndarray, shape (ky, kx)
        Its frame.
    detector : Ring
        Centre and radii in pixels.
    virtual_image : ndarray, shape of the sparse grid
        Mean over the pixels of the detector; NaN for points without a frame.
    """

    def __init__(self, scan: ScanData, figure: Any) -> None:
        self.figure = figure
        self._scan = scan
        self._kept: OrderedDict[tuple[int, int], Array] = OrderedDict()
        self._drag: Callable[[float, float], None] | None = None
        self.detector = _first_detector(scan)
        self.virtual_image = scan.virtual_image(self.detector)
        self.position = scan.middle
        self.pattern = self._frame(self.position)
        self._build()
        self._connections = [
            figure.canvas.mpl_connect(name, handler)
            for name, handler in (
                ("button_press_event", self._press),
                ("motion_notify_event", self._move),
                ("button_release_event", self._release),
                ("scroll_event", self._scroll),
                ("key_press_event", self._key),
            )
        ]

    def show(self, y: int, x: int) -> None:
        """Show the pattern of a scan point, with one request for its frame if it is not cached.

        Raises
        ------
        ArgumentError
            There is no such point.
        """
        if not (0 <= y < self._scan.shape[0] and 0 <= x < self._scan.shape[1]):
            raise ArgumentError(
                f"no scan point ({y}, {x})",
                code="scan-point-outside",
                remedy=f"pass y below {self._scan.shape[0]} and x below {self._scan.shape[1]}",
            )
        self.pattern = self._frame((y, x))
        self.position = (y, x)
        self._draw_pattern()

    def place_detector(self, cy: float, cx: float, outer: float, inner: float = 0.0) -> None:
        """Place the virtual detector and update the navigator from memory; nothing is read.

        Parameters
        ----------
        cy, cx : float
            Row and column of the centre, in pixels of a pattern.
        outer, inner : float
            Radii in pixels.

        Raises
        ------
        ArgumentError
            The radii are invalid, or no pixel is inside.
        """
        if not 0 <= inner < outer:
            raise ArgumentError(
                f"radii {inner:g} and {outer:g}",
                code="radii-invalid",
                remedy="give 0 <= inner < outer, in pixels",
            )
        detector = Ring(cy, cx, inner, outer)
        self.virtual_image = self._scan.virtual_image(detector)
        self.detector = detector
        self._draw_navigator()

    @property
    def command(self) -> str:
        """Command that computes the same virtual image from the whole file, on a cluster.

        With all options; secrets are taken from the environment: docs/howto/stores.md.
        """
        ring = self.detector
        numbers = (ring.cy, ring.cx, *filter(None, (ring.inner, ring.outer)))
        kind = "annulus" if ring.inner else "circle"
        listed = ",".join(f"{number:.4g}" for number in numbers)
        words = ["mrcdist", "virtual", *self._scan.arguments, "--detector", f"{kind}:{listed}"]
        return shlex.join([*words, "--out", "virtual.npy"])

    def close(self) -> None:
        """Disconnect from the figure."""
        for connection in self._connections:
            self.figure.canvas.mpl_disconnect(connection)
        self._connections = []

    def _ipython_display_(self) -> None:
        show_figure(self.figure)

    def _frame(self, position: tuple[int, int]) -> Array:
        if position not in self._kept:
            self._kept[position] = self._scan.frame(*position)
        self._kept.move_to_end(position)
        while len(self._kept) > _FRAMES_KEPT:
            self._kept.popitem(last=False)
        return self._kept[position]

    def _build(self) -> None:
        from matplotlib.patches import Circle

        scan = self._scan
        self.figure.set_layout_engine("constrained")
        self._navigator, self._panel = self.figure.subplots(1, 2)
        y, x, ky, kx = scan.axes
        self._map = draw_image(
            self._navigator, self.virtual_image, y, x, title="", extent=scan.extent
        )
        (self._point,) = self._navigator.plot([], [], "o", ms=9, mfc="none", mec=_MARK, mew=1.6)
        self._image = draw_image(self._panel, self.pattern, ky, kx, title="", contrast="log")
        self._circles = [
            self._panel.add_patch(Circle((0, 0), 1, fill=False, color=colour, lw=1.4))
            for colour in (_RING, _HOLE)
        ]
        self._draw_navigator()
        self._draw_pattern()

    def _draw_navigator(self) -> None:
        ring = self.detector
        self._map.set_data(self.virtual_image)
        self._map.set_norm(colour_norm(self.virtual_image, "linear"))
        for circle, radius in zip(self._circles, (ring.outer, ring.inner), strict=True):
            circle.center = (ring.cx, ring.cy)
            circle.set_radius(radius)
            circle.set_visible(radius > 0)
        self._navigator.set_title(describe_grid(self._scan.ys, self._scan.xs), fontsize=9)
        self._refresh()

    def _draw_pattern(self) -> None:
        pattern = reduced(self.pattern)
        self._image.set_data(pattern)
        self._image.set_norm(colour_norm(pattern, "log"))
        y, x = self.position
        self._point.set_data([x], [y])
        self._say(self._scan.describe_frame(y, x))

    def _say(self, words: str) -> None:
        self._panel.set_title(figure_text(words), fontsize=9)
        self._refresh()

    def _refresh(self) -> None:
        self.figure.canvas.draw_idle()

    def _press(self, event: Any) -> None:
        if event.button != 1:
            return
        if event.inaxes is self._navigator:
            self._drag = self._show_at
        elif event.inaxes is self._panel:
            self._drag = self._grip(event.ydata, event.xdata)
        self._move(event)

    def _move(self, event: Any) -> None:
        wanted = self._navigator if self._drag == self._show_at else self._panel
        if self._drag is None or event.inaxes is not wanted:
            return
        self._told(self._drag, event.ydata, event.xdata)

    def _release(self, _event: Any) -> None:
        self._drag = None

    def _show_at(self, y: float, x: float) -> None:
        position = tuple(
            int(np.clip(round(at), 0, size - 1))
            for at, size in zip((y, x), self._scan.shape, strict=True)
        )
        if position != self.position:
            self.show(*position)

    def _grip(self, y: float, x: float) -> Callable[[float, float], None]:
        """Choose what dragging from here does: resize by the nearest rim, else move."""
        ring = self.detector
        distance = float(np.hypot(y - ring.cy, x - ring.cx))
        near = max(_NEAR * max(self._scan.frame_shape), 0.75)
        rim = _rim(distance, ring, near)
        if rim is not None:
            return lambda y, x: self._resize(rim, float(np.hypot(y - ring.cy, x - ring.cx)))
        # Outside of it a press fetches it; inside, it keeps hold where it was pixels.
        dy, dx = (y - ring.cy, x - ring.cx) if distance < ring.outer else (0.0, 0.0)
        return lambda y, x: self.place_detector(
            y - dy, x - dx, self.detector.outer, self.detector.inner
        )

    def _resize(self, rim: Literal["outer", "inner"], radius: float) -> None:
        ring = self.detector
        least = 0.5
        changed = (
            replace(ring, outer=max(radius, ring.inner + least))
            if rim == "outer"
            else replace(ring, inner=float(np.clip(radius, least, ring.outer - least)))
        )
        self.place_detector(ring.cy, ring.cx, changed.outer, changed.inner)

    def _scroll(self, event: Any) -> None:
        if event.inaxes is self._panel:
            ring, factor = self.detector, _ZOOM**event.step
            outer = max(ring.outer * factor, 1.0)
            inner = ring.inner * outer / ring.outer
            self._told(self.place_detector, ring.cy, ring.cx, outer, inner)

    def _key(self, event: Any) -> None:
        if event.key == "a":
            ring = self.detector
            inner = 0.0 if ring.inner else ring.outer / 2
            self._told(self.place_detector, ring.cy, ring.cx, ring.outer, inner)

    def _told(self, action: Callable[..., None], *values: float) -> None:
        """Do something, and show what is wrong with it: nobody sees a callback's exception."""
        try:
            action(*values)
        except MrcdistError as error:
            self._say(error.problem)


def _rim(distance: float, ring: Ring, near: float) -> Literal["outer", "inner"] | None:
    if abs(distance - ring.outer) <= near:
        return "outer"
    if ring.inner and abs(distance - ring.inner) <= near:
        return "inner"
    return None


def _first_detector(scan: ScanData) -> Ring:
    try:
        return find_disk(scan.mean)
    except ArgumentError:
        rows, columns = scan.frame_shape
        return Ring((rows - 1) / 2, (columns - 1) / 2, 0.0, max(min(rows, columns) / 8, 1.0))
