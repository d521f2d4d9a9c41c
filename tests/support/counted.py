"""Counters of the reads of this process within a block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from mrcdist import stats


class Counted:
    """Counters of the block, available after it."""

    read: stats.ReadStats


@contextmanager
def counted() -> Iterator[Counted]:
    """Count blocks, requests and bytes read within the block."""
    before, result = stats.snapshot(), Counted()
    yield result
    after = stats.snapshot()
    result.read = stats.ReadStats(
        **{
            field.name: getattr(after, field.name) - getattr(before, field.name)
            for field in dataclasses.fields(after)
        }
    )
