"""What is unusual but unambiguous about a dataset, collected while it is planned."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Notes"]


class Notes:
    """Collector of notes, each a sentence; `mrcdist.api` turns them into warnings.

    Whoever plans a dataset passes one collector down to all that may find something unusual.
    """

    def __init__(self) -> None:
        self._sentences: list[str] = []

    def add(self, *sentences: str) -> None:
        """Add notes, in the order in which they are to be shown."""
        self._sentences += sentences

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._sentences))
