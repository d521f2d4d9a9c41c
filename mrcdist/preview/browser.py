"""`browse`: an interactive view of a scan and its patterns, in a notebook or a window.

Drawn with matplotlib, and in notebooks with ipympl, the backend that HyperSpy uses. HyperSpy's own
plot computes a navigator from the whole file first, and builds a dask graph per click. Here, a
click is one request for one frame, and the virtual detector sums frames that were read once, within
a budget.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.bright_disk import find_disk
from mrcdist.compute.detectors import Ring
from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.extras import import_optional, install_command
from mrcdist.formatting import figure_text
from mrcdist.plotting import colour_norm, downsample, draw_image, require_matplotlib
from mrcdist.preview.reading import mean_frame
from mrcdist.preview.sample import DEFAULT_BUDGET, every, require_budget
from mrcdist.preview.scan_data import ScanData, open_scan
from mrcdist.read_plan import Plan
from mrcdist.warning_notes import Note, warn

Array = npt.NDArray[Any]

_FIGURE_SIZE = (10.0, 4.8)  # inches
_POINT_COLOUR, _OUTER_COLOUR, _INNER_COLOUR = "#ff3864", "#4cc9f0", "#ffb703"

# Maximum distance from a circle at which a press drags it: a fraction of the pattern's longer side.
_GRAB_DISTANCE = 0.02
_MIN_WIDTH = 0.5  # of the detector, in pixels
_ZOOM = 1.1  # per step of the scroll wheel

_CACHED_FRAMES = 32


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
        self._frame = lru_cache(_CACHED_FRAMES)(scan.frame)
        self._drag: Callable[[float, float], None] | None = None
        self.detector = _initial_detector(scan)
        self.virtual_image = scan.virtual_image(self.detector)
        self.position = scan.start
        self.pattern = self._frame(*self.position)
        self._build()
        handlers = {
            "button_press_event": self._on_press,
            "motion_notify_event": self._on_move,
            "button_release_event": self._on_release,
            "scroll_event": self._on_scroll,
            "key_press_event": self._on_key,
        }
        self._connections = [
            figure.canvas.mpl_connect(event, handler) for event, handler in handlers.items()
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

        It contains all options; secrets are taken from the environment: docs/howto/stores.md.
        """
        ring = self.detector
        numbers = (ring.cy, ring.cx, *filter(None, (ring.inner, ring.outer)))
        kind = "annulus" if ring.inner else "circle"
        detector = f"{kind}:{','.join(f'{number:.4g}' for number in numbers)}"
        words = ["mrcdist", "virtual", *self._scan.arguments, "--detector", detector]
        return shlex.join([*words, "--out", "virtual.npy"])

    def close(self) -> None:
        """Disconnect from the figure."""
        for connection in self._connections:
            self.figure.canvas.mpl_disconnect(connection)
        self._connections = []

    def _ipython_display_(self) -> None:
        canvas = self.figure.canvas
        if hasattr(canvas, "_repr_mimebundle_"):  # a widget
            importlib.import_module("IPython.display").display(canvas)
        elif canvas.manager is not None:
            self.figure.show()

    def _build(self) -> None:
        from matplotlib.patches import Circle

        scan = self._scan
        self.figure.set_layout_engine("constrained")
        self._navigator, self._panel = self.figure.subplots(1, 2)
        y, x, ky, kx = scan.axes
        self._navigator_image = draw_image(
            self._navigator, self.virtual_image, y, x, title="", extent=scan.extent
        )
        self._navigator.set_title(every(scan.ys.step, "point"), fontsize=9)
        marker = {"ms": 9, "mfc": "none", "mec": _POINT_COLOUR, "mew": 1.6}
        (self._point,) = self._navigator.plot([], [], "o", **marker)
        self._pattern_image = draw_image(
            self._panel, self.pattern, ky, kx, title="", contrast="log"
        )
        self._circles = [
            self._panel.add_patch(Circle((0, 0), 1, fill=False, color=colour, lw=1.4))
            for colour in (_OUTER_COLOUR, _INNER_COLOUR)
        ]
        self._draw_navigator()
        self._draw_pattern()

    def _draw_navigator(self) -> None:
        ring = self.detector
        self._navigator_image.set_data(self.virtual_image)
        self._navigator_image.set_norm(colour_norm(self.virtual_image, "linear"))
        for circle, radius in zip(self._circles, (ring.outer, ring.inner), strict=True):
            circle.center = (ring.cx, ring.cy)
            circle.set_radius(radius)
            circle.set_visible(radius > 0)
        self.figure.canvas.draw_idle()

    def _draw_pattern(self) -> None:
        pattern = downsample(self.pattern)
        self._pattern_image.set_data(pattern)
        self._pattern_image.set_norm(colour_norm(pattern, "log"))
        y, x = self.position
        self._point.set_data([x], [y])
        self._set_title(self._scan.describe_frame(y, x))

    def _set_title(self, text: str) -> None:
        self._panel.set_title(figure_text(text), fontsize=9)
        self.figure.canvas.draw_idle()

    def _on_press(self, event: Any) -> None:
        if event.button != 1:
            return
        if event.inaxes is self._navigator:
            self._drag = self._show_nearest
        elif event.inaxes is self._panel:
            self._drag = self._choose_drag(event.ydata, event.xdata)
        self._on_move(event)

    def _on_move(self, event: Any) -> None:
        axes = self._navigator if self._drag == self._show_nearest else self._panel
        if self._drag is not None and event.inaxes is axes:
            self._show_errors(self._drag, event.ydata, event.xdata)

    def _on_release(self, _event: Any) -> None:
        self._drag = None

    def _show_nearest(self, y: float, x: float) -> None:
        """Show the pattern of the scan point nearest to a position in the navigator."""
        ny, nx = self._scan.shape
        position = (int(np.clip(round(y), 0, ny - 1)), int(np.clip(round(x), 0, nx - 1)))
        if position != self.position:
            self.show(*position)

    def _choose_drag(self, y: float, x: float) -> Callable[[float, float], None]:
        """Return the action of dragging from here: resize if a circle is close, otherwise move."""
        ring = self.detector
        distance = float(np.hypot(y - ring.cy, x - ring.cx))
        close = max(_GRAB_DISTANCE * max(self._scan.frame_shape), 0.75)
        for rim, radius in (("outer", ring.outer), ("inner", ring.inner)):
            if radius and abs(distance - radius) <= close:
                return partial(self._resize, rim)
        # From outside, the centre jumps to the pointer; from inside, it keeps its offset from it.
        dy, dx = (y - ring.cy, x - ring.cx) if distance < ring.outer else (0.0, 0.0)
        return lambda y, x: self.place_detector(
            y - dy, x - dx, self.detector.outer, self.detector.inner
        )

    def _resize(self, rim: str, y: float, x: float) -> None:
        ring = self.detector
        outer, inner = ring.outer, ring.inner
        radius = float(np.hypot(y - ring.cy, x - ring.cx))
        if rim == "outer":
            outer = max(radius, inner + _MIN_WIDTH)
        else:
            inner = float(np.clip(radius, _MIN_WIDTH, outer - _MIN_WIDTH))
        self.place_detector(ring.cy, ring.cx, outer, inner)

    def _on_scroll(self, event: Any) -> None:
        if event.inaxes is self._panel:
            ring = self.detector
            outer = max(ring.outer * _ZOOM**event.step, 1.0)
            inner = ring.inner * outer / ring.outer
            self._show_errors(self.place_detector, ring.cy, ring.cx, outer, inner)

    def _on_key(self, event: Any) -> None:
        if event.key == "a":
            ring = self.detector
            inner = 0.0 if ring.inner else ring.outer / 2
            self._show_errors(self.place_detector, ring.cy, ring.cx, ring.outer, inner)

    def _show_errors(self, action: Callable[..., None], *values: float) -> None:
        """Call a function and show its error in the title: exceptions in callbacks are lost."""
        try:
            action(*values)
        except MrcdistError as error:
            self._set_title(error.problem)


