"""Options shared by several commands, and their conversion to Python arguments."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import Field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click
from click.shell_completion import CompletionItem

from mrcdist.api import plan_mrc
from mrcdist.cli.console import print_notes
from mrcdist.discover.auxiliary_files import NamedFile
from mrcdist.errors import MrcdistWarning
from mrcdist.options import BYTE_ORDERS, ReadOptions
from mrcdist.read_plan import Plan
from mrcdist.storage.redact import is_secret_key, redact

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

# Of workers, threads: more than any machine has.
COUNT = click.IntRange(1, 100_000)

# Environment variables of storage options that are secret; and of URLs with secrets in them.
_STORAGE = "MRCDIST_STORAGE_"
_URLS = "MRCDIST_URL"

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
"""A whole number in ASCII digits, as many as a length may have."""


def together(*decorators: Decorator) -> Decorator:
    """Return several options as one decorator; help lists them in this order."""

    def add(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return add


def _pairs(_ctx: click.Context, _param: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    """Convert KEY=VALUE to storage options; dots nest, values are parsed as JSON if possible.

    The value of a KEY alone is in the environment.
    """
    options: dict[str, Any] = {}
    for text in given:
        path, equals, value = text.partition("=")
        if not equals:
            name = _STORAGE + re.sub("[^A-Za-z0-9]+", "_", path).upper()
            found = os.environ.get(name)
            # The text may be a secret whose key was forgotten: it is not repeated.
            if found is None and is_secret_key(path):
                print_notes(["a storage option without a value is not in the environment either"])
                continue
            if found is None:
                raise click.BadParameter(
                    "expected KEY=VALUE, such as anon=true, or a KEY whose value is in the "
                    f"environment: that of a.b in {_STORAGE}A_B"
                )
            value = found
        *parents, last = keys = path.split(".")
        if not all(keys):
            raise click.BadParameter(f"{path!r} has an empty key")
        into: Any = options
        for parent in parents:
            into = into.setdefault(parent, {})
            if not isinstance(into, dict):
                raise click.BadParameter(f"{parent} is given both a value and nested options")
        try:
            into[last] = json.loads(value)
        except (ValueError, RecursionError):  # no JSON, or more digits or brackets than it takes
            into[last] = value
    return options


def _axes(given: str) -> tuple[int, ...]:
    parts = [part.strip() for part in given.split(",")]
    if not all(map(_WHOLE.fullmatch, parts)):
        raise click.BadParameter(f"{given}: expected comma-separated integers, such as 256,256")
    return tuple(map(int, parts))


def _skipped(given: str) -> int | tuple[int, ...]:
    parts = [part.strip() for part in given.split(",")]
    if len(parts) > 2 or not all(map(_WHOLE.fullmatch, parts)):
        raise click.BadParameter(f"{given}: expected one or two integers, such as 57 or 0,1")
    return tuple(map(int, parts)) if len(parts) > 1 else int(given)


def _chunks(given: str) -> Any:
    """Parse chunk lengths such as 32,256,-1,-1, a size such as "256 MiB", or auto.

    In JSON, lengths of each chunk, [[4,4],[9],...], or of some axes, {"0":4}.
    """
    if given.startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            found = json.loads(given)
            if isinstance(found, dict):
                return {int(axis): length for axis, length in found.items()}
            return tuple(tuple(part) if isinstance(part, list) else part for part in found)
    parts = [part.strip() for part in given.split(",")]
    if not all(part == "auto" or _WHOLE.fullmatch(part) for part in parts):
        return given
    lengths = [part if part == "auto" else int(part) for part in parts]
    return tuple(lengths) if len(lengths) > 1 else lengths[0]


def _file(given: str) -> str | None:
    return None if given == "none" else given


def _files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete file names; URLs are left as typed."""
    return [CompletionItem(incomplete, type="file")]


def _url(given: str) -> str:
    """Return a URL with the secrets that the environment has of it."""
    for whole in os.environ.get(_URLS, "").split():
        if given == redact(whole):
            return whole
    if "=***" in given:
        raise click.BadParameter(
            f"*** stands for a secret: set the environment variable {_URLS} to the whole URL"
        )
    return given


url_argument = click.argument("url", type=_url, shell_complete=_files)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

storage_option = click.option(
    "--storage-option",
    "storage_options",
    multiple=True,
    callback=_pairs,
    metavar="KEY=VALUE",
    help="Option for fsspec; dots nest: client_kwargs.endpoint_url=http://... . For a KEY without "
    f"a value, the value is taken from the environment: that of secret from {_STORAGE}SECRET.",
)

# How an option that takes a byte order is written.
BYTE_ORDER: dict[str, Any] = {
    "type": click.Choice(list(BYTE_ORDERS)),
    "callback": lambda _ctx, _param, given: given and BYTE_ORDERS[given],
}

# What is particular to an option: how its value is written.
_WRITTEN: dict[str, dict[str, Any]] = {
    "chunks": {"type": _chunks, "metavar": "TEXT", "show_default": True},
    "navigation_shape": {"type": _axes, "metavar": "X,Y,..."},
    "skip_frames": {"default": "0", "type": _skipped, "metavar": "N[,M]", "show_default": True},
    "endianness": BYTE_ORDER,
}


def _reading_option(argument: Field[Any]) -> Decorator:
    """The option for an argument of a read, by its type, its default and its help."""
    kind = get_type_hints(ReadOptions)[argument.name]
    how: dict[str, Any] = {"default": argument.default}
    if kind is bool:
        how = {"is_flag": True}
    elif kind == NamedFile:
        how |= {"metavar": "FILE", "type": _file, "shell_complete": _files, "show_default": True}
    elif words := [
        word for one in get_args(kind) if get_origin(one) is Literal for word in get_args(one)
    ]:
        how["type"] = click.Choice(words)
    how |= _WRITTEN.get(argument.name, {})
    named = f"--{argument.name.replace('_', '-')}"
    return click.option(named, help=argument.metadata["help"], **how)


def reading_options(*names: str) -> Decorator:
    """The options for arguments of `ReadOptions`, in its order."""
    return together(*(_reading_option(each) for each in fields(ReadOptions) if each.name in names))


# All that selects a file and its interpretation, but for its chunks.
_INTERPRETATION = tuple(one.name for one in fields(ReadOptions) if one.name != "chunks")
FILE_OPTIONS = ("url", "storage_options", *_INTERPRETATION)

chunks_option = reading_options("chunks")

# The options that select the files of a dataset and their meaning, and --json.
file_options = together(
    click.argument(
        "url",
        nargs=-1,
        required=True,
        type=_url,
        callback=lambda _ctx, _param, urls: urls[0] if len(urls) == 1 else urls,
        shell_complete=_files,
        metavar="URL...",
    ),
    reading_options(*_INTERPRETATION),
    storage_option,
    json_option,
)


def plan_from_options(**options: Any) -> Plan:
    """Return the plan; commands print its notes themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        return plan_mrc(**options)
