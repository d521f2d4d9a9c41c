"""Notebooks run without errors, and their stored outputs can be published."""

from __future__ import annotations

import ast
import re
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager

import mrcdist
from demo.field import demo_frames
from demo.tilt_series import write_tilt_series
from mrcdist.testing.acquisition import write_acquisition
from notebooks.execute import NEEDS_ZARR3, NOTEBOOKS, execute, faults, for_own_data
from tests.support.compiling import pyxem_to_itself
from tests.support.processes import ROOT

# Notebook → packages that it needs in addition to those of the tests.
PACKAGES = {
    "quick_start": ["ipympl"],
    "stem_from_s3": ["bokeh"],
    "hyperspy_and_pyxem": ["hyperspy", "pyxem"],
    NEEDS_ZARR3: ["ome_zarr_models"],  # run by tests/zarr3
}
WITHOUT_SLURM = [path for path in NOTEBOOKS if path.stem != "slurm_batch_job"]


@pytest.mark.parametrize("path", WITHOUT_SLURM, ids=lambda path: path.stem)
def test_notebook_runs_without_errors_or_warnings(path: Path, tmp_path: Path) -> None:
    skip_without_packages(path)
    with pyxem_to_itself() if "pyxem" in path.stem else nullcontext():
        assert notebook_faults(execute(path, tmp_path)) == []


def skip_without_packages(path: Path) -> None:
    for package in PACKAGES.get(path.stem, ()):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")


def notebook_faults(notebook: nbformat.NotebookNode) -> list[str]:
    """Return faults, ignoring dask's message about workers that end slowly on a busy machine."""
    return [fault for fault in faults(notebook) if "Worker process still alive" not in fault]


def own_movie(folder: Path) -> str:
    """Write a movie that differs from those of the notebooks in shape and calibration."""
    scan, frame = (21, 26), (48, 40)
    written = write_acquisition(
        folder,
        name="20260301_00007",
        scan_shape=scan,
        frame_shape=frame,
        frames=demo_frames(scan, frame),
        sidecar={
            "Specimen Pixel Size X (nanometers)": "1.5",
            "Specimen Pixel Size Y (nanometers)": "1.5",
            "Diffraction Pixel Size X": "0.2",
            "Diffraction Pixel Size Y": "0.2",
        },
    )
    return str(written.movie)


def own_tilts(folder: Path) -> str:
    """Write a tilt series of a different size, with uneven steps."""
    folder.mkdir(parents=True)
    angles = np.array([-50.0, -20.0, 0.0, 15.0, 48.0])
    images = np.random.default_rng(0).integers(0, 99, (5, 64, 50), dtype="int16")
    path = folder / "mine.mrc"
    write_tilt_series(path, angles, images.__getitem__, shape=(64, 50), kind="SERI")
    return str(path)


# Notebook → code that sets the names listed in its introduction, for users with their own data.
SETUP = {
    "quick_start": "path = {movie!r}",
    "stem_from_s3": """
from distributed import Client

url, storage_options = {movie!r}, {{}}
client = Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None)
""",
    "hyperspy_and_pyxem": "path = url = {movie!r}; storage_options = {{}}",
    "tilt_series_from_s3": "urls, storage_options = [{tilts!r}], {{}}",
    NEEDS_ZARR3: "url = {movie!r}; tomogram = {tilts!r}; storage_options = {{}}",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem) for p in WITHOUT_SLURM])
