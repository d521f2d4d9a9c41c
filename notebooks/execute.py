#!/usr/bin/env python3
"""Run notebooks from their first cell to their last, and keep what they show.

    python notebooks/execute.py                 # all of them
    python notebooks/execute.py stem_from_s3    # one

They run in a temporary folder, beside copies of `deploy/` and `demo/`. A notebook that fails, or
that shows something of the machine it ran on, is left as it was. `slurm_batch_job` is left out
unless it is named: the tests' own Slurm is started for it, which takes Linux, root and slurm-wlm.
"""

from __future__ import annotations

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

__all__ = ["HERE", "NOTEBOOKS", "execute", "faults", "for_own_data"]

HERE = Path(__file__).resolve().parent
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))

_NEEDS_SLURM = "slurm_batch_job"
_SYNTHETIC = "synthetic"  # the tag of cells that make data, or compare results with them
_LARGEST = 600_000  # bytes; GitHub shows larger ones slowly or not at all
_PATHS = re.compile(r"(?<![\w.:/-])/(?:tmp|work|home|root|var|opt|mnt|Users|private)/")


def execute(
    path: Path, folder: Path, environment: Mapping[str, str] | None = None
) -> nbformat.NotebookNode:
    """Run a notebook and return it with its outputs; the file stays as it is.

    Parameters
    ----------
    path : Path
        The notebook.
    folder : Path
        Where it may write; `notebooks/` and copies of `deploy/` and `demo/` are made in it.
    environment : mapping, optional
        Of the kernel. Default: this process's, without anybody's S3 settings.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell failed.
    """
    working = folder / "notebooks"
    working.mkdir(parents=True)
    for name in ("deploy", "demo"):
        shutil.copytree(HERE.parent / name, folder / name)
    kept = environment or {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook,
        timeout=200,
        record_timing=False,
        resources={"metadata": {"path": str(working)}},
    ).execute(
        # Nobody's start-up files, nobody's history, no proxy to reach 127.0.0.1.
        env={
            **kept,
            "IPYTHONDIR": str(folder / "ipython"),
            "no_proxy": "127.0.0.1,localhost",
        }
    )
    return notebook


def for_own_data(path: Path, names: str) -> nbformat.NotebookNode:
    """Do with a notebook what its first words tell those to do who have data of their own.

    Parameters
    ----------
    path : Path
        The notebook.
    names : str
        Python that sets the names for which the first words ask; it takes the place of the cells
        for synthetic data.
    """
    notebook = nbformat.read(path, as_version=4)
    own = [cell for cell in notebook.cells if _SYNTHETIC not in cell.metadata.get("tags", ())]
    notebook.cells = [nbformat.v4.new_code_cell(names), *own]
    return notebook


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    """Say what keeps a notebook from being shown to others; nothing if it is fit."""
    found = []
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        found.append(f"cells were not run once each, in order: {counts}")
    if not any(output.output_type == "display_data" for output in _outputs(cells)):
        found.append("it has no figure")
    for output in _outputs(cells):
        if output.output_type == "error":
            found.append(f"{output.ename}: {output.evalue}")
        if output.get("name") == "stderr":
            found.append(f"it complains: {output.text[:200]}")
        found += [f"it shows {word!r}" for text in _texts(output) for word in _private(text)]
    if (size := len(nbformat.writes(notebook))) > _LARGEST:
        found.append(f"it has {size:,} bytes, more than {_LARGEST:,}")
    return found


def _outputs(cells: list[nbformat.NotebookNode]) -> Iterator[nbformat.NotebookNode]:
    for cell in cells:
        yield from cell.outputs


def _texts(output: nbformat.NotebookNode) -> Iterator[str]:
    yield output.get("text", "")
    for kind, content in output.get("data", {}).items():
        if not kind.startswith("image/"):
            yield str(content)


def _private(text: str) -> list[str]:
    """Paths of a machine, a user's address, the name of this machine."""
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


def main(names: list[str]) -> int:
    """Refresh the notebooks with these names; return the number of those that failed."""
    known = {path.stem: path for path in NOTEBOOKS}
    if unknown := sorted(set(names) - set(known)):
        print(f"no notebook {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    failed = 0
    for name in names or [name for name in known if name != _NEEDS_SLURM]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                with _environment(name, Path(folder)) as environment:
                    notebook = execute(known[name], Path(folder, "run"), environment)
                wrong = faults(notebook)
            except nbclient.exceptions.CellExecutionError as error:
                wrong = [str(error)]
        if not wrong:
            nbformat.write(notebook, known[name])
        failed += bool(wrong)
        print(f"{name}: {'; '.join(wrong) or 'refreshed'}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
