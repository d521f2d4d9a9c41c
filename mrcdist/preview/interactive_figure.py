"""Interactive figures: a widget in a notebook, a window elsewhere."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

from mrcdist.errors import MissingExtraError, MrcdistWarning
from mrcdist.extras import install_command
from mrcdist.plotting.image import require_matplotlib

__all__ = ["interactive_figure", "show_figure"]

_SIZE = (10.0, 4.8)


def interactive_figure() -> Any:
    """Return a figure that listens to the mouse.

    In a notebook its canvas is ipympl's, whatever backend pyplot has: nobody needs
    ``%matplotlib widget`` first, and other figures stay as they are.

    Raises
    ------
    MissingExtraError
        matplotlib, or in a notebook ipympl, is not installed.

    Warns
    -----
    MrcdistWarning
        matplotlib's backend shows no window.
    """
    require_matplotlib()
    if not _in_notebook():
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=_SIZE)
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

    figure = Figure(figsize=_SIZE)
    canvas = backend.Canvas(figure)
    backend.FigureManager(canvas, 0)
    canvas.header_visible = canvas.footer_visible = False
    return figure


def show_figure(figure: Any) -> None:
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
