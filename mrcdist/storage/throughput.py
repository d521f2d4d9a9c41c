"""Measured throughput of each store, from which follows up to which gap ranges are merged."""

from __future__ import annotations

import weakref
from typing import Any

__all__ = ["Throughput", "throughput_of"]

# What object stores are like, until it is known: seconds to the first byte, bytes a second.
_LATENCY = 0.015
_BANDWIDTH = 70e6

# Each answer counts so much beside all before it.
_SHARE = 0.1

# Bodies that last long enough to tell a bandwidth.
_TELLING = 2**20

_LEAST_GAP = 2**16
_MAX_GAP = 2**22


class Throughput:
    """Latency and bandwidth of one connection to a store, while others are in use too."""

    def __init__(self) -> None:
        self.latency = _LATENCY
        self.bandwidth = _BANDWIDTH

    def note(self, before: float, during: float, nbytes: int) -> None:
        """Take note of an answer: seconds before and from its first bytes on, and its length."""
        self.latency += _SHARE * (before - self.latency)
        if nbytes >= _TELLING and during > 0:
            self.bandwidth += _SHARE * (nbytes / during - self.bandwidth)

    @property
    def max_gap(self) -> int:
        """Unwanted bytes that cost less than another request; see `mrcdist.plan.coalesce`."""
        return int(min(max(self.latency * self.bandwidth, _LEAST_GAP), _MAX_GAP))


_throughputs: weakref.WeakKeyDictionary[Any, Throughput] = weakref.WeakKeyDictionary()


def throughput_of(filesystem: Any) -> Throughput:
    """Return what this process knows of a store, by the filesystem that it is reached through."""
    return _throughputs.setdefault(filesystem, Throughput())
