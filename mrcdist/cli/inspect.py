"""`info`, `explain`, `preview` and `validate`: inspect a file without reading all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mrcdist.batch.output import require_no_input
from mrcdist.byte_size import parse_size
from mrcdist.cli.console import echo, print_json, print_notes, print_report
from mrcdist.cli.options import (
    COUNT,
    chunks_option,
    file_options,
    image_options,
    json_option,
    plan_from_options,
    reading_options,
    storage_option,
    url_argument,
)
from mrcdist.formatting import format_shape
from mrcdist.interop.rosettasciio import axes_dicts, plan_metadata, plan_original_metadata
from mrcdist.options import ReadOptions
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.plan_summary import summary_lines
from mrcdist.plotting import require_matplotlib
from mrcdist.preview.preview import plan_preview
from mrcdist.preview.sample import DEFAULT_BUDGET, VIEW_KINDS
from mrcdist.printable import printable
from mrcdist.stats import snapshot
from mrcdist.storage.local_files import atomic_write, explain_os_errors
from mrcdist.validate.report import validate as validate_file


@click.command(short_help="Show shape and calibration of a file.")
@file_options
@image_options
def info(as_json: bool, **options: Any) -> None:
    """Show the shape, dtype, axes, calibration and metadata of a file.

    \b
    Example:
      mrcdist info s3://bucket/20241021_00405_movie.mrc
    """
    plan = plan_from_options(**options)
    images = plan.companions.find()
    if as_json:
        print_json(
            {
                "url": plan.location.shown,
                "shape": list(plan.shape),
                "dtype": str(plan.dtype),
                "axes": axes_dicts(plan.axes),
                "metadata": plan_metadata(plan),
                "original_metadata": plan_original_metadata(plan),
                "images": {image.name: image.location.shown for image in images},
                "notes": list(plan.notes),
            }
        )
        return
    lines = [
        ("file", str(plan.source.parts[0].file.version)),
        *summary_lines(plan),
        *(("image", f"{image.name}: {image.location.name}") for image in images),
    ]
    echo(plan.location.shown, verbatim=True)
    for label, text in lines:
        echo(f"  {printable(label):<17} {printable(text)}", verbatim=label != "note")
    print_notes(plan.notes)


@click.command(short_help="Estimate what reading the file will cost.")
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=COUNT,
    help="Threads per worker, for the memory estimate.",
)
@chunks_option
@file_options
def explain(as_json: bool, chunks: Any, threads: int, **options: Any) -> None:
    """Estimate the cost of reading a file on a cluster: tasks, bytes, requests, memory.

    \b
    Example:
      mrcdist explain s3://bucket/20241021_00405_movie.mrc --chunks 32,256,-1,-1
    """
    plan = plan_from_options(chunks=chunks, **options)
    cost = plan.explain(threads=threads)
    if as_json:
        print_json({**cost.as_dict(), "notes": list(plan.file_notes)})
        return
    echo(str(cost))
    print_notes(plan.file_notes)


def _size(text: str) -> int:
    size = parse_size(text)
    if size is None or size < 1:
        raise click.BadParameter('expected a size of at least one byte, such as "64 MiB"')
    return size


def _check_png(_ctx: click.Context, _param: click.Parameter, path: Path) -> Path:
    """Check the output path before anything is read."""
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"no such folder: {path.absolute().parent}")
    if path.suffix.lower() != ".png":
        raise click.BadParameter(f"{path.name}: expected a name ending in .png")
    return path


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    required=True,
    callback=_check_png,
    help="PNG file to write (overwritten if it exists).",
)
@click.option(
    "--budget",
    default=f"{DEFAULT_BUDGET >> 20} MiB",
    show_default=True,
    type=_size,
    metavar="SIZE",
    help="Maximum amount of pixel data to read.",
)
@click.option(
    "--view",
    type=click.Choice(VIEW_KINDS),
    help="View to draw (default: chosen by axes and space group).",
)
@file_options
@image_options
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
        echo(plan.location.shown, verbatim=True)
        echo(f"  array    {format_shape(plan.shape)} {plan.dtype}")
        if plan.question:
            echo(f"  note     {plan.question}")
        echo(f"  to read  {planned.describe_cost(planned.cost)}")

    before = snapshot()
    panels = planned.panels()
    stats = snapshot() - before
    actual = Cost(stats.requests, stats.nbytes)
    with explain_os_errors(output), atomic_write(output) as file:
        planned.figure(panels).savefig(file, format="png")

    if as_json:
        print_json(
            {
                "url": plan.location.shown,
                "view": planned.view.kind,
                "panels": [panel.title for panel in panels],
                "announced": {"bytes": planned.cost.nbytes, "requests": planned.cost.requests},
                "read": {"bytes": actual.nbytes, "requests": actual.requests},
                "output": str(output),
                "notes": [*plan.notes, *planned.notes],
            }
        )
        return
    echo(f"  read     {planned.describe_cost(actual)}")
    for panel in panels:
        echo(f"  panel    {printable(panel.title or panel.name)}", verbatim=True)
    echo(f"  written  {printable(str(output))}", verbatim=True)
    if actual != planned.cost:  # another read in this process, or a bug; retries are not counted
        echo("  warning: the read differed from the estimate")
    print_notes([*plan.notes, *planned.notes])


@click.command(short_help="Check whether a file conforms to MRC2014.")
@json_option
@click.option(
    "--statistics",
    is_flag=True,
    help="Compare minimum, maximum, mean and RMS with the data (reads the whole file).",
)
@storage_option
@reading_options("metadata_file", "endianness", "mode0")
@url_argument
@click.pass_context
def validate(
    ctx: click.Context,
    /,
    url: str,
    as_json: bool,
    statistics: bool,
    storage_options: Any,
    **options: Any,
) -> None:
    """Check whether a file conforms to MRC2014; the exit status is 0 if it does, 1 if not.

    \b
    Example:
      mrcdist validate s3://bucket/tomogram.mrc --statistics
    """
    report = validate_file(
        url,
        statistics=statistics,
        options=ReadOptions(**options),
        storage_options=storage_options,
    )
    print_report(report, as_json=as_json)
    ctx.exit(0 if report.valid else 1)
