"""The group that all commands belong to: errors are printed, not raised."""

from __future__ import annotations

import os
import re
import shlex
from typing import Any

import click

from mrcdist.errors import MrcdistError

__all__ = ["main"]

_ARGUMENTS = {
    "allow_truncated=True": "--allow-truncated",
    r"navigation_shape=\(x, y(, \.\.\.)?\)": "--navigation-shape X,Y,...",
    r"(metadata|scan)_file=None": r"--\1-file none",
    r"(metadata|scan)_file=\.\.\.": r"--\1-file FILE",
    r"(metadata|scan|tilt)_file\b(?!=)": r"--\1-file",
    r"navigation_shape\b(?!=)": "--navigation-shape",
    r"mode0=\"(\w+)\"": r"--mode0 \1",
    r"chunks=\(([^)]*)\)": r"--chunks \1",
    r"chunks='([^']*)'": r"--chunks \1",
    r'pass "auto" or None .*\(-1: the whole axis\)': 'pass auto, a size such as "256 MiB", or a '
    "length for each axis (-1: the whole axis): 32,256,-1,-1",
}


class _Group(click.Group):
    """Commands whose errors are ours to print, without a traceback."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if not any(sign in args[0] for sign in "./\\"):
                raise
            hint = f"For a file: mrcdist info {shlex.quote(args[0])}"
            raise click.UsageError(f"{error.message} {hint}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MrcdistError as error:
            said = _as_options(str(error))
            click.echo(f"{click.style('error:', fg='red', bold=True)} {said}", err=True)
            ctx.exit(1)


def _as_options(text: str) -> str:
    """Name Python's arguments as the command line does."""
    for pattern, option in _ARGUMENTS.items():
        text = re.sub(rf"\b{pattern}", option, text)
    return text


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="mrcdist")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Look at MRC files, on disk or in an object store, and compute images from them.

    A file is a path or any fsspec URL: s3://, https://, ... . Colours are for terminals only, and
    not where NO_COLOR is set.

    \b
    Examples:
      mrcdist info s3://bucket/20241021_00405_movie.mrc
      mrcdist preview tomogram.mrc -o look.png
      mrcdist virtual --help
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
