"""Progress bars, shown after two seconds: a bar on a terminal, lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Self, TextIO

from dask.callbacks import Callback
from dask.utils import format_bytes, format_time

from mrcdist.errors import MrcdistError
from mrcdist.printable import printable

_PATIENCE = 2.0
_BAR_WIDTH = 30
_REDRAW_INTERVAL = 1.0

# Interval between checks of which blocks are written, in seconds.
_CHECK_INTERVAL = 2.0


@dataclass(eq=False)
class Progress:
    """Progress of an operation: a bar on a terminal, lines in a log; used in a ``with`` block.

    Any thread may call `advance`. Nothing is printed during the first `patience` seconds. A log
    receives a line every `interval` seconds, or by default at each quarter of the steps. If the
    steps are bytes (`in_bytes`), speed and remaining time are also printed; the `initial` steps,
    done by an earlier run, do not count for the speed. The stream is standard error by default, so
    that standard output contains results only.
    """

    label: str
    total: int
    _: KW_ONLY
    initial: int = 0
    in_bytes: bool = False
    interval: float | None = None
    stream: TextIO | None = None
    patience: float = _PATIENCE
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._total = max(self.total, 1)
        self._done = self.initial
        # A program without a console has no standard error.
        self._stream: TextIO | None = self.stream or sys.stderr
        self._is_terminal = self._stream is not None and self._stream.isatty()
        self._started = self._printed_at = self.clock()
        self._printed_percent = -1
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the line of the bar."""
        if self._is_terminal and self._printed_percent >= 0:
            print(file=self._stream, flush=True)

    def advance(self, steps: int = 1) -> None:
        """Add completed steps."""
        with self._lock:
            self._done = min(self._done + steps, self._total)
            now = self.clock()
            percent = 100 * self._done // self._total
            if self._stream and now - self._started >= self.patience and self._is_due(now, percent):
                self._printed_percent, self._printed_at = percent, now
                self._stream.write(self._text(now, percent))
                self._stream.flush()

    def _is_due(self, now: float, percent: int) -> bool:
        elapsed = now - self._printed_at
        if self._is_terminal:
            return percent != self._printed_percent or elapsed >= _REDRAW_INTERVAL
        if self.interval is None:
            return percent // 25 > self._printed_percent // 25
        return elapsed >= self.interval or self._done == self._total

    def _text(self, now: float, percent: int) -> str:
        """Return the bar of a terminal, or a line of a log."""
        label, state = printable(self.label), f"{percent} %"
        if self.in_bytes:
            speed = (self._done - self.initial) / max(now - self._started, 1e-6)
            remaining = self._total - self._done
            state += f"  {format_bytes(self._done)} of {format_bytes(self._total)}, "
            state += f"{format_bytes(int(speed))}/s"
            state += f", {format_time(remaining / speed)} left" if remaining and speed else ""
        if self._is_terminal:
            filled = _BAR_WIDTH * self._done // self._total
            return f"\r\033[K{label}  [{'#' * filled:.<{_BAR_WIDTH}}] {state}"
        timestamp = "" if self.interval is None else f"{time.strftime('%H:%M:%S')}  "
        return f"{timestamp}{label}: {state}\n"


class TaskProgress(Callback):  # type: ignore[misc]
    """Progress of the tasks that dask runs in this process; used in a ``with`` block."""

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
    written: Callable[[], Collection[Any]] | None, n_blocks: int, stream: TextIO | None
) -> Iterator[None]:
    """Show how many blocks have been written, in a ``with`` block.

    `written` returns the written blocks; it is None for a file written by one task, for which
    nothing is shown.
    """
    if stream is None or written is None:
        yield
        return
    done = threading.Event()

    def watch(progress: Progress) -> None:
        known = 0
        while not done.wait(_CHECK_INTERVAL):
            with suppress(MrcdistError):  # the store does not respond
                now = len(written())
                progress.advance(max(now - known, 0))
                known = max(now, known)

    with Progress("writing blocks", n_blocks, stream=stream, patience=0) as progress:
        thread = threading.Thread(target=watch, args=(progress,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        progress.advance(n_blocks)  # includes blocks written since the last check


@contextmanager
def waiting(
    message: Callable[[], str],
    *,
    log: Callable[[str], None] | None = None,
    patience: float = _PATIENCE,
) -> Iterator[None]:
    """Print a message once if the block takes longer than `patience` seconds.

    `message` is called at that time. By default, the message goes to standard error if that is a
    terminal.
    """
    if log is None:
        stream = sys.stderr
        if stream is None or not stream.isatty():  # on workers, a thread per request is too slow
            yield
            return
        log = partial(print, file=stream, flush=True)
    timer = threading.Timer(patience, lambda: log(message()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
