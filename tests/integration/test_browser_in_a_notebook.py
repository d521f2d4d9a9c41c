"""`browse` in a real Jupyter kernel."""

from __future__ import annotations

import pytest

from demo.field import demo_frames
from mrcdist.testing.acquisition import write_acquisition
from tests.support.processes import ROOT


def test_browse_returns_a_widget_in_a_jupyter_kernel(tmp_path):
    """The output of the cell is a widget, and its canvas is that of ipympl."""
    for package in ("ipympl", "ipykernel"):
        pytest.importorskip(package)
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    scan, frame = (8, 9), (32, 24)
    movie = write_acquisition(
        tmp_path, scan_shape=scan, frame_shape=frame, frames=demo_frames(scan, frame)
    ).movie
    cells = [
        f"import mrcdist\nplan = mrcdist.plan_mrc({str(movie)!r})\nplan",
        "browser = mrcdist.browse(plan)\nbrowser",
        "browser.show(3, 7)\nprint(type(browser.figure.canvas).__module__, browser.position)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    [page], [widget], [printed] = (cell.outputs for cell in notebook.cells)
    assert "<pre" in page["data"]["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in widget["data"]
    assert printed["text"] == "ipympl.backend_nbagg (3, 7)\n"
