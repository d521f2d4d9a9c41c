"""Bounded caches of a process: the latest entries of a table, and unpickled arguments of tasks."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Remembered(dict[_K, _V]):
    """Dict with at most `max_entries` entries; the oldest are dropped.

    Safe to use from several threads at once, and from finalizers, which may run within any call.
    """

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries

    def __iter__(self) -> Iterator[_K]:
        return iter(list(super().__iter__()))

    def keep(self, key: _K, entry: _V) -> _V:
        """Store an entry as the newest one, and return it."""
        self.pop(key, None)
        self[key] = entry
        while len(self) > self._max_entries:
            with suppress(RuntimeError, StopIteration):  # another thread was faster
                self.pop(next(super().__iter__()), None)
        return entry


@functools.lru_cache(maxsize=64)
def unpickle_once(packed: bytes) -> Any:
    """Unpickle an immutable object that many tasks of this process share."""
    return pickle.loads(packed)  # noqa: S301 itself part of a pickled task
