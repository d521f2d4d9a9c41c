"""What a process remembers from one call to the next: the latest of its kind, never all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["Remembered"]

_K = TypeVar("_K")
_V = TypeVar("_V")


class Remembered(Generic[_K, _V]):
    """A table from which the oldest entries go when there are too many.

    Any thread, and a finalizer in the midst of any call, may look and change at any time.

    Parameters
    ----------
    most : int
        How many entries are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: dict[_K, _V] = {}

    def __contains__(self, key: _K) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[_K]:
        return iter(list(self._entries))

    def get(self, key: _K) -> _V | None:
        """Return an entry, or None."""
        return self._entries.get(key)

    def keep(self, key: _K, entry: _V) -> _V:
        """Keep an entry, which is the newest now, and return it."""
        self._entries.pop(key, None)
        self._entries[key] = entry
        while len(self._entries) > self._most:
            with suppress(RuntimeError, StopIteration):  # another thread was faster
                self._entries.pop(next(iter(self._entries)), None)
        return entry

    def forget(self, key: _K) -> _V | None:
        """Return an entry that is kept no longer, or None."""
        return self._entries.pop(key, None)