def test_notebook_runs_on_other_data(path: Path, tmp_path: Path) -> None:
    skip_without_packages(path)
    files = {"movie": own_movie(tmp_path / "data"), "tilts": own_tilts(tmp_path / "tilts")}
    adapted = tmp_path / path.name
    nbformat.write(for_own_data(path, SETUP[path.stem].format(**files)), adapted)
    notebook = execute(adapted, tmp_path / "run")
    assert [fault for fault in notebook_faults(notebook) if "reveals" not in fault] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_introduction_explains_how_to_use_own_data(path: Path) -> None:
    introduction = nbformat.read(path, as_version=4).cells[0].source
    assert "To use your own data, leave out" in introduction
    for name in re.findall(r"^(\w+) = ", SETUP.get(path.stem, "url = 0"), re.M):
        assert f"`{name}" in introduction


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_uses_only_documented_names(path: Path) -> None:
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    nodes = list(ast.walk(ast.parse(TransformerManager().transform_cell("\n".join(cells)))))
    names = {
        f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "mrcdist"
        for alias in node.names
    }
    attributes = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)]
    names |= {name for name in attributes if re.fullmatch(r"mrcdist\.\w+", name)}
    assert names
    documented = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
    public = {f"mrcdist.{name}" for name in (*mrcdist.__all__, "__version__")}
    assert {name for name in names - public if f":: {name}" not in documented} == set()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_of_a_notebook_can_be_published(path: Path) -> None:
    assert faults(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize("page", ["notebooks/README.md", "docs/notebooks.md"])
def test_page_of_notebooks_describes_each_of_them(page: str) -> None:
    text = (NOTEBOOKS[0].parents[1] / page).read_text("utf-8")
    assert [path.name for path in NOTEBOOKS if f"{path.name})" not in text] == []


class TestFaults:
    @pytest.fixture
    def notebook(self) -> nbformat.NotebookNode:
        """A notebook of two cells without faults."""
        first = nbformat.v4.new_code_cell("print(1)", execution_count=1)
        first.outputs = [nbformat.v4.new_output("stream", name="stdout", text="tmp, s3://work/a\n")]
        second = nbformat.v4.new_code_cell("plt.plot()", execution_count=2)
        second.outputs = [nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo"})]
        return nbformat.v4.new_notebook(cells=[first, second])

    def test_valid_notebook_has_no_faults(self, notebook: nbformat.NotebookNode) -> None:
        assert faults(notebook) == []

    @pytest.mark.parametrize("counts", [(1, None), (2, 1), (1, 3)])
    def test_notebook_cells_not_run_once_in_order_are_a_fault(
        self, notebook: nbformat.NotebookNode, counts: tuple[int | None, int | None]
    ) -> None:
        for cell, count in zip(notebook.cells, counts, strict=True):
            cell.execution_count = count
        assert "not run once each" in faults(notebook)[0]

    def test_notebook_without_a_figure_has_a_fault(self, notebook: nbformat.NotebookNode) -> None:
        notebook.cells[1].outputs = []
        assert faults(notebook) == ["no figure"]

    @pytest.mark.parametrize(
        ("output", "message"),
        [
            ({"output_type": "stream", "name": "stderr", "text": "Warning: x"}, "output on stderr"),
            ({"output_type": "error", "ename": "E", "evalue": "v", "traceback": []}, "E: v"),
            ({"output_type": "stream", "name": "stdout", "text": "in '/tmp/a'"}, "'/tmp/'"),
            ({"output_type": "stream", "name": "stdout", "text": "/home/me/x"}, "'/home/'"),
            ({"output_type": "stream", "name": "stdout", "text": "me@host"}, "'me@host'"),
            ({"output_type": "execute_result", "data": {"text/plain": "/root/a"}}, "'/root/'"),
        ],
    )
    def test_error_warning_or_local_name_in_the_outputs_is_a_fault(
        self, notebook: nbformat.NotebookNode, output: dict[str, str], message: str
    ) -> None:
        notebook.cells[0].outputs.append(nbformat.from_dict({"metadata": {}, **output}))
        [fault] = faults(notebook)
        assert message in fault

    def test_host_name_in_the_outputs_is_a_fault(
        self, notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("socket.gethostname", lambda: "node17")
        notebook.cells[0].outputs[0].text = "worker on node17:8786, node170"
        assert faults(notebook) == ["reveals 'node17'"]

    def test_notebook_larger_than_600_kb_has_a_fault(self, notebook: nbformat.NotebookNode) -> None:
        notebook.cells[1].outputs[0].data["image/png"] = "A" * 600_000
        [fault] = faults(notebook)
        assert "more than 600,000" in fault
