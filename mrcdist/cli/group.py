"""The group that all commands belong to: errors are printed, not raised."""

from __future__ import annotations

from typing import Any

import click

from mrcdist.errors import MrcdistError

__all__ = ["main"]


class _Group(click.Group):
    """Commands whose errors are ours to print, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MrcdistError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mrcdist")
def main() -> None:
    """Look at MRC files, on disk or in an object store, and compute images from them."""