def _initial_detector(scan: ScanData) -> Ring:
    try:
        return find_disk(mean_frame(scan.grid.values()))
    except ArgumentError:
        rows, columns = scan.frame_shape
        return Ring((rows - 1) / 2, (columns - 1) / 2, 0.0, max(min(rows, columns) / 8, 1.0))


def _interactive_figure() -> Any:
    """Return an interactive figure: a widget in a notebook, a window elsewhere.

    In a notebook, its canvas is ipympl's, regardless of the backend of pyplot: no
    ``%matplotlib widget`` is needed, and other figures are unaffected.
    """
    require_matplotlib()
    if not _in_notebook():
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=_FIGURE_SIZE)
        if type(figure.canvas).required_interactive_framework is None:
            text = (
                "the figure has no window: matplotlib's backend "
                f"{plt.get_backend()} is not interactive; on a machine with a screen, select "
                'another one, such as matplotlib.use("qtagg"), or save the figure to a file with '
                "figure.savefig"
            )
            warn("browse", [Note("window-missing", text)])
        return figure
    backend = import_optional(
        "ipympl.backend_nbagg",
        "figures in a notebook need it to react to the mouse",
        f"{install_command('notebook')}, then reload the page",
    )
    from matplotlib.figure import Figure

    figure = Figure(figsize=_FIGURE_SIZE)
    canvas = backend.Canvas(figure)
    backend.FigureManager(canvas, 0)
    canvas.header_visible = canvas.footer_visible = False
    return figure


def _in_notebook() -> bool:
    """Whether the code runs in a kernel that can show widgets, not in a terminal or a script."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")
