"""Bounded caches: the oldest entries are dropped, and threads may use them concurrently."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mrcdist.remembered import Remembered


def test_cache_entries_may_be_added_during_a_lookup() -> None:
    remembered: Remembered[Any, None] = Remembered(8)

    class AddsDuringComparison(str):
        """A key whose comparison adds an entry, as another thread might."""

        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            remembered.keep(f"file {len(added)}", None)
            added.append(other)
            return str.__eq__(self, other)

    added: list[object] = []
    for number in range(5):
        remembered.keep(str(number), None)
    assert AddsDuringComparison("3") in remembered
    assert added


def test_oldest_cache_entries_are_dropped() -> None:
    remembered: Remembered[str, int] = Remembered(2)
    for number, name in enumerate("abac"):
        assert remembered.keep(name, number) == number
    assert {name: remembered.get(name) for name in "abc"} == {"a": 2, "b": None, "c": 3}
    assert remembered.pop("a") == 2
    assert list(remembered) == ["c"]


def test_concurrent_threads_do_not_exceed_the_cache_limit() -> None:
    remembered: Remembered[int, int] = Remembered(3)

    def keep(first: int) -> None:
        for number in range(first, first + 2000):
            assert remembered.keep(number, number) == number

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            for future in [threads.submit(keep, number * 2000) for number in range(4)]:
                future.result()
    finally:
        sys.setswitchinterval(interval)
    assert len(remembered) == 3
