"""Output to the console: options for arguments, unsupported characters, JSON, full disks, pipes."""

from __future__ import annotations

import ast
import codecs
import errno
import io
import json
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, TextIO

import click
import numpy as np

from mrcdist.options import as_word
from mrcdist.printable import printable
from mrcdist.storage.redact import redact_text

# Replacements for characters that an encoding lacks. Letters lose their accents instead.
_REPLACEMENTS = {
    "×": "x",
    "−": "-",
    "–": "-",
    "µ": "u",
    "μ": "u",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "█": "#",
    "░": ".",
}


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Return a replacement for what an encoding lacks, as an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_replacement, error.object[error.start : error.end])), error.end


def _replacement(char: str) -> str:
    letters = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    escaped = printable(char).encode("ascii", "backslashreplace").decode()
    return _REPLACEMENTS.get(char) or letters or escaped


_ERRORS = "mrcdist.replace"
codecs.register_error(_ERRORS, _replace)


class UnwritableError(Exception):
    """Standard output cannot be written; `closed` if the reader closed the pipe, as `head` does."""

    def __init__(self, failure: OSError) -> None:
        super().__init__(str(failure))
        self.closed = failure.errno == errno.EPIPE


class Console(io.TextIOBase):
    """Text stream that replaces characters its encoding lacks.

    If the stream cannot be written, `UnwritableError` is raised for `required` output, which is the
    result of a command; other output is dropped. `stream` is None if the program was started
    without it.
    """

    # For click, which would wrap a stream with the encoding ASCII in another one.
    encoding = "utf-8"
    errors = "strict"

    def __init__(self, stream: TextIO | None, *, required: bool) -> None:
        self._stream = stream or io.StringIO()
        self.stream_encoding = getattr(stream, "encoding", None) or "utf-8"
        self._required = required
        self._failure = None if stream else OSError(errno.EBADF, os.strerror(errno.EBADF))

    def write(self, text: str, /) -> int:
        """Write text, with replacements for characters that the console cannot show."""
        # Errors and warnings may repeat command-line arguments, which may contain secrets.
        shown = text if self._required else redact_text(text)
        fitted = shown.encode(self.stream_encoding, _ERRORS).decode(self.stream_encoding)
        self._attempt(lambda: self._stream.write(fitted))
        return len(text)

    @property
    def buffer(self) -> Any:
        """The same stream for bytes in UTF-8: click writes shell completions to it."""

        def write(data: bytes) -> int:
            return self.write(data.decode("utf-8", "surrogateescape"))

        return SimpleNamespace(write=write, flush=self.flush)

    def flush(self) -> None:
        """Flush the stream."""
        self._attempt(self._stream.flush)

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def _attempt(self, call: Callable[[], object]) -> None:
        if self._failure is None:
            try:
                call()
            except OSError as error:
                _discard(self._stream)
                self._failure = error
        if self._failure is not None and self._required:
            raise UnwritableError(self._failure) from None


def _discard(stream: TextIO) -> None:
    """Redirect a stream to the null device: Python flushes it at exit, which would fail."""
    with suppress(OSError, ValueError):  # there is no file descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


@contextmanager
def console() -> Iterator[None]:
    """Replace standard output and standard error by a `Console` each in a ``with`` block."""
    streams = sys.stdout, sys.stderr
    sys.stdout = Console(sys.stdout, required=True)
    sys.stderr = Console(sys.stderr, required=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


# An argument in a message: `scan_file`, or, with a value in Python's syntax, `scan_file=None`.
# It is a separate word: in "/data/`chunks`.mrc", it is part of a file name.
_ARGUMENT = re.compile(r"(?<![^\s(])`([a-z]\w*)(?:=([^`]*))?`(?=[,;:)]|\.?(?:\s|$))")


def echo(text: str = "", *, err: bool = False, label: str = "", verbatim: bool = False) -> None:
    """Print lines of text, with control characters escaped, and options in place of arguments.

    Text from a file is printed `verbatim`, without options in it.
    """
    shown = text if verbatim else _with_options(text)
    click.echo(label + printable(shown, lines=True), err=err)


def print_error(text: str) -> None:
    """Print an error to standard error."""
    echo(text, err=True, label=f"{click.style('error:', fg='red', bold=True)} ")


def print_notes(notes: Iterable[str]) -> None:
    """Print warnings to standard error."""
    for note in notes:
        echo(note, err=True, label=f"{click.style('warning:', fg='yellow')} ")


def _with_options(text: str) -> str:
    """Replace the arguments in a message by the options of the current command, if it has them."""
    context = click.get_current_context(silent=True)
    command = context and context.command
    if context and isinstance(command, click.Group):  # an error is printed by the group
        command = command.get_command(context, context.invoked_subcommand or "")
    options = {
        str(option.name): max(option.opts, key=len)
        for option in (command.params if command else ())
        if isinstance(option, click.Option)
    }

    def replace(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in options:
            return match[0]
        is_flag = value is None or value == "True"
        return f"`{options[name]}`" if is_flag else f"`{options[name]} {_as_value(name, value)}`"

    return _ARGUMENT.sub(replace, text)


def _as_value(name: str, value: str) -> str:
    """Convert the value of an argument to that of its option, quoted for a shell."""
    try:
        parsed = ast.literal_eval(value)
        if parsed is ...:
            return "FILE"
        if name == "storage_options" and isinstance(parsed, dict):
            return shlex.join(f"{key}={json.dumps(option)}" for key, option in parsed.items())
        word = as_word(name, parsed)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        # Not a literal: a description of the value, such as (x, y), or a path.
        word = value.strip("(),").replace(", ", ",").upper() if value.startswith("(") else value
    return shlex.quote(value if word is None else word)


def print_json(value: Any) -> None:
    """Print JSON: in ASCII if there are characters that the console cannot show."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_as_list)
    encoding = getattr(sys.stdout, "stream_encoding", "utf-8")
    if printable(text, lines=True).encode(encoding, "ignore").decode(encoding) != text:
        text = json.dumps(value, indent=2, default=_as_list)
    click.echo(text)


def _as_list(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be converted to JSON")


def print_report(report: Any, *, as_json: bool) -> None:
    """Print a report as JSON or as text."""
    if as_json:
        print_json(report.as_dict())
    else:
        echo(str(report))
