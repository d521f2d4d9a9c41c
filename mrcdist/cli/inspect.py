"""`info`, `explain` and `validate`: inspect a file without reading its pixels."""

from __future__ import annotations

from typing import Any

import click

from mrcdist.cli.console import print_json, print_notes, say
from mrcdist.cli.options import (
    COUNT,
    chunks_option,
    file_options,
    json_option,
    plan_from_options,
    reading_options,
    storage_option,
    url_argument,
)
from mrcdist.discover.images import find_images
from mrcdist.format.axis import Axis
from mrcdist.format.byte_order import ORDER_NAMES
from mrcdist.formatting import format_list, format_shape
from mrcdist.interop.rosettasciio import (
    axes_dicts,
    metadata_items,
    plan_metadata,
    plan_original_metadata,
)
from mrcdist.options import ReadOptions
from mrcdist.printable import printable
from mrcdist.validate.report import validate as validate_file

__all__ = ["explain", "info", "validate"]


@click.command(short_help="Show shape and calibration of a file.")
@file_options
def info(as_json: bool, **options: Any) -> None:
    """Show the shape, dtype, axes, calibration and metadata of a file.

    \b
    Example:
      mrcdist info s3://bucket/20241021_00405_movie.mrc
    """
    plan = plan_from_options(**options)
    metadata = plan_metadata(plan)
    images = find_images(plan.directory, plan.sidecar, "auto", "auto")
    if as_json:
        print_json(
            {
                "url": plan.location.shown,
                "shape": list(plan.shape),
                "dtype": str(plan.dtype),
                "axes": axes_dicts(plan.axes),
                "metadata": metadata,
                "original_metadata": plan_original_metadata(plan),
                "images": {image.name: image.location.shown for image in images},
                "notes": list(plan.notes),
            }
        )
        return
    header = plan.header
    order = ORDER_NAMES[header.byteorder]
    say(plan.location.shown)
    say(f"  file     {plan.source.parts[0].file.version}")
    say(f"  array    {format_shape(plan.shape)} {plan.dtype}")
    say(f"  stored   mode {header.mode}, {order}, data from byte {header.data_offset}")
    for axis in plan.axes:
        kind = "navigation" if axis.navigate else "signal"
        say(f"  axis     {axis.name:<8}{axis.size:>8}  {kind}, {_steps(axis)}")
    for image in images:
        say(printable(f"  image    {image.name}: {image.location.name}"))
    for path, value in metadata_items(metadata):
        words = format_list(value) if isinstance(value, list) else value
        say(printable(f"  {'.'.join(path)} = {words}"))
    for label in header.labels:
        say(f"  label    {printable(label)}")
    if plan.question:
        say(f"  note     {plan.question}")
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
    say(str(cost))
    print_notes(plan.file_notes)


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
    found = validate_file(
        url,
        statistics=statistics,
        options=ReadOptions(**options),
        storage_options=storage_options,
    )
    if as_json:
        print_json(found.as_dict())
    else:
        say(str(found))
    ctx.exit(0 if found.valid else 1)


def _steps(axis: Axis) -> str:
    """Describe the positions along an axis."""
    if not axis.units:
        return "uncalibrated"
    if axis.values is not None:
        lowest, highest = axis.extremes
        how = "uneven steps" if axis.monotonic else "up and down"
        return f"{how} from {lowest:.6g} to {highest:.6g} {axis.units}"
    start = f", from {axis.offset:.6g} {axis.units}" if axis.offset else ""
    return f"{axis.scale:.6g} {axis.units} per step{start}"
