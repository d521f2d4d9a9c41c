"""Options shared by several commands, and their conversion to Python arguments."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import Field, fields
from typing import Any, get_args, get_type_hints

import click
from click.shell_completion import CompletionItem

from mrcdist.api import plan_mrc
from mrcdist.cli.console import print_notes
from mrcdist.discover.auxiliary_files import NamedFile
from mrcdist.discover.images import Images
from mrcdist.errors import MrcdistWarning
from mrcdist.format.pixels import Mode0
from mrcdist.options import BYTE_ORDERS, ReadOptions
from mrcdist.read_plan import Plan
from mrcdist.storage.redact import is_secret_key, redact

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

# Number of workers or threads.
COUNT = click.IntRange(1, 100_000)

# Environment variables with secrets: prefix for storage options; URLs.
_STORAGE = "MRCDIST_STORAGE_"
_URLS = "MRCDIST_URL"

# An integer that fits into 64 bits.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def together(*decorators: Decorator) -> Decorator:
    """Combine options in one decorator; help lists them in this order."""

    def add(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return add


def _pairs(_ctx: click.Context, _param: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
    """Convert KEY=VALUE to storage options; dots nest, values are parsed as JSON if possible.

    For a KEY without a value, the value is taken from the environment.
    """
    options: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            name = _STORAGE + re.sub("[^A-Za-z0-9]+", "_", path).upper()
            variable = os.environ.get(name)
            # Do not repeat the text, which may be a secret without its key.
            if variable is None and is_secret_key(path):
                print_notes(
                    ["the value of a storage option given as KEY alone is not in the environment"]
                )
                continue
            if variable is None:
                raise click.BadParameter(
                    "expected KEY=VALUE, such as anon=true, or a KEY whose value is in the "
                    f"environment: that of a.b in {_STORAGE}A_B"
                )
            value = variable
        *parents, last = keys = path.split(".")
        if not all(keys):
            raise click.BadParameter(f"{path!r} has an empty key")
        target: Any = options
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise click.BadParameter(f"{parent} is given both a value and nested options")
        try:
            target[last] = json.loads(value)
        except (ValueError, RecursionError):  # not JSON, or nested too deeply
            target[last] = value
    return options


def _axes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(map(_INTEGER.fullmatch, parts)):
        raise click.BadParameter(f"{text}: expected comma-separated integers")
    return tuple(map(int, parts))


def _skipped(text: str) -> int | tuple[int, ...]:
    numbers = _axes(text)
    if len(numbers) > 2:
        raise click.BadParameter(f"{text}: expected one or two integers, such as 57 or 0,1")
    return numbers if len(numbers) > 1 else numbers[0]


def _chunks(text: str) -> Any:
    """Parse chunk lengths such as 32,256,-1,-1, a size such as "256 MiB", or auto.

    In JSON, lengths of each chunk, [[4,4],[9],...], or of some axes, {"0":4}.
    """
    if text.startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            chunks = json.loads(text)
            if isinstance(chunks, dict):
                return {int(axis): length for axis, length in chunks.items()}
            return tuple(tuple(axis) if isinstance(axis, list) else axis for axis in chunks)
    parts = [part.strip() for part in text.split(",")]
    if not all(part == "auto" or _INTEGER.fullmatch(part) for part in parts):
        return text
    lengths = [part if part == "auto" else int(part) for part in parts]
    return tuple(lengths) if len(lengths) > 1 else lengths[0]


def _file(text: str) -> str | None:
    return None if text == "none" else text


def _images(
    _ctx: click.Context, _param: click.Parameter, texts: Sequence[str]
) -> str | Sequence[str] | None:
    return _file(texts[0]) if list(texts) in (["auto"], ["none"]) else texts


def _files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete file names; URLs stay as typed."""
    return [CompletionItem(incomplete, type="file")]


def _url(text: str) -> str:
    """Return the URL, unredacted if the environment has it."""
    for url in os.environ.get(_URLS, "").split():
        if text == redact(url):
            return url
    if "=***" in text:
        raise click.BadParameter(
            f"*** stands for a secret: set the environment variable {_URLS} to the whole URL"
        )
    return text


url_argument = click.argument("url", type=_url, shell_complete=_files)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

storage_option = click.option(
    "--storage-option",
    "storage_options",
    multiple=True,
    callback=_pairs,
    metavar="KEY=VALUE",
    help="Option for fsspec; dots nest: client_kwargs.endpoint_url=http://... . The value of a KEY "
    f"alone, such as secret, is taken from the environment: {_STORAGE}SECRET.",
)

# Keyword arguments of an option that takes a byte order.
BYTE_ORDER: dict[str, Any] = {
    "type": click.Choice(list(BYTE_ORDERS)),
    "callback": lambda _ctx, _param, word: word and BYTE_ORDERS[word],
}

# Keyword arguments of options whose values have a syntax of their own.
_SYNTAX: dict[str, dict[str, Any]] = {
    "chunks": {"type": _chunks, "metavar": "TEXT", "show_default": True},
    "navigation_shape": {"type": _axes, "metavar": "X,Y,..."},
    "skip_frames": {"default": "0", "type": _skipped, "metavar": "N[,M]", "show_default": True},
    "endianness": BYTE_ORDER,
    "mode0": {"type": click.Choice(get_args(Mode0))},
}


def _reading_option(argument: Field[Any]) -> Decorator:
    """Return the option for a field of `ReadOptions`, from its type, default and help."""
    kind = get_type_hints(ReadOptions)[argument.name]
    keywords: dict[str, Any] = {"default": argument.default}
    if kind is bool:
        keywords = {"is_flag": True}
    elif kind in (NamedFile, Images):
        keywords |= {"metavar": "FILE", "shell_complete": _files, "show_default": True}
        if kind == NamedFile:
            keywords["type"] = _file
        else:
            keywords |= {"multiple": True, "default": [argument.default], "callback": _images}
    keywords |= _SYNTAX.get(argument.name, {})
    name = f"--{argument.name.replace('_', '-')}"
    return click.option(name, help=argument.metadata["help"], **keywords)


def reading_options(*names: str) -> Decorator:
    """Return the options for fields of `ReadOptions`, in their order there."""
    return together(*(_reading_option(each) for each in fields(ReadOptions) if each.name in names))


_IMAGES = [one.name for one in fields(ReadOptions) if one.metadata["of_images"]]
# Arguments that select a file and its interpretation.
_INTERPRETATION = [one.name for one in fields(ReadOptions) if one.name not in ("chunks", *_IMAGES)]
FILE_OPTIONS = ("url", "storage_options", *_INTERPRETATION)

chunks_option = reading_options("chunks")
image_options = reading_options(*_IMAGES)

# Options for the files of a dataset and their interpretation, and --json.
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
    """Return a plan without emitting its warnings: commands print them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        return plan_mrc(**options)
