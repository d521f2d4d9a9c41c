"""Measured throughput of each store, from which follows up to which gap ranges are merged."""

from __future__ import annotations

import weakref
from typing import Any

from mrcdist.plan.read_limits import DEFAULT_LIMITS

__all__ = ["Throughput", "throughput_of"]


class Throughput:
    """Latency and bandwidth of one connection to a store, while others are in use too."""

    def __init__(self) -> None:
        self.latency = DEFAULT_LIMITS.latency
        self.bandwidth = DEFAULT_LIMITS.bandwidth

    def note(self, before: float, during: float, nbytes: int) -> None:
        """Record an answer: seconds before and from its first bytes on, and its length."""
        self.latency += DEFAULT_LIMITS.answer_weight * (before - self.latency)
        if nbytes >= DEFAULT_LIMITS.telling_answer and during > 0:
            self.bandwidth += DEFAULT_LIMITS.answer_weight * (nbytes / during - self.bandwidth)

    @property
    def max_gap(self) -> int:
        """Unwanted bytes that cost less than another request; see `mrcdist.plan.coalesce`."""
        gap = max(self.latency * self.bandwidth, DEFAULT_LIMITS.least_gap)
        return int(min(gap, DEFAULT_LIMITS.most_gap))


_throughputs: weakref.WeakKeyDictionary[Any, Throughput] = weakref.WeakKeyDictionary()


def throughput_of(filesystem: Any) -> Throughput:
    """Return what this process knows of a store, by the filesystem that it is reached through."""
    return _throughputs.setdefault(filesystem, Throughput())
