"""How far a job is: a bar on a terminal, a line now and then in the log of a batch job."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TextIO

from dask.utils import format_bytes

__all__ = ["Progress"]

_BAR = 30


class Progress:
    """Tells how much is done, how fast, and how long the rest will take.

    Parameters
    ----------
    stream : text stream
        A bar is drawn where it is a terminal.
    total : int
        Bytes of frames in the whole job.
    kept : int
        Bytes of frames whose results are there from an earlier run.
    interval : float, default 30
        Seconds between lines in a log; a terminal is redrawn at most ten times a second.
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        total: int,
        kept: int = 0,
        *,
        interval: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._interval = 0.1 if self._terminal else interval
        self._clock = clock
        self._total = total
        self._kept = kept
        self._done = kept
        self._begun = self._told = clock()

    def add(self, done: int) -> None:
        """Count bytes of frames whose results are there."""
        self._done += done
        now = self._clock()
        if now - self._told >= self._interval or self._done >= self._total:
            self._told = now
            self._tell(now)

    def close(self) -> None:
        """Leave the bar where it is, and begin a new line."""
        if self._terminal:
            print(file=self._stream, flush=True)

    def _tell(self, now: float) -> None:
        part = self._done / self._total if self._total else 1.0
        seconds = max(now - self._begun, 1e-6)
        speed = (self._done - self._kept) / seconds
        left = (self._total - self._done) / speed if speed else math.inf
        text = (
            f"{part:4.0%}  {format_bytes(self._done)} of {format_bytes(self._total)}, "
            f"{format_bytes(int(speed))}/s"
        )
        text += f", {_duration(left)} left" if self._done < self._total else ""
        if self._terminal:
            full = round(_BAR * part)
            print(
                f"\r\033[K[{'#' * full}{'.' * (_BAR - full)}] {text}",
                end="",
                file=self._stream,
                flush=True,
            )
        else:
            print(f"{time.strftime('%H:%M:%S')}  {text}", file=self._stream, flush=True)


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
