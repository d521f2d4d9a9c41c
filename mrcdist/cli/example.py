"""`example`: scripts and settings of batch systems, to be copied and changed."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["example"]

_FILES = {
    "slurm": "mrcdist.sbatch",
    "slurm-array": "mrcdist-array.sbatch",
    "jobqueue": "jobqueue.yaml",
}
_PACKAGE = Path(__file__).resolve().parents[1]
# In a wheel, which pyproject.toml copies them to, and in a clone.
_FOLDERS = (_PACKAGE / "examples", _PACKAGE.parent / "deploy" / "slurm")


@click.command(short_help="Print a script for a batch system.")
@click.argument("name", type=click.Choice(list(_FILES)))
def example(name: str) -> None:
    """Print a script or settings for a batch system, for you to adapt and submit.

    "slurm" is one large acquisition on several nodes, "slurm-array" many acquisitions with a node
    for each, "jobqueue" the settings of workers as separate Slurm or PBS jobs, for --jobqueue.

    \b
    Example:
      mrcdist example slurm > job.sbatch
    """
    path = next(path for path in (folder / _FILES[name] for folder in _FOLDERS) if path.is_file())
    click.echo(path.read_text("utf-8"), nl=False)
