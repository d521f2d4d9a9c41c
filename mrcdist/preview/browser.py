"""`browse`: a scan and its patterns side by side, in a notebook or a window.

Drawn with matplotlib, so that it runs wherever matplotlib does; in a notebook on ipympl, the
backend that HyperSpy's users have already. HyperSpy's own plot would compute a navigator from the
whole file first, and build a dask graph for each click. Here a click is one request for one frame,
and the virtual detector sums frames that were read once, within a budget.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.bright_disk import find_disk
from mrcdist.compute.detectors import Ring
from mrcdist.errors import ArgumentError, MissingExtraError, MrcdistError, MrcdistWarning
from mrcdist.extras import install_command
from mrcdist.formatting import figure_text
from mrcdist.plotting import colour_norm, draw_image, reduced, require_matplotlib
from mrcdist.preview.sample import DEFAULT_BUDGET, describe_grid, require_budget
from mrcdist.preview.scan_data import ScanData, open_scan
from mrcdist.read_plan import Plan

Array = npt.NDArray[Any]

_INCHES = (10.0, 4.8)
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
    require_budget(budget)
    return Browser(open_scan(data, budget), _interactive_figure() if figure is None else figure)


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
        self._frame = lru_cache(_FRAMES_KEPT)(scan.frame)
        self._drag: Callable[[float, float], None] | None = None
        self.detector = _first_detector(scan)
        self.virtual_image = scan.virtual_image(self.detector)
        self.position = scan.middle
        self.pattern = self._frame(*self.position)
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
                argument="y" if not 0 <= y < self._scan.shape[0] else "x",
                remedy=f"pass y below {self._scan.shape[0]} and x below {self._scan.shape[1]}",
            )
        self.pattern = self._frame(y, x)
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
                argument="inner" if inner < 0 else "outer",
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
        _show(self.figure)

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
        for rim, radius in (("outer", ring.outer), ("inner", ring.inner)):
            if radius and abs(distance - radius) <= near:
                return partial(self._resize, rim)
        # Outside of it a press fetches it; inside, it keeps hold where it was pixels.
        dy, dx = (y - ring.cy, x - ring.cx) if distance < ring.outer else (0.0, 0.0)
        return lambda y, x: self.place_detector(
            y - dy, x - dx, self.detector.outer, self.detector.inner
        )

    def _resize(self, rim: str, y: float, x: float) -> None:
        ring, least = self.detector, 0.5
        radius = float(np.hypot(y - ring.cy, x - ring.cx))
        if rim == "outer":
            self.place_detector(ring.cy, ring.cx, max(radius, ring.inner + least), ring.inner)
        else:
            inner = float(np.clip(radius, least, ring.outer - least))
            self.place_detector(ring.cy, ring.cx, ring.outer, inner)

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


def _first_detector(scan: ScanData) -> Ring:
    try:
        return find_disk(scan.mean)
    except ArgumentError:
        rows, columns = scan.frame_shape
        return Ring((rows - 1) / 2, (columns - 1) / 2, 0.0, max(min(rows, columns) / 8, 1.0))


def _interactive_figure() -> Any:
    """Return a figure that listens to the mouse: a widget in a notebook, a window elsewhere.

    In a notebook its canvas is ipympl's, whatever backend pyplot has: nobody needs
    ``%matplotlib widget`` first, and other figures stay as they are.
    """
    require_matplotlib()
    if not _in_notebook():
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=_INCHES)
        if type(figure.canvas).required_interactive_framework is None:
            text = (
                f"the figure has no window: matplotlib's backend {plt.get_backend()} shows none. "
                'matplotlib.use("qtagg") or another one does, on a machine with a screen; '
                "figure.savefig writes a file"
            )
            warnings.warn(text, MrcdistWarning, stacklevel=3)
        return figure
    try:
        backend: Any = importlib.import_module("ipympl.backend_nbagg")
    except ImportError:
        raise MissingExtraError(
            "ipympl is not installed here",
            code="package-missing",
            cause="figures in a notebook need it to react to the mouse",
            remedy=f"{install_command('notebook')}, then reload the page",
        ) from None
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES)
    canvas = backend.Canvas(figure)
    backend.FigureManager(canvas, 0)
    canvas.header_visible = canvas.footer_visible = False
    return figure


def _show(figure: Any) -> None:
    """Show a figure in the output of a notebook's cell, or in its window."""
    if _in_notebook() and hasattr(figure.canvas, "_repr_mimebundle_"):
        importlib.import_module("IPython.display").display(figure.canvas)
    elif hasattr(figure, "show") and figure.canvas.manager is not None:
        figure.show()


def _in_notebook() -> bool:
    """Whether this is a kernel that can show widgets, rather than a terminal or a script."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")
