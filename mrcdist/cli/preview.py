"""`mrcdist preview`: an overview image of a file from a small part of its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mrcdist.batch.output import require_no_input
from mrcdist.cli.console import print_json, print_notes, say
from mrcdist.cli.options import file_options, plan_from_options
from mrcdist.compute.whole_file import write_whole
from mrcdist.config import parse_size
from mrcdist.formatting import format_shape
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.plotting.image import require_matplotlib
from mrcdist.preview.preview import plan_preview
from mrcdist.preview.sample import DEFAULT_BUDGET
from mrcdist.preview.view import VIEW_KINDS
from mrcdist.printable import printable
from mrcdist.stats import snapshot

__all__ = ["preview"]


def _bytes(_ctx: click.Context, _param: click.Parameter, given: str) -> int:
    size = parse_size(given)
    if size is None:
        raise click.BadParameter('expected a size, such as "64 MiB"')
    if size < 1:
        raise click.BadParameter("expected at least one byte")
    return size


def _a_png_in_a_folder(_ctx: click.Context, _param: click.Parameter, given: Path) -> Path:
    """Check the output path before anything is read."""
    if not given.absolute().parent.is_dir():
        raise click.BadParameter(f"no such folder: {given.absolute().parent}")
    if given.suffix.lower() != ".png":
        raise click.BadParameter(f"{given.name}: expected a name ending in .png")
    return given


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    required=True,
    callback=_a_png_in_a_folder,
    help="PNG file to write (overwritten if it exists).",
)
@click.option(
    "--budget",
    default=f"{DEFAULT_BUDGET >> 20} MiB",
    show_default=True,
    callback=_bytes,
    metavar="SIZE",
    help="Maximum amount of pixel data to read.",
)
@click.option(
    "--view",
    type=click.Choice(VIEW_KINDS),
    help="View to draw (default: chosen by axes and space group).",
)
@file_options
def preview(output: Path, budget: int, view: Any, as_json: bool, **options: Any) -> None:
    """Create an overview image of a file from a small part of its data.

    A scan is shown as virtual images and diffraction patterns, a volume as three planes through its
    centre, any other file as a few of its images. The amount of data to read is printed first, the
    amount actually read afterwards.

    \b
    Examples:
      mrcdist preview s3://bucket/20241021_00405_movie.mrc -o look.png
      mrcdist preview tomogram.mrc -o look.png --budget "16 MiB"
      mrcdist preview tilts.mrc -o look.png --tilt-file tilts.rawtlt
    """
    require_matplotlib()
    plan = plan_from_options(**options)
    for part in plan.source.parts:
        require_no_input(output, part.file, argument="output")
    planned = plan_preview(plan, budget=budget, view=view)
    if not as_json:
        say(plan.location.shown)
        say(f"  array    {format_shape(plan.shape)} {plan.dtype}")
        if plan.question:
            say(f"  note     {plan.question}")
        say(f"  to read  {planned.describe_cost(planned.cost)}")

    before = snapshot()
    panels = planned.panels()
    counted = snapshot() - before
    read = Cost(counted.requests, counted.nbytes)
    with write_whole(output) as file:
        planned.figure(panels).savefig(file, format="png")

    if as_json:
        print_json(
            {
                "url": plan.location.shown,
                "view": planned.view.kind,
                "panels": [panel.title for panel in panels],
                "announced": {"bytes": planned.cost.nbytes, "requests": planned.cost.requests},
                "read": {"bytes": read.nbytes, "requests": read.requests},
                "output": str(output),
                "notes": [*plan.notes, *planned.notes],
            }
        )
        return
    say(f"  read     {planned.describe_cost(read)}")
    for panel in panels:
        say(f"  panel    {printable(panel.title or panel.name)}")
    say(f"  written  {printable(str(output))}")
    if read != planned.cost:  # retries count once: something else read in this process, or a defect
        say("  warning: the read differed from the estimate")
    print_notes([*plan.notes, *planned.notes])
