"""Command `convert`: MRC files to Zarr, or cropped, decompressed or merged to a new MRC file."""

from __future__ import annotations

import sys
from dataclasses import asdict, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mrcdist.cli.cluster import cluster_options
from mrcdist.cli.console import echo, print_json, print_notes
from mrcdist.cli.group import stopping
from mrcdist.cli.options import (
    BYTE_ORDER,
    FILE_OPTIONS,
    chunks_option,
    file_options,
    plan_from_options,
)

if TYPE_CHECKING:
    from mrcdist.convert_api import Conversion


@click.command(short_help="Convert a file or a part of it to Zarr or to another MRC file.")
@file_options
@click.argument("destination", metavar="DESTINATION")
@chunks_option
@click.option(
    "--select",
    default="",
    metavar="RANGES",
    help="Part of the array, one range per axis, slowest first: 0:10,:,64:192,64:192.",
)
@click.option(
    "--dtype",
    type=click.Choice(
        ["int8", "uint8", "int16", "uint16", "float16", "float32", "complex64", "uint4"]
    ),
    help="Data type of the new file (default: that of the source). Values must fit.",
)
@click.option(
    "--byte-order",
    "byteorder",
    **BYTE_ORDER,
    help="Byte order of the new file (default: little, or that of an extended header).",
)
@click.option(
    "--compressor",
    type=click.Choice(["zstd", "lz4", "lz4hc", "zlib", "blosclz"]),
    help="Compression of Zarr (default: zstd). For an MRC file: write MRCZ, section by section.",
)
@click.option(
    "--no-statistics",
    "statistics",
    flag_value=False,
    default=True,
    help="Do not compute the header statistics; mark them as undetermined.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option(
    "--resume",
    is_flag=True,
    help="Keep finished blocks if interrupted, and continue with those of an earlier run.",
)
@click.option(
    "--verify", is_flag=True, help="Read the new file back and compare it with the source."
)
@cluster_options
@click.pass_context
def convert(
    ctx: click.Context,
    /,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Convert an MRC file to Zarr or to another MRC file, in parallel, on a disk or in S3.

    The suffix of DESTINATION selects the format: .zarr is Zarr format 3 with shards, for zarr,
    xarray and dask; .ome.zarr is OME-Zarr, for volumes and tilt series; .zspy is for HyperSpy;
    anything else is an MRC file.

    Gzip, bzip2 and MRCZ files are decompressed, and the parts of a movie become one file. A scan
    keeps its shape and calibration, in a sidecar, if the new name ends in _movie.mrc.

    \b
    Examples:
      mrcdist convert movie.mrc movie.zarr --verify
      mrcdist convert movie.mrc crop_movie.mrc --select :,:,64:192,64:192
      mrcdist convert s3://bucket/tomogram.mrc.gz tomogram.mrc
      mrcdist convert tomogram.mrc tomogram.mrcz
      mrcdist convert 'movie_*.mrc' s3://bucket/20241021_00405_movie.mrc --resume
    """
    from mrcdist.batch.clusters import ClusterOptions
    from mrcdist.batch.run_job import computing
    from mrcdist.cluster_memory import task_memory
    from mrcdist.convert_api import ConvertArguments, plan_conversion, plan_source

    file = {name: options.pop(name) for name in FILE_OPTIONS}
    cluster_opts = ClusterOptions(
        **{field.name: options.pop(field.name) for field in fields(ClusterOptions)}
    )
    arguments = ConvertArguments(
        file["url"], storage_options=file["storage_options"], resume=resume, **options
    )
    printed: set[str] = set()
    say = partial(echo, err=True)

    def make_conversion() -> Conversion:
        plan = plan_source(arguments, partial(plan_from_options, **file))
        conversion = plan_conversion(plan, arguments)
        new = [note for note in (*plan.notes, *conversion.notes) if note not in printed]
        printed.update(new)
        print_notes(new)
        return conversion

    with stopping(ctx, "--resume continues" if resume else ""):
        # Report errors before waiting for a cluster.
        conversion = make_conversion()
        # Without `resume`, an unfinished file is removed.
        resume_hint = "call again, with `resume=True`" + " to keep finished blocks" * (not resume)
        with computing(cluster_opts, say, resume_hint) as cluster, cluster.running_dask():
            with cluster.client.as_current():
                if task_memory() is not None:  # default chunks must fit in the memory of a worker
                    conversion = make_conversion()
            report = conversion.run(stream=sys.stderr)
    if as_json:
        print_json(asdict(report))
    else:
        echo(str(report))
