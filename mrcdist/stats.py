"""What this process has read: for summaries, and for tests that count rather than time."""

from __future__ import annotations

import threading
from dataclasses import dataclass

__all__ = ["ReadStats", "add", "snapshot"]


@dataclass(frozen=True)
class ReadStats:
    """Totals of one process.

    Attributes
    ----------
    blocks : int
        Blocks read.
    requests, retries : int
        Ranged requests that succeeded, and attempts that had to be repeated.
    bytes_fetched : int
        Bytes that came over the network or by read().
    bytes_mapped : int
        Bytes of address space mapped from local files; untouched pages are never read.
    """

    blocks: int = 0
    requests: int = 0
    retries: int = 0
    bytes_fetched: int = 0
    bytes_mapped: int = 0


_lock = threading.Lock()
_total = dict.fromkeys(ReadStats.__dataclass_fields__, 0)


def add(**amounts: int) -> None:
    """Add to this process's totals."""
    with _lock:
        for name, amount in amounts.items():
            _total[name] += amount


def snapshot() -> ReadStats:
    """Return this process's totals so far."""
    with _lock:
        return ReadStats(**_total)
