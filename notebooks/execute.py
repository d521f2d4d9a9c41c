#!/usr/bin/env python3
"""Run the notebooks from top to bottom and save their outputs.

    python notebooks/execute.py                 # all that this environment can run
    python notebooks/execute.py stem_from_s3    # one

They run in a temporary folder, next to copies of `deploy/`, `demo/` and `example_data.py`. A
notebook that fails, or whose outputs reveal local paths or names, is left unchanged.
`slurm_batch_job` runs only if it is named explicitly: it starts the Slurm cluster of the tests,
which needs Linux, root and slurm-wlm.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nbclient
import nbformat

__all__ = ["HERE", "NEEDS_ZARR3", "NOTEBOOKS", "execute", "faults", "for_own_data"]

HERE = Path(__file__).resolve().parent
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))

_NEEDS_SLURM = "slurm_batch_job"
NEEDS_ZARR3 = "zarr_and_xarray"
_SYNTHETIC = "synthetic"  # tag of cells that create data or compare results with them
_LARGEST = 600_000  # bytes; GitHub renders larger notebooks slowly or not at all
# Images embedded in HTML, in whose base64 text any short name may occur by chance.
_EMBEDDED = re.compile(r"base64,[\w+/=]+")
_PATHS = re.compile(r"(?<![\w.:/-])/(?:tmp|work|home|root|var|opt|mnt|Users|private)/")


def execute(
    path: Path, folder: Path, environment: Mapping[str, str] | None = None
) -> nbformat.NotebookNode:
    """Return a notebook with its outputs after running it; the file is not changed.

    Parameters
    ----------
    path : Path
        The notebook.
    folder : Path
        Working folder; `notebooks/` and copies of `deploy/` and `demo/` are created in it.
    environment : mapping, optional
        Environment of the kernel. Default: that of this process, without S3 settings.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    working = folder / "notebooks"
    working.mkdir(parents=True)
    for name in ("deploy", "demo"):
        shutil.copytree(HERE.parent / name, folder / name)
    shutil.copy(HERE / "example_data.py", working)
    variables = environment or {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook,
        timeout=200,
        record_timing=False,
        resources={"metadata": {"path": str(working)}},
    ).execute(
        # Without the user's start-up files and history, and without a proxy for 127.0.0.1.
        env={
            **variables,
            "IPYTHONDIR": str(folder / "ipython"),
            "no_proxy": "127.0.0.1,localhost",
        }
    )
    return notebook


def for_own_data(path: Path, names: str) -> nbformat.NotebookNode:
    """Return a notebook adapted to other data, as its introduction explains.

    Parameters
    ----------
    path : Path
        The notebook.
    names : str
        Python code that sets the names listed in the introduction; it replaces the cells for
        synthetic data.
    """
    notebook = nbformat.read(path, as_version=4)
    own = [cell for cell in notebook.cells if _SYNTHETIC not in cell.metadata.get("tags", ())]
    notebook.cells = [nbformat.v4.new_code_cell(names), *own]
    return notebook


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the reasons why the outputs of a notebook cannot be published, if any."""
    problems = []
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        problems.append(f"cells were not run once each, in order: {counts}")
    if not any(output.output_type == "display_data" for output in _outputs(cells)):
        problems.append("no figure")
    for output in _outputs(cells):
        if output.output_type == "error":
            problems.append(f"{output.ename}: {output.evalue}")
        if output.get("name") == "stderr":
            problems.append(f"output on stderr: {output.text[:200]}")
        problems += [f"reveals {name!r}" for text in _texts(output) for name in _private(text)]
    if (size := len(nbformat.writes(notebook))) > _LARGEST:
        problems.append(f"{size:,} bytes, more than {_LARGEST:,}")
    return problems


def _outputs(cells: list[nbformat.NotebookNode]) -> Iterator[nbformat.NotebookNode]:
    for cell in cells:
        yield from cell.outputs


def _texts(output: nbformat.NotebookNode) -> Iterator[str]:
    yield output.get("text", "")
    for kind, content in output.get("data", {}).items():
        if not kind.startswith("image/"):
            yield _EMBEDDED.sub("", str(content))


def _private(text: str) -> list[str]:
    """Return local paths, user@host addresses and this machine's name found in a text."""
    name = re.escape(socket.gethostname())
    return [*_PATHS.findall(text), *re.findall(rf"\w+@\w+|\b{name}\b", text)]


@contextmanager
def _environment(name: str, folder: Path) -> Iterator[Mapping[str, str] | None]:
    if name != _NEEDS_SLURM:
        yield None
        return
    sys.path.insert(0, str(HERE.parent))
    from tests.support.slurm import slurm_cluster

    with slurm_cluster(folder / "slurm") as slurm:
        yield slurm.environment


def _is_zarr_2() -> bool:
    """Return whether this is the environment with zarr 2, used by all notebooks but one."""
    return importlib.util.find_spec("ome_zarr_models") is None


def main(names: list[str]) -> int:
    """Run the named notebooks and save their outputs; return the number of failures."""
    known = {path.stem: path for path in NOTEBOOKS}
    if unknown := sorted(set(names) - set(known)):
        print(f"unknown notebook {', '.join(unknown)}; choose from {', '.join(known)}")
        return 2
    failed = 0
    runnable = set(known) - {_NEEDS_SLURM} - ({NEEDS_ZARR3} if _is_zarr_2() else set())
    for name in names or sorted(runnable):
        with tempfile.TemporaryDirectory() as folder:
            try:
                with _environment(name, Path(folder)) as environment:
                    notebook = execute(known[name], Path(folder, "run"), environment)
                problems = faults(notebook)
            except nbclient.exceptions.CellExecutionError as error:
                problems = [str(error)]
        if not problems:
            nbformat.write(notebook, known[name])
        failed += bool(problems)
        print(f"{name}: {'; '.join(problems) or 'updated'}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
