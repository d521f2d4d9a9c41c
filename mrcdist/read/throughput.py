"""Measured latency and bandwidth of each store."""

from __future__ import annotations

import weakref
from typing import Any

from mrcdist.read_limits import ReadLimits


class Throughput:
    """Latency and bandwidth of one connection to a store while others are also in use.

    Until they are measured, those of the limits are assumed.
    """

    def __init__(self) -> None:
        self._latency: float | None = None
        self._bandwidth: float | None = None

    def note(self, before: float, during: float, nbytes: int, limits: ReadLimits) -> None:
        """Record a response: its length, the seconds until its first bytes, and since then."""
        weight = limits.response_weight
        latency, bandwidth = self._assumed(limits)
        self._latency = latency + weight * (before - latency)
        if nbytes >= limits.min_bandwidth_sample and during > 0:
            self._bandwidth = bandwidth + weight * (nbytes / during - bandwidth)

    def max_gap(self, limits: ReadLimits) -> int:
        """Return how many unwanted bytes cost less than a request; see `mrcdist.plan.coalesce`."""
        latency, bandwidth = self._assumed(limits)
        return int(min(max(latency * bandwidth, limits.least_gap), limits.most_gap))

    def _assumed(self, limits: ReadLimits) -> tuple[float, float]:
        return (
            limits.latency if self._latency is None else self._latency,
            limits.bandwidth if self._bandwidth is None else self._bandwidth,
        )


_throughputs: weakref.WeakKeyDictionary[Any, Throughput] = weakref.WeakKeyDictionary()


def throughput_of(filesystem: Any) -> Throughput:
    """Return the throughput of the store of an fsspec filesystem, as measured by this process."""
    return _throughputs.setdefault(filesystem, Throughput())
