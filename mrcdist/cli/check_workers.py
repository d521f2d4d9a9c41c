"""`check-workers`: check every worker before a long job."""

from __future__ import annotations

from typing import Any

import click

from mrcdist.cli.cluster import cluster_options
from mrcdist.cli.console import print_json, print_notes
from mrcdist.cli.console import say as tell
from mrcdist.cli.options import COUNT, FILE_OPTIONS, SECONDS, file_options, plan_from_options
from mrcdist.cli.signals import stopping

__all__ = ["check_workers"]


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
    type=SECONDS,
    help="Seconds to wait for the storage of a worker before giving up.",
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
    """Check that every worker sees the file as planned, and measure how fast it reads it.

    The exit status is 0 if all workers can read the file and 1 otherwise. The table also lists
    threads, memory limits, and package versions that differ from those of the client.

    \b
    Example:
      mrcdist check-workers s3://bucket/20241021_00405_movie.mrc --scheduler tcp://node1:8786
    """
    # Imported late: commands that only inspect files do not need distributed.
    from mrcdist.batch.check_workers import check_workers as check
    from mrcdist.batch.clusters import ClusterOptions, connect

    def say(text: str) -> None:
        tell(text, err=True)

    file = {name: options.pop(name) for name in FILE_OPTIONS}
    where = ClusterOptions(**options)
    with stopping(ctx):
        plan = plan_from_options(chunks=chunks, **file)
        with connect(
            where,
            say=say,
            min_workers=min_workers,
            wait_for_jobs=True,
            again="start it and check again",
        ) as cluster:
            report = check(cluster.client, plan, patience=timeout)
    print_notes(plan.notes)
    if as_json:
        print_json(report.as_dict())
    else:
        tell(str(report))
    ctx.exit(0 if report.ok else 1)
