"""`reduce`, which computes several results in one pass; `virtual`, `mean` and `com` compute one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mrcdist.cli.cluster import cluster_options
from mrcdist.cli.console import print_notes, print_report
from mrcdist.cli.group import stopping
from mrcdist.cli.options import (
    FILE_OPTIONS,
    chunks_option,
    file_options,
    plan_from_options,
    together,
)
from mrcdist.compute.detectors import ArrayFile, parse_detector
from mrcdist.compute.quantities import (
    CenterOfMass,
    MaximumPattern,
    MeanPattern,
    Quantity,
    StandardDeviation,
    SumPattern,
    VirtualImage,
)
from mrcdist.errors import ArgumentError
from mrcdist.plan.selection import parse_range

# A valid name of a result, which becomes part of file names.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PLACEHOLDER = "{}"
_AUTOMATIC = ("bf", "adf")

# Results without a detector: name → class, help.
_PATTERNS: dict[str, tuple[type[Quantity], str]] = {
    "mean": (MeanPattern, "Mean of all frames."),
    "sum": (SumPattern, "Sum of all frames."),
    "max": (MaximumPattern, "Maximum of each pixel over all frames."),
    "std": (StandardDeviation, "Standard deviation of each pixel over all frames."),
}

# A result to compute: its name, its class, and the detector if it has one.
_Request = tuple[str, Callable[..., Quantity], str | None]

_radius_option = click.option(
    "--radius",
    type=float,
    metavar="PIXELS",
    help="Radius of the bright disk, for bf and adf (default: from its half-maximum).",
)

_detector_help = (
    "bf, adf, circle:CY,CX,R, annulus:CY,CX,R1,R2 (in pixels, row before column; pixels at the "
    "radius are included), or mask.npy, the path or URL of an array with the shape of a frame."
)


def _range(text: str) -> slice:
    try:
        return parse_range(text)
    except ValueError:
        raise click.BadParameter(f"{text}: expected a range, such as 0:1000 or ::10") from None


_job_options = together(
    file_options,
    chunks_option,
    click.option(
        "--frames",
        metavar="START:STOP[:STEP]",
        type=_range,
        help="Read only these frames, in scan order: 0:1000, or ::10 for every tenth.",
    ),
    click.option(
        "--region",
        metavar="MASK.npy",
        help="Read only the scan points where an array of the scan's shape (path or URL) is true.",
    ),
    click.option(
        "--out",
        multiple=True,
        required=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Output file (.npy, .zarr, .mrc or .png); can be repeated. {} is replaced by the name "
        "of the result.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue from the intermediate results in OUT.partial, if any.",
    ),
    click.option("--overwrite", is_flag=True, help="Overwrite existing files."),
    cluster_options,
)


@click.command(short_help="Compute the image of a virtual detector.")
@click.option("--detector", required=True, metavar="WHICH", help=_detector_help)
@_radius_option
@_job_options
@click.pass_context
def virtual(ctx: click.Context, /, detector: str, **options: Any) -> None:
    """Compute a virtual image: the sum over the detector's pixels at each scan point.

    bf is the bright disk in the mean of 32 frames spread over the scan: a circle around the centre
    of mass of the pixels above half-maximum, with their total area. adf is the annulus from 1.2
    times that radius to the nearest edge of the frame. Sums of integers are exact.

    \b
    Examples:
      mrcdist virtual movie.mrc --detector bf --out bf.npy --out bf.png
      mrcdist virtual s3://bucket/20241021_00405_movie.mrc --detector annulus:128,127.5,30,60 \\
        --out adf.zarr --scheduler-file scheduler.json --resume
    """
    _run(ctx, [("virtual", VirtualImage, detector)], options)


@click.command(short_help="Compute the mean of all frames.")
@_job_options
@click.pass_context
def mean(ctx: click.Context, /, **options: Any) -> None:
    """Compute the mean of all frames.

    \b
    Example:
      mrcdist mean s3://bucket/20241021_00405_movie.mrc --out mean.npy --out mean.png --workers 4
    """
    _run(ctx, [("mean", MeanPattern, None)], options)


@click.command(short_help="Compute the centre of mass of each frame.")
@click.option(
    "--detector", default="all", show_default=True, metavar="WHICH", help="all, " + _detector_help
)
@_radius_option
@_job_options
@click.pass_context
def com(ctx: click.Context, /, detector: str, **options: Any) -> None:
    """Compute the centre of mass of each frame, as two maps: its row (y) and its column (x).

    Positions are in the units of the frame axes if these are calibrated, otherwise in pixels
    counted from 0; the summary states which. NaN for frames without intensity.

    \b
    Example:
      mrcdist com movie.mrc --detector circle:128,127.5,30 --out com.npy --jobqueue slurm.yaml
    """
    _run(ctx, [("com", CenterOfMass, detector)], options)


@click.command(short_help="Compute several results in one pass.")
@click.option(
    "--virtual",
    "virtuals",
    multiple=True,
    metavar="NAME=WHICH",
    help="Virtual image with a name of your choice; can be repeated: " + _detector_help,
)
@click.option("--com", "has_com", is_flag=True, help="Centre of mass of each frame.")
@click.option(
    "--com-detector", default="all", show_default=True, metavar="WHICH", help="Detector for --com."
)
@together(
    *(click.option(f"--{name}", is_flag=True, help=text) for name, (_, text) in _PATTERNS.items())
)
@_radius_option
@_job_options
@click.pass_context
def reduce(
    ctx: click.Context,
    /,
    virtuals: tuple[str, ...],
    has_com: bool,
    com_detector: str,
    **options: Any,
) -> None:
    """Compute several results while the file is read once.

    The name of each result replaces {} in --out: the one given to --virtual, or com, mean,
    sum, max or std. Additional results cost little, because each byte is read only once.

    \b
    Example:
      mrcdist reduce movie.mrc --virtual bf=bf --virtual adf=annulus:128,127.5,30,60 \\
        --com --mean --std --out "results/{}.npy" --out "results/{}.png" --resume
    """
    requests: list[_Request] = [
        (name, VirtualImage, detector) for name, detector in map(_parse_virtual, virtuals)
    ]
    requests += [("com", CenterOfMass, com_detector)] * has_com
    requests += [(name, kind, None) for name, (kind, _) in _PATTERNS.items() if options.pop(name)]
    if not requests:
        raise ArgumentError(
            "no results are requested",
            code="results-empty",
            argument="virtuals",
            remedy="add `--mean`, `--com`, `--std` or `--virtual bf=bf`",
        )
    _run(ctx, requests, options)


def _parse_virtual(text: str) -> tuple[str, str]:
    """Split NAME=WHICH."""
    name, equals, detector = text.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise ArgumentError(
            f"`virtuals={text}`",
            code="result-name-invalid",
            argument="virtuals",
            cause="the name, used in file names, may have letters, digits, '_', '-' and '.'",
            remedy="pass a name and a detector, such as --virtual bf=circle:128,128,30",
        )
    return name, detector


def _run(ctx: click.Context, requests: Sequence[_Request], options: dict[str, Any]) -> None:
    """Compute results, write them, and print the summary."""
    file = {name: options.pop(name) for name in (*FILE_OPTIONS, "chunks")}
    job = {name: options.pop(name) for name in ("frames", "resume", "overwrite")}
    region, radius, as_json = (options.pop(name, None) for name in ("region", "radius", "as_json"))
    outputs = _outputs([name for name, *_ in requests], options.pop("out"))
    results: dict[str, Quantity] = {}
    any_automatic = any(detector in _AUTOMATIC for *_, detector in requests)
    for name, kind, detector in requests:
        # The radius is for automatic detectors, and an error if there are only others.
        own_radius = None if any_automatic and detector not in _AUTOMATIC else radius
        arguments = [] if detector is None else [parse_detector(detector, own_radius)]
        results[name] = kind(*arguments)
    with stopping(ctx):
        # Imported late: commands that only inspect files do not need distributed.
        from mrcdist.batch.clusters import ClusterOptions
        from mrcdist.batch.run_job import run

        cluster_options = ClusterOptions(**options)  # its errors come before any request
        summary = run(
            plan_from_options(**file),
            results,
            outputs,
            cluster_options,
            sys.stderr,
            region=region and ArrayFile(region),
            **job,
        )
    print_notes(summary.notes)
    print_report(summary, as_json=as_json)


def _outputs(names: Sequence[str], paths: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Return the files of each result."""
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(
                f"two results are called {name}",
                code="result-name-invalid",
                argument="virtuals",
                cause="they would be written to the same files",
                remedy=f"give `virtuals` a name other than {name}",
            )
    for path in paths:
        if len(names) > 1 and _PLACEHOLDER not in str(path):
            raise ArgumentError(
                f"`out={path}`",
                code="destination-invalid",
                argument="out",
                cause=f"{len(names)} results would be written to one file",
                remedy=f'put {_PLACEHOLDER} in its name: --out "{_PLACEHOLDER}{path.suffix}"',
            )
    return {
        name: tuple(Path(str(path).replace(_PLACEHOLDER, name)) for path in paths) for name in names
    }
