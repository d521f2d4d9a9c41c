"""Tasks of a batch job, on a worker: read blocks, reduce them, join results."""

from __future__ import annotations

import math
import os
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from mrcdist import stats
from mrcdist.batch.schedule import Task
from mrcdist.compute.reductions import Reduction
from mrcdist.read.source import MrcSource
from mrcdist.stats import ReadStats

__all__ = ["Ledger", "PartialResult", "Work", "compute", "join", "merge_ledgers", "total"]

Ledger = Mapping[str, ReadStats]
"""What each process has read for a job so far; totals only grow."""

# Not the pid alone: containers on one host number theirs from 1.
_PROCESS = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
_before: dict[str, ReadStats] = {}


@dataclass(frozen=True)
class Work:
    """What the tasks of a job have in common.

    Parameters
    ----------
    source : MrcSource
        What to read.
    reduction : Reduction
        What to make of it.
    job : str
        A name of its own, under which processes count what they read.
    """

    source: MrcSource
    reduction: Reduction
    job: str


@dataclass(frozen=True)
class PartialResult:
    """The result of a task, or of several that are joined.

    Attributes
    ----------
    values : ndarray
    ledger : mapping
        See `Ledger`.
    """

    values: npt.NDArray[Any] = field(repr=False)
    ledger: Ledger


def compute(task: Task, work: Work) -> PartialResult:
    """Read the blocks of a task one after the other, and reduce them.

    Raises
    ------
    FileChangedError, MissingFileError, AccessDeniedError, ReadError, FormatError
    """
    before = _before.setdefault(work.job, stats.snapshot())
    rows, columns = work.reduction.window
    window = (slice(rows.start, rows.stop), slice(columns.start, columns.stop))
    values: npt.NDArray[Any] | None = None
    for block in task:
        lengths = [stop - start for start, stop in block]
        frames = work.source[(*(slice(*span) for span in block), *window)]
        frames = frames.reshape(math.prod(lengths), len(rows), len(columns))
        found = work.reduction.reduce(frames)
        values = found if values is None else work.reduction.join([values, found])
        # The next block needs the memory of this one.
        del frames
    if values is None:
        raise ValueError("a task without blocks")
    return PartialResult(values, {_PROCESS: stats.snapshot() - before})


def join(pieces: Sequence[PartialResult], work: Work) -> PartialResult:
    """Put the results of consecutive tasks together."""
    values = work.reduction.join([piece.values for piece in pieces])
    return PartialResult(values, merge_ledgers(piece.ledger for piece in pieces))


def merge_ledgers(ledgers: Iterable[Ledger]) -> dict[str, ReadStats]:
    """Keep the latest count of each process."""
    merged: dict[str, ReadStats] = {}
    for ledger in ledgers:
        for process, read in ledger.items():
            merged[process] = merged.get(process, ReadStats()).combined(read, max)
    return merged


def total(ledger: Ledger) -> ReadStats:
    """Add up over the processes."""
    return sum(ledger.values(), ReadStats())
