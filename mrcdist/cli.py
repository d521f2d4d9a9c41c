"""The command line: look at a file and at what reading it will cost."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import click

from mrcdist.errors import MrcdistError, MrcdistWarning
from mrcdist.planner import Plan
from mrcdist.reader import plan_mrc
from mrcdist.result.axes import axes_dicts
from mrcdist.result.metadata import metadata_dict, original_metadata_dict
from mrcdist.validator import validate as validate_file

__all__ = ["main"]

Command = Callable[..., Any]


class _Group(click.Group):
    """Commands whose errors are ours to print, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MrcdistError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)


def _pairs(_ctx: click.Context, _param: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    """Turn KEY=VALUE to storage options; dots nest, JSON values are taken as such."""
    options: dict[str, Any] = {}
    for text in given:
        path, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter("KEY=VALUE is needed, such as anon=true")
        *parents, last = path.split(".")
        into = options
        for parent in parents:
            into = into.setdefault(parent, {})
        try:
            into[last] = json.loads(value)
        except json.JSONDecodeError:
            into[last] = value
    return options


def _axes(
    _ctx: click.Context, _param: click.Parameter, given: str | None
) -> tuple[int, ...] | None:
    if given is None:
        return None
    try:
        return tuple(int(part) for part in given.split(","))
    except ValueError:
        raise click.BadParameter(
            "integers with commas between are needed, such as 256,256"
        ) from None


def _chunks(_ctx: click.Context, _param: click.Parameter, given: str) -> Any:
    """Block lengths such as 32,256,-1,-1; a size such as "256 MiB"; or auto."""
    parts = [part.strip() for part in given.split(",")]
    if all(part.lstrip("-").isdigit() or part == "auto" for part in parts) and len(parts) > 1:
        return tuple(part if part == "auto" else int(part) for part in parts)
    return int(given) if given.lstrip("-").isdigit() else given


def _file_options(command: Command) -> Command:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--storage-option",
            "storage_options",
            multiple=True,
            callback=_pairs,
            metavar="KEY=VALUE",
            help="For fsspec; dots nest: client_kwargs.endpoint_url=http://... . "
            "Keep secrets in the environment rather than here.",
        ),
        click.option("--allow-truncated", is_flag=True, help="Plan for what is there."),
        click.option(
            "--metadata-file",
            default="auto",
            show_default=True,
            help='Direct Electron sidecar; "none" for none.',
        ),
        click.option(
            "--navigation-shape",
            callback=_axes,
            metavar="X,Y,...",
            help="Navigation axes in HyperSpy's order; one may be -1.",
        ),
        click.argument("url"),
    ):
        command = option(command)
    return command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mrcdist")
def main() -> None:
    """Look at MRC files, on disk or in an object store, without reading their pixels."""


@main.command()
@_file_options
def info(as_json: bool, **options: Any) -> None:
    """Say what a file is: shape, dtype, axes, calibration.

    \b
    Example:
      mrcdist info s3://bucket/20241021_00405_movie.mrc
    """
    plan, notes = _plan(**options)
    metadata = metadata_dict(plan.location.name, plan.sidecar, plan.extended)
    if as_json:
        _print_json(
            {
                "url": plan.location.shown,
                "shape": list(plan.shape),
                "dtype": str(plan.dtype),
                "axes": axes_dicts(plan.axes),
                "metadata": metadata,
                "original_metadata": original_metadata_dict(
                    plan.header, plan.sidecar, plan.extended
                ),
                "notes": notes,
            }
        )
        return
    header = plan.header
    order = {"<": "little-endian", ">": "big-endian"}[header.byteorder]
    click.echo(plan.location.shown)
    click.echo(f"  file     {plan.source.parts[0].identity}")
    click.echo(f"  array    {' × '.join(map(str, plan.shape))} {plan.dtype}")
    click.echo(f"  stored   mode {header.mode}, {order}, data from byte {header.data_offset}")
    for axis in plan.axes:
        kind = "navigation" if axis.navigate else "signal"
        step = f"{axis.scale:.6g} {axis.units} a step" if axis.units else "uncalibrated"
        start = f", from {axis.offset:.6g} {axis.units}" if axis.units and axis.offset else ""
        click.echo(f"  axis     {axis.name:<8}{axis.size:>8}  {kind}, {step}{start}")
    for path, value in _leaves(metadata):
        click.echo(f"  {path} = {value}")
    for label in header.labels:
        click.echo(f"  label    {label}")
    _print_notes(notes)


@main.command()
@click.option(
    "--threads", default=1, show_default=True, help="Threads of a worker, for its memory."
)
@click.option(
    "--chunks",
    default="auto",
    show_default=True,
    callback=_chunks,
    help='Such as 32,256,-1,-1 or "256 MiB".',
)
@_file_options
def explain(as_json: bool, chunks: Any, threads: int, **options: Any) -> None:
    """Say what reading a file on a cluster will cost: tasks, bytes, requests, memory.

    \b
    Example:
      mrcdist explain s3://bucket/20241021_00405_movie.mrc --chunks 32,256,-1,-1
    """
    plan, notes = _plan(chunks=chunks, **options)
    cost = plan.explain(threads=threads)
    if as_json:
        _print_json({**cost.as_dict(), "notes": notes})
        return
    click.echo(str(cost))
    _print_notes([note for note in notes if note not in cost.remarks])


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--statistics",
    is_flag=True,
    help="Compare minimum, maximum, mean and RMS with the data: reads all of the file.",
)
@click.option(
    "--storage-option",
    "storage_options",
    multiple=True,
    callback=_pairs,
    metavar="KEY=VALUE",
    help="For fsspec, as with info.",
)
@click.argument("url")
@click.pass_context
def validate(ctx: click.Context, url: str, as_json: bool, **options: Any) -> None:
    """Check whether a file keeps to MRC2014; exit status 0 if it does, 1 if not.

    \b
    Example:
      mrcdist validate s3://bucket/tomogram.mrc --statistics
    """
    found = validate_file(url, **options)
    if as_json:
        _print_json(found.as_dict())
    else:
        click.echo(str(found))
    ctx.exit(0 if found.valid else 1)


def _plan(metadata_file: str, **options: Any) -> tuple[Plan, list[str]]:
    """Plan, with the warnings as a list."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        wanted = None if metadata_file == "none" else metadata_file
        plan = plan_mrc(metadata_file=wanted, **options)
    return plan, list(plan.notes)


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"warning: {note}", err=True)


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    click.echo()


def _leaves(tree: dict[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """Dotted paths and values of nested dicts, without the empty ones."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            found += _leaves(value, here)
        elif value != "":
            found.append((here, value))
    return found
