"""Options that say where to compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mrcdist.cli.options import COUNT

__all__ = ["cluster_options"]

Command = Callable[..., Any]


def cluster_options(command: Command) -> Command:
    """Add the options of `mrcdist.batch.clusters.ClusterOptions`."""
    for option in (
        click.option(
            "--memory-limit",
            metavar="SIZE",
            help="Memory limit of each local worker, such as '8 GiB' (default: an equal share).",
        ),
        click.option(
            "--threads", type=COUNT, help="Threads per local worker (default: dask's choice)."
        ),
        click.option(
            "--workers",
            type=COUNT,
            help="Number of local worker processes (default: dask's choice).",
        ),
        click.option(
            "--jobqueue",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="YAML file for workers as Slurm, PBS, … jobs; see mrcdist.batch.jobqueue.",
        ),
        click.option(
            "--scheduler-file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="File written by `dask scheduler --scheduler-file FILE`; waits until it exists.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Address of a running dask scheduler, such as tcp://node1:8786.",
        ),
    ):
        command = option(command)
    return command
