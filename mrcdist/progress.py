"""How far something is, for whoever waits longer than two seconds for it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO

__all__ = ["Progress", "waiting"]

_PATIENCE = 2.0
_WIDTH = 32


class Progress:
    """Says how far something is: a bar on a terminal, a line a quarter elsewhere.

    What is done within two seconds says nothing. Use it in a ``with`` block; any thread may
    `advance` it.

    Parameters
    ----------
    label : str
        What is being done.
    total : int
        Steps until it is done.
    stream : text stream, optional
        Default: standard error, so that results stay alone on standard output.
    patience : float, default 2
        Seconds before the first word.
    """

    def __init__(
        self, label: str, total: int, *, stream: TextIO | None = None, patience: float = _PATIENCE
    ) -> None:
        self._label = label
        self._total = max(total, 1)
        # A program without a console has no standard error.
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self._speak_at = time.monotonic() + patience
        self._lock = threading.Lock()
        self._done = 0
        self._shown = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar where it is, and begin a new line."""
        if self._stream is not None and self._shown >= 0 and self._stream.isatty():
            self._stream.write("\n")
            self._stream.flush()

    def advance(self, steps: int = 1) -> None:
        """Count steps that are done."""
        with self._lock:
            self._done = min(self._done + steps, self._total)
            if time.monotonic() >= self._speak_at:
                self._show(100 * self._done // self._total)

    def _show(self, percent: int) -> None:
        if self._stream is None:
            return
        if self._stream.isatty():
            if percent != self._shown:
                bar = ("█" * (percent * _WIDTH // 100)).ljust(_WIDTH, "░")
                self._stream.write(f"\r{self._label}  {bar} {percent:3} %")
                self._shown = percent
        elif percent // 25 > self._shown // 25:
            self._stream.write(f"{self._label}: {percent} %\n")
            self._shown = percent
        self._stream.flush()


@contextmanager
def waiting(
    words: Callable[[], str],
    *,
    say: Callable[[str], None] | None = None,
    patience: float = _PATIENCE,
) -> Iterator[None]:
    """Say once what is waited for, if the block takes longer than two seconds.

    Parameters
    ----------
    words : callable
        What to say, as it is when it is said.
    say : callable, optional
        Default: print it on standard error where that is a terminal.
    patience : float, default 2
        Seconds.
    """
    timer = threading.Timer(patience, lambda: (say or _on_a_terminal)(words()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _on_a_terminal(text: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
