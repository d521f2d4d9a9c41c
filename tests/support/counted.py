"""What this process reads, counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from mrcdist import stats


class Counted:
    """What was read within the block, once it has ended."""

    read: stats.ReadStats


@contextmanager
def counted() -> Iterator[Counted]:
    """Count what is read within the block."""
    before, result = stats.snapshot(), Counted()
    yield result
    after = stats.snapshot()
    result.read = stats.ReadStats(
        **{
            field.name: getattr(after, field.name) - getattr(before, field.name)
            for field in dataclasses.fields(after)
        }
    )
