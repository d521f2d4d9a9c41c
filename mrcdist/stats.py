"""Counters of blocks, requests and bytes read by this process, for summaries and tests."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import astuple, dataclass

from mrcdist.system_calls import ForkSafeLock


@dataclass(frozen=True)
class ReadStats:
    """Totals of one process: blocks, successful range requests, and failed attempts.

    Bytes are fetched over the network or by ``read()``, or mapped from local files; mapped pages
    that are not touched are never read.
    """

    blocks: int = 0
    requests: int = 0
    retries: int = 0
    bytes_fetched: int = 0
    bytes_mapped: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes fetched or mapped."""
        return self.bytes_fetched + self.bytes_mapped

    def __add__(self, other: ReadStats) -> ReadStats:
        return self.combined(other, operator.add)

    def __sub__(self, other: ReadStats) -> ReadStats:
        return self.combined(other, operator.sub)

    def combined(self, other: ReadStats, operation: Callable[[int, int], int]) -> ReadStats:
        """Apply an operation to each pair of numbers."""
        return ReadStats(*map(operation, astuple(self), astuple(other)))


_lock = ForkSafeLock()
_total = dict.fromkeys(ReadStats.__dataclass_fields__, 0)


def add(**amounts: int) -> None:
    """Add to the totals of this process."""
    with _lock:
        for name, amount in amounts.items():
            _total[name] += amount


def snapshot() -> ReadStats:
    """Return the totals of this process so far.

    Returns
    -------
    ReadStats
        The totals. Subtract those before a computation from those after it.

    Examples
    --------
    >>> from mrcdist import read_mrc, stats
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> [ds] = read_mrc(write_acquisition("counted", scan_shape=(4, 4)).movie)
    >>> before = stats.snapshot()
    >>> frame = ds["data"][1, 2].compute()
    >>> (stats.snapshot() - before).blocks
    1
    """
    with _lock:
        return ReadStats(**_total)
