"""A bounded cache of what a process keeps from one call to the next: the latest entries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Remembered(dict[_K, _V]):
    """A table of at most so many entries, from which the oldest go when there are too many.

    Any thread, and a finalizer in the midst of any call, may look and change at any time.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def __iter__(self) -> Iterator[_K]:
        return iter(list(super().__iter__()))

    def keep(self, key: _K, entry: _V) -> _V:
        """Keep an entry, which is the newest now, and return it."""
        self.pop(key, None)
        self[key] = entry
        while len(self) > self._most:
            with suppress(RuntimeError, StopIteration):  # another thread was faster
                self.pop(next(super().__iter__()), None)
        return entry

    def forget(self, key: _K) -> _V | None:
        """Return an entry that is kept no longer, or None."""
        return self.pop(key, None)
