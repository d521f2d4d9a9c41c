"""`check-workers`: find out before a long job what would stop it."""

from __future__ import annotations

import sys
from typing import Any

import click

from mrcdist.cli.cluster import cluster_options, stopping
from mrcdist.cli.options import file_options, plan_from_options, print_json, print_notes

__all__ = ["check_workers"]


@click.command("check-workers", short_help="Ask every worker whether it sees the file.")
@click.option(
    "--bytes",
    "chunks",
    default="auto",
    metavar="SIZE",
    help="How much each worker reads, such as '64 MiB'; by default one chunk.",
)
@click.option(
    "--min-workers",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Workers to wait for.",
)
@click.option(
    "--timeout",
    default=120.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds after which a worker's storage is given up.",
)
@cluster_options
@file_options
@click.pass_context
def check_workers(
    ctx: click.Context,
    /,
    url: str,
    as_json: bool,
    chunks: str,
    min_workers: int,
    timeout: float,
    scheduler: Any,
    scheduler_file: Any,
    jobqueue: Any,
    workers: Any,
    threads: Any,
    memory_limit: Any,
    **options: Any,
) -> None:
    """Ask every worker whether it sees the file as planned, and how fast it reads it.

    Exit status 0 if all can read it, 1 if one cannot. The table also has threads, memory limits
    and the versions that differ from those here.

    \b
    Example:
      mrcdist check-workers s3://bucket/20241021_00405_movie.mrc --scheduler tcp://node1:8786
    """
    # What only looks at files should not wait for distributed to be imported.
    from mrcdist.batch.check_workers import check_workers as check
    from mrcdist.batch.clusters import Where, connect

    def say(text: str) -> None:
        click.echo(text, file=sys.stderr)

    where = Where(scheduler, scheduler_file, jobqueue, workers, threads, memory_limit)
    with stopping(ctx, ""):
        plan, notes = plan_from_options(url=url, chunks=chunks, **options)
        with connect(where, say=say, min_workers=min_workers, wait_for_jobs=True) as client:
            report = check(client, plan, patience=timeout)
    print_notes(notes)
    if as_json:
        print_json(report.as_dict())
    else:
        click.echo(str(report))
    ctx.exit(0 if report.ok else 1)
