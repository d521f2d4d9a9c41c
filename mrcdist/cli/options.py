"""Options shared by several commands, and their conversion to Python arguments."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import click
import numpy as np
from click.shell_completion import CompletionItem

from mrcdist.api import plan_mrc
from mrcdist.dataset import Plan
from mrcdist.errors import MrcdistWarning
from mrcdist.options import ReadOptions, help_for

__all__ = [
    "chunks_option",
    "file_options",
    "json_option",
    "plan_from_options",
    "print_json",
    "print_notes",
    "storage_option",
    "url_argument",
]

Command = Callable[..., Any]


def _pairs(_ctx: click.Context, _param: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    """Convert KEY=VALUE to storage options; dots nest, values are parsed as JSON if possible."""
    options: dict[str, Any] = {}
    for text in given:
        path, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter("expected KEY=VALUE, such as anon=true")
        *parents, last = path.split(".")
        into: Any = options
        for parent in parents:
            into = into.setdefault(parent, {})
            if not isinstance(into, dict):
                raise click.BadParameter(f"{parent} is given both a value and nested options")
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
            f"{given}: expected comma-separated integers, such as 256,256"
        ) from None


def _chunks(_ctx: click.Context, _param: click.Parameter, given: str) -> Any:
    """Parse chunk lengths such as 32,256,-1,-1, a size such as "256 MiB", or auto."""
    parts = [part.strip() for part in given.split(",")]
    if all(part.lstrip("-").isdigit() or part == "auto" for part in parts) and len(parts) > 1:
        return tuple(part if part == "auto" else int(part) for part in parts)
    return int(given) if given.lstrip("-").isdigit() else given


def _files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete file names; URLs are left as typed."""
    return [CompletionItem(incomplete, type="file")]


url_argument = click.argument("url", shell_complete=_files)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

storage_option = click.option(
    "--storage-option",
    "storage_options",
    multiple=True,
    callback=_pairs,
    metavar="KEY=VALUE",
    help="Option for fsspec; dots nest: client_kwargs.endpoint_url=http://... . "
    "Keep secrets in the environment instead.",
)

chunks_option = click.option(
    "--chunks",
    default=ReadOptions.chunks,
    show_default=True,
    callback=_chunks,
    help=help_for("chunks"),
)


def file_options(command: Command) -> Command:
    """Add the options that select a file and its interpretation, and `--json`."""
    for option in (
        json_option,
        storage_option,
        click.option("--allow-truncated", is_flag=True, help=help_for("allow_truncated")),
        click.option(
            "--mode0",
            type=click.Choice(["int8", "uint8"]),
            help=help_for("mode0"),
        ),
        click.option(
            "--scan-file",
            default=ReadOptions.scan_file,
            shell_complete=_files,
            show_default=True,
            help=help_for("scan_file"),
        ),
        click.option(
            "--metadata-file",
            default=ReadOptions.metadata_file,
            shell_complete=_files,
            show_default=True,
            help=help_for("metadata_file"),
        ),
        click.option(
            "--navigation-shape",
            callback=_axes,
            metavar="X,Y,...",
            help=help_for("navigation_shape"),
        ),
        url_argument,
    ):
        command = option(command)
    return command


def plan_from_options(metadata_file: str, scan_file: str, **options: Any) -> tuple[Plan, list[str]]:
    """Return the plan and its warnings as a list."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        plan = plan_mrc(
            metadata_file=None if metadata_file == "none" else metadata_file,
            scan_file=None if scan_file == "none" else scan_file,
            **options,
        )
    return plan, list(plan.notes)


def print_notes(notes: Sequence[str]) -> None:
    """Print warnings to standard error."""
    for note in notes:
        click.echo(f"{click.style('warning:', fg='yellow')} {note}", err=True)


def print_json(value: Any) -> None:
    """Print JSON, with arrays as lists."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=_plain)
    click.echo()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
