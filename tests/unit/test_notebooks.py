"""Notebooks run from their first cell to their last, and are kept with outputs fit to be shown."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from notebooks.execute import NOTEBOOKS, execute, faults

# Besides the project and what tests need anyway.
PACKAGES = {"stem_from_s3": ["bokeh"], "hyperspy_and_pyxem": ["hyperspy", "pyxem"]}
HERE = [path for path in NOTEBOOKS if path.stem != "slurm_batch_job"]


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    for package in PACKAGES.get(path.stem, ()):
        pytest.importorskip(package, reason=f"the notebook needs {package}")
    assert faults(execute(path, tmp_path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_outputs_are_kept_and_can_be_shown(path: Path) -> None:
    assert faults(nbformat.read(path, as_version=4)) == []


def test_each_is_described() -> None:
    described = (NOTEBOOKS[0].parent / "README.md").read_text("utf-8")
    assert [path.name for path in NOTEBOOKS if f"({path.name})" not in described] == []


class TestFaults:
    @pytest.fixture
    def notebook(self) -> nbformat.NotebookNode:
        """A notebook of two cells that is fit to be shown."""
        first = nbformat.v4.new_code_cell("print(1)", execution_count=1)
        first.outputs = [nbformat.v4.new_output("stream", name="stdout", text="tmp, s3://work/a\n")]
        second = nbformat.v4.new_code_cell("plt.plot()", execution_count=2)
        second.outputs = [nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo"})]
        return nbformat.v4.new_notebook(cells=[first, second])

    def test_none(self, notebook: nbformat.NotebookNode) -> None:
        assert faults(notebook) == []

    @pytest.mark.parametrize("counts", [(1, None), (2, 1), (1, 3)])
    def test_cells_not_run_or_not_in_order(
        self, notebook: nbformat.NotebookNode, counts: tuple[int | None, int | None]
    ) -> None:
        for cell, count in zip(notebook.cells, counts, strict=True):
            cell.execution_count = count
        assert "not run once each" in faults(notebook)[0]

    def test_no_figure(self, notebook: nbformat.NotebookNode) -> None:
        notebook.cells[1].outputs = []
        assert faults(notebook) == ["it has no figure"]

    @pytest.mark.parametrize(
        ("output", "said"),
        [
            ({"output_type": "stream", "name": "stderr", "text": "Warning: x"}, "it complains"),
            ({"output_type": "error", "ename": "E", "evalue": "v", "traceback": []}, "E: v"),
            ({"output_type": "stream", "name": "stdout", "text": "in '/tmp/a'"}, "'/tmp/'"),
            ({"output_type": "stream", "name": "stdout", "text": "/home/me/x"}, "'/home/'"),
            ({"output_type": "stream", "name": "stdout", "text": "me@host"}, "'me@host'"),
            ({"output_type": "execute_result", "data": {"text/plain": "/root/a"}}, "'/root/'"),
        ],
    )
    def test_what_should_not_be_shown(
        self, notebook: nbformat.NotebookNode, output: dict[str, str], said: str
    ) -> None:
        notebook.cells[0].outputs.append(nbformat.from_dict({"metadata": {}, **output}))
        [found] = faults(notebook)
        assert said in found

    def test_the_name_of_this_machine(
        self, notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("socket.gethostname", lambda: "node17")
        notebook.cells[0].outputs[0].text = "worker on node17:8786, node170"
        assert faults(notebook) == ["it shows 'node17'"]

    def test_too_large(self, notebook: nbformat.NotebookNode) -> None:
        notebook.cells[1].outputs[0].data["image/png"] = "A" * 600_000
        [found] = faults(notebook)
        assert "more than 600,000" in found
