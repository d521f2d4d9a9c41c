"""`virtual`, `mean` and `com`: compute images from a file of any size, on any kind of cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mrcdist.cli.cluster import cluster_options, stopping
from mrcdist.cli.console import print_json, print_notes, say
from mrcdist.cli.options import (
    FILE_OPTIONS,
    chunks_option,
    file_options,
    plan_from_options,
)

__all__ = ["com", "mean", "virtual"]

Command = Callable[..., Any]

_detector_help = (
    "bf, adf, circle:CY,CX,R, annulus:CY,CX,R1,R2 (in pixels, row before column; pixels at the "
    "radius are included), or mask.npy, an array of the shape of a frame."
)


def _job_options(command: Command) -> Command:
    for option in (
        cluster_options,
        click.option("--overwrite", is_flag=True, help="Overwrite existing files."),
        click.option(
            "--resume",
            is_flag=True,
            help="Continue from the intermediate results in OUT.partial, if there are any.",
        ),
        click.option(
            "--out",
            "outputs",
            multiple=True,
            required=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Output file (.npy, .zarr, .mrc or .png); may be given more than once.",
        ),
        chunks_option,
        file_options,
    ):
        command = option(command)
    return command


@click.command(short_help="Compute the image of a virtual detector.")
@click.option("--detector", required=True, metavar="WHICH", help=_detector_help)
@click.option(
    "--radius",
    type=float,
    metavar="PIXELS",
    help="Radius of the bright disk, for bf and adf (default: from its half-maximum).",
)
@_job_options
@click.pass_context
def virtual(ctx: click.Context, /, detector: str, radius: float | None, **options: Any) -> None:
    """Compute a virtual image: the sum over the detector's pixels at each scan point.

    bf is the bright disk in the mean of 32 frames spread over the scan: a circle around the centre
    of mass of the pixels above half-maximum, with the same area as these. adf is the annulus from
    1.2 times that radius to the nearest edge of the frame. Sums of integers are exact.

    \b
    Examples:
      mrcdist virtual movie.mrc --detector bf --out bf.npy --out bf.png
      mrcdist virtual s3://bucket/20241021_00405_movie.mrc --detector annulus:128,127.5,30,60 \\
        --out adf.zarr --scheduler-file scheduler.json --resume
    """
    _run(ctx, "virtual", detector, radius, options)


@click.command(short_help="Compute the mean of all frames.")
@_job_options
@click.pass_context
def mean(ctx: click.Context, /, **options: Any) -> None:
    """Compute the mean of all frames.

    \b
    Example:
      mrcdist mean s3://bucket/20241021_00405_movie.mrc --out mean.npy --out mean.png --workers 4
    """
    _run(ctx, "mean", "all", None, options)


@click.command(short_help="Compute the centre of mass of each frame.")
@click.option(
    "--detector", default="all", show_default=True, metavar="WHICH", help="all, " + _detector_help
)
@click.option(
    "--radius",
    type=float,
    metavar="PIXELS",
    help="Radius of the bright disk, for bf and adf (default: from its half-maximum).",
)
@_job_options
@click.pass_context
def com(ctx: click.Context, /, detector: str, radius: float | None, **options: Any) -> None:
    """Compute the centre of mass of each frame, as two maps: its row (y) and its column (x).

    Positions are in the units of the frame axes if these are calibrated, otherwise in pixels
    counted from the first one; the summary states which. NaN where a frame has no intensity.

    \b
    Example:
      mrcdist com movie.mrc --detector circle:128,127.5,30 --out com.npy --jobqueue slurm.yaml
    """
    _run(ctx, "com", detector, radius, options)


def _run(
    ctx: click.Context, kind: Any, detector: str, radius: float | None, options: dict[str, Any]
) -> None:
    file = {name: options.pop(name) for name in (*FILE_OPTIONS, "chunks")}
    as_json = options.pop("as_json")
    with stopping(ctx):
        # Imported late: commands that only inspect files do not need distributed.
        from mrcdist.batch.clusters import ClusterOptions
        from mrcdist.batch.run_job import JobOptions, run
        from mrcdist.compute.detectors import parse_detector

        job = JobOptions(
            kind=kind,
            outputs=options.pop("outputs"),
            detector=parse_detector(detector),
            radius=radius,
            resume=options.pop("resume"),
            overwrite=options.pop("overwrite"),
        )
        cluster = ClusterOptions(**options)
        plan, _ = plan_from_options(**file)
        summary = run(plan, job, cluster, sys.stderr)
    print_notes(summary.notes)
    if as_json:
        print_json(summary.as_dict())
    else:
        say(str(summary))
