"""Standard output and standard error: what the console can show of a text, and its end."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click
import numpy as np

from mrcdist.printable import escape_unprintable, printable
from mrcdist.storage.redact import redact_text

# What is written for a character that the console does not have; else its letters without accents.
_INSTEAD = {
    "×": "x",
    "−": "-",
    "–": "-",
    "…": "...",
    "µ": "u",
    "μ": "u",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "█": "#",
    "░": ".",
}


class Unwritable(Exception):  # noqa: N818 a signal to the command group
    """Standard output takes no more; `closed` where a reader closed the pipe, as `head` does."""

    def __init__(self, reason: str, *, closed: bool) -> None:
        super().__init__(reason)
        self.closed = closed


class Console(io.TextIOBase):
    """A text stream that shows what its encoding can, and does not fail where another one is full.

    Where what is written is `needed`, being the result, a stream that cannot be written to raises
    `Unwritable`; else it is done without. There is no stream where the program was started without.
    """

    # Of what is written here. click would write UTF-8 to an ASCII console.
    encoding = "utf-8"
    errors = "strict"

    def __init__(self, stream: TextIO | None, *, needed: bool) -> None:
        self._stream = stream or _Closed()
        self._needed = needed
        self._failure: OSError | None = None

    @property
    def shown_as(self) -> str:
        """The encoding of the console."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str, /) -> int:
        """Write a text, with replacements for what the console does not have."""
        if not isinstance(text, str):
            raise TypeError(f"a str is needed, not {type(text).__name__}")
        # Errors and warnings may repeat what the caller typed.
        shown = text if self._needed else redact_text(text)
        fitting = _fitted(shown, self.shown_as, _replacement)
        self._attempt(lambda stream: stream.write(fitting))
        return len(text)

    @property
    def buffer(self) -> _Encoded:
        """The same stream, for text in UTF-8; click writes shell completions there."""
        return _Encoded(self)

    def flush(self) -> None:
        """Hand on what was written."""
        self._attempt(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The file descriptor, where there is one."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """True."""
        return True

    def _attempt(self, call: Callable[[TextIO], object]) -> None:
        if self._failure is None:
            try:
                call(self._stream)
            except OSError as error:
                _discard(self._stream)
                self._failure = error
        if self._failure is not None and self._needed:
            closed = self._failure.errno == errno.EPIPE
            raise Unwritable(str(self._failure), closed=closed) from None


class _Encoded:
    """A binary stream on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, data: bytes, /) -> int:
        """Write text in UTF-8."""
        self._console.write(bytes(data).decode("utf-8", "surrogateescape"))
        return len(data)

    def flush(self) -> None:
        """Hand on what was written."""
        self._console.flush()


class _Closed(io.StringIO):
    """Stands for a stream that the program was started without."""

    def write(self, _: str, /) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


@contextmanager
def console() -> Iterator[None]:
    """Let all that the block prints go through a `Console`."""
    streams = sys.stdout, sys.stderr
    sys.stdout = Console(sys.stdout, needed=True)
    sys.stderr = Console(sys.stderr, needed=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def say(text: str = "", *, err: bool = False) -> None:
    """Print lines, with escapes for what would steer a terminal."""
    click.echo(printable(text, lines=True), err=err)


def print_error(text: str) -> None:
    """Print an error to standard error."""
    mark = click.style("error:", fg="red", bold=True)
    click.echo(f"{mark} {printable(text, lines=True)}", err=True)


def print_notes(notes: Sequence[str]) -> None:
    """Print warnings to standard error."""
    for note in notes:
        mark = click.style("warning:", fg="yellow")
        click.echo(f"{mark} {printable(note, lines=True)}", err=True)


def print_json(value: Any) -> None:
    """Print JSON, with arrays as lists; it is read back as it was, whatever the console shows."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    encoding = sys.stdout.shown_as if isinstance(sys.stdout, Console) else sys.stdout.encoding
    text = escape_unprintable(text, lambda char: char if char == "\n" else _in_json(char))
    click.echo(_fitted(text, encoding, _in_json))


def print_report(report: Any, *, as_json: bool) -> None:
    """Print what a command found: as JSON, or as it reads."""
    if as_json:
        print_json(report.as_dict())
    else:
        say(str(report))


def _fitted(text: str, encoding: str, replacement: Callable[[str], str]) -> str:
    """Return a text with replacements for the characters that an encoding does not have."""
    if _fits(text, encoding):
        return text
    return "".join(
        char
        if _fits(char, encoding)
        else replacement(char).encode(encoding, "replace").decode(encoding)
        for char in text
    )


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeError:
        return False
    return True


def _replacement(char: str) -> str:
    letters = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return _INSTEAD.get(char) or letters or _escape(char)


def _escape(char: str) -> str:
    escaped = printable(char)
    return escaped if escaped != char else char.encode("ascii", "backslashreplace").decode()


def _in_json(char: str) -> str:
    return json.dumps(char)[1:-1]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _discard(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere: Python would write it out at the end, and fail."""
    with suppress(OSError, ValueError):  # one without a file descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
