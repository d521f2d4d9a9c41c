"""`check-workers`, `example`, and the options for a cluster."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from mrcdist.cli.console import echo, print_notes, print_report
from mrcdist.cli.group import stopping
from mrcdist.cli.options import COUNT, FILE_OPTIONS, file_options, plan_from_options, together

# Scripts and settings for batch systems: name → file.
_EXAMPLES = {
    "slurm": "mrcdist.sbatch",
    "slurm-array": "mrcdist-array.sbatch",
    "jobqueue": "jobqueue.yaml",
}
_PACKAGE = Path(__file__).resolve().parents[1]
# In a wheel (see pyproject.toml) and in a clone.
_FOLDERS = (_PACKAGE / "examples", _PACKAGE.parent / "deploy" / "slurm")

# Fields of `mrcdist.batch.clusters.ClusterOptions`.
cluster_options = together(
    click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Address of a running dask scheduler, such as tcp://node1:8786.",
    ),
    click.option(
        "--scheduler-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="File written by `dask scheduler --scheduler-file FILE`; wait until it exists.",
    ),
    click.option(
        "--jobqueue",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Settings (YAML) for workers as Slurm, PBS, … jobs; see `mrcdist example jobqueue`.",
    ),
    click.option(
        "--workers",
        type=COUNT,
        help="Number of local worker processes (default: dask's choice).",
    ),
    click.option(
        "--threads", type=COUNT, help="Threads per local worker (default: dask's choice)."
    ),
    click.option(
        "--memory-limit",
        metavar="SIZE",
        help="Memory limit of each local worker, such as '8 GiB' (default: an equal share).",
    ),
)


class _Seconds(click.FloatRange):
    """A range of floats without NaN, which click accepts in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a valid float.", param, ctx)
        return seconds


@click.command("check-workers", short_help="Check whether every worker can read the file.")
@click.option(
    "--bytes",
    "chunks",
    default="auto",
    metavar="SIZE",
    help="Amount of data that each worker reads, such as '64 MiB' (default: one chunk).",
)
@click.option(
    "--min-workers",
    default=1,
    show_default=True,
    type=COUNT,
    help="Number of workers to wait for.",
)
@click.option(
    "--timeout",
    default=120.0,
    show_default=True,
    type=_Seconds(0, 366 * 86_400, min_open=True),
    help="Time limit for reading from the storage of a worker, in seconds.",
)
@cluster_options
@file_options
@click.pass_context
def check_workers(
    ctx: click.Context,
    /,
    as_json: bool,
    chunks: str,
    min_workers: int,
    timeout: float,
    **options: Any,
) -> None:
    """Check that every worker sees the planned file, and measure how fast it reads it.

    The exit status is 0 if all workers can read the file and 1 otherwise. The table also lists
    threads, memory limits, and package versions that differ from those of the client.

    \b
    Example:
      mrcdist check-workers s3://bucket/20241021_00405_movie.mrc --scheduler tcp://node1:8786
    """
    # Imported late: commands that only inspect files do not need distributed.
    from mrcdist.batch.check_workers import check_workers as check
    from mrcdist.batch.clusters import ClusterOptions, connect

    file = {name: options.pop(name) for name in FILE_OPTIONS}
    cluster_options = ClusterOptions(**options)
    with stopping(ctx):
        plan = plan_from_options(chunks=chunks, **file)
        with connect(
            cluster_options,
            log=lambda text: echo(text, err=True),
            min_workers=min_workers,
            wait_for_jobs=True,
            resume_hint="start it and check again",
        ) as cluster:
            report = check(cluster.client, plan, patience=timeout)
    print_notes(plan.notes)
    print_report(report, as_json=as_json)
    ctx.exit(0 if report.ok else 1)


@click.command(short_help="Print a script for a batch system.")
@click.argument("name", type=click.Choice(list(_EXAMPLES)))
def example(name: str) -> None:
    """Print a script or settings for a batch system, for you to adapt and submit.

    "slurm" processes one large acquisition on several nodes, "slurm-array" many acquisitions on one
    node each. "jobqueue" contains settings for workers as separate Slurm or PBS jobs, for
    --jobqueue.

    \b
    Example:
      mrcdist example slurm > job.sbatch
    """
    paths = [folder / _EXAMPLES[name] for folder in _FOLDERS]
    path = next(path for path in paths if path.is_file())
    click.echo(path.read_text("utf-8"), nl=False)
