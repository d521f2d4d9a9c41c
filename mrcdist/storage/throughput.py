"""Measured throughput of each store, from which follows up to which gap ranges are merged."""

from __future__ import annotations

import weakref
from typing import Any

from mrcdist.plan.read_limits import DEFAULT_LIMITS, ReadLimits

__all__ = ["Throughput", "throughput_of"]


class Throughput:
    """Latency and bandwidth of one connection to a store, while others are in use too."""

    def __init__(self, limits: ReadLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self.latency = limits.latency
        self.bandwidth = limits.bandwidth

    def note(self, before: float, during: float, nbytes: int) -> None:
        """Record an answer: seconds before and from its first bytes on, and its length."""
        weight = self._limits.answer_weight
        self.latency += weight * (before - self.latency)
        if nbytes >= self._limits.telling_answer and during > 0:
            self.bandwidth += weight * (nbytes / during - self.bandwidth)

    @property
    def max_gap(self) -> int:
        """Unwanted bytes that cost less than another request; see `mrcdist.plan.coalesce`."""
        gap = max(self.latency * self.bandwidth, self._limits.least_gap)
        return int(min(gap, self._limits.most_gap))


_throughputs: weakref.WeakKeyDictionary[Any, Throughput] = weakref.WeakKeyDictionary()


def throughput_of(filesystem: Any, limits: ReadLimits) -> Throughput:
    """Return what this process knows of a store, by the filesystem that it is reached through."""
    return _throughputs.setdefault(filesystem, Throughput(limits))
