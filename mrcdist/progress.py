"""Progress of whatever takes longer than two seconds: a bar on a terminal, lines in a log."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self, TextIO

from dask.callbacks import Callback
from dask.utils import format_bytes

from mrcdist.errors import MrcdistError
from mrcdist.printable import printable

_PATIENCE = 2.0
_WIDTH = 30
_REDRAW = 1.0

# Seconds between two looks at which blocks are written.
_INTERVAL = 2.0


@dataclass(eq=False)
class Progress:
    """Progress of a task: a bar on a terminal, lines in a log, while in a ``with`` block.

    Any thread may `advance` it. Nothing is printed in the first `patience` seconds. In a log, a
    line is printed after every `interval` seconds; by default, per quarter of the steps. Steps that
    an earlier run has `kept` do not count for the speed, which is printed of steps `in_bytes`, with
    the time left. The stream is standard error unless another is given, so that results stay alone
    on standard output.
    """

    label: str
    total: int
    _: KW_ONLY
    kept: int = 0
    in_bytes: bool = False
    interval: float | None = None
    stream: TextIO | None = None
    patience: float = _PATIENCE
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._label, self._total = printable(self.label), max(self.total, 1)
        self._done = self.kept
        # A program without a console has no standard error.
        self._stream: TextIO | None = self.stream or sys.stderr
        self._terminal = self._stream is not None and self._stream.isatty()
        self._begun = self._printed_at = self.clock()
        self._lock = threading.Lock()
        self._printed = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar where it is, and begin a new line."""
        if self._terminal and self._printed >= 0:
            self._print("\n")

    def advance(self, steps: int = 1) -> None:
        """Count steps that are done."""
        with self._lock:
            self._done = min(self._done + steps, self._total)
            now = self.clock()
            percent = 100 * self._done // self._total
            if now - self._begun >= self.patience and self._due(now, percent):
                self._printed, self._printed_at = percent, now
                self._print(self._bar(now) if self._terminal else self._line(now))

    def _due(self, now: float, percent: int) -> bool:
        elapsed = now - self._printed_at
        if self._terminal:
            return percent != self._printed or elapsed >= _REDRAW
        if self.interval is None:
            return percent // 25 > self._printed // 25
        return elapsed >= self.interval or self._done == self._total

    def _bar(self, now: float) -> str:
        full = _WIDTH * self._done // self._total
        return f"\r\033[K{self._label}  [{'#' * full:.<{_WIDTH}}] {self._state(now)}"

    def _line(self, now: float) -> str:
        stamp = "" if self.interval is None else f"{time.strftime('%H:%M:%S')}  "
        return f"{stamp}{self._label}: {self._state(now)}\n"

    def _state(self, now: float) -> str:
        percent = f"{100 * self._done // self._total} %"
        if not self.in_bytes:
            return percent
        speed = (self._done - self.kept) / max(now - self._begun, 1e-6)
        left = self._total - self._done
        return (
            f"{percent}  {format_bytes(self._done)} of {format_bytes(self._total)}, "
            f"{format_bytes(int(speed))}/s"
            + (f", {_duration(left / speed if speed else math.inf)} left" if left else "")
        )

    def _print(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class TaskProgress(Callback):  # type: ignore[misc]
    """Progress of the tasks that dask computes in this process, while in a ``with`` block."""

    def __init__(self, label: str, **options: Any) -> None:
        super().__init__()
        self._label, self._options = label, options

    def _start_state(self, graph: Any, state: Any) -> None:
        total = len(state["ready"]) + len(state["waiting"])
        self._progress = Progress(self._label, total, **self._options)

    def _posttask(self, *_task: Any) -> None:
        self._progress.advance()

    def _finish(self, *_graph: Any) -> None:
        self._progress.close()


@contextmanager
def show_progress(
    kept: Callable[[], Collection[Any]] | None, blocks: int, stream: TextIO | None
) -> Iterator[None]:
    """Show how many blocks are written, for as long as the ``with`` block runs.

    `kept` returns those that are; None for a file that one task writes, of which nothing is shown.
    """
    if stream is None or kept is None:
        yield
        return
    ended = threading.Event()

    def watch(progress: Progress) -> None:
        known = 0
        while not ended.wait(_INTERVAL):
            with suppress(MrcdistError):  # a store that does not answer now
                now = len(kept())
                progress.advance(max(now - known, 0))
                known = max(now, known)

    with Progress("writing blocks", blocks, stream=stream, patience=0) as progress:
        thread = threading.Thread(target=watch, args=(progress,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        progress.advance(blocks)  # all are written; the last look at them was earlier


@contextmanager
def waiting(
    words: Callable[[], str],
    *,
    say: Callable[[str], None] | None = None,
    patience: float = _PATIENCE,
) -> Iterator[None]:
    """Report once what is waited for, if the block takes longer than `patience` seconds.

    `words` are as they are when they are said; by default on standard error if it is a terminal.
    """
    if say is None and not _has_terminal():  # workers: no thread per request
        yield
        return
    timer = threading.Timer(patience, lambda: (say or _on_a_terminal)(words()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _has_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _on_a_terminal(text: str) -> None:
    if _has_terminal():
        print(text, file=sys.stderr, flush=True)
