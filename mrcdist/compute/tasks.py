"""Tasks of a pass over the frames, on a worker: read blocks, reduce them, join results."""

from __future__ import annotations

import functools
import math
import os
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist import stats
from mrcdist.compute.device import array_module, reduce_on
from mrcdist.compute.reduce_block import join_all, reduce_block
from mrcdist.compute.schedule import Block, Task, block_frames
from mrcdist.compute.tiles import FunctionFailedError, Reduction
from mrcdist.read.source import MrcSource
from mrcdist.remembered import Remembered
from mrcdist.stats import ReadStats
from mrcdist.system_calls import ForkSafeLock

__all__ = ["Ledger", "PartialResult", "Work", "compute", "join", "merge_ledgers", "total"]

Ledger = Mapping[str, ReadStats]
"""Bytes that each process has read for a job so far; totals only grow."""

# Not the pid alone: containers on one host number theirs from 1.
_PROCESS = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
# What this process had read before each of its latest jobs: a server has many.
_before: Remembered[str, ReadStats] = Remembered(256)
_before_lock = ForkSafeLock()


@dataclass(frozen=True)
class Work:
    """State that all tasks of a job share.

    Parameters
    ----------
    source : MrcSource
        What to read.
    reductions : tuple of Reduction
        What to make of it, in one pass.
    job : str
        A name of its own, under which processes count what they read.
    device : str
        What computes, of `DEVICES`.
    """

    source: MrcSource
    reductions: tuple[Reduction, ...]
    job: str
    device: str = "cpu"

    @property
    def joined_at_once(self) -> int:
        """Maximum number of results to join in one task."""
        return min(each.joined_at_once for each in self.reductions)

    @functools.cached_property
    def window(self) -> tuple[range, range]:
        """Rows and columns that any reduction needs."""
        windows = [each.window for each in self.reductions]
        rows, columns = (
            range(min(r.start for r in ranges), max(r.stop for r in ranges))
            for ranges in zip(*windows, strict=True)
        )
        return rows, columns

    @functools.cached_property
    def viewed(self) -> MrcSource:
        """The source, which returns views of maps however narrow they are.

        Tiles are copied while they are in the cache, where copies of blocks would not be.
        """
        limits = replace(self.source.limits, narrow=0.0)
        return replace(self.source, limits=limits)


@dataclass(frozen=True)
class PartialResult:
    """The results of a task, or of several that are joined.

    Attributes
    ----------
    values : tuple of ndarray
        One per reduction.
    ledger : mapping
        See `Ledger`.
    """

    values: tuple[npt.NDArray[Any], ...] = field(repr=False)
    ledger: Ledger


def compute(task: Task, work: Work, *, check: Callable[[], None] = lambda: None) -> PartialResult:
    """Read the blocks of a task one after the other, and reduce them.

    Parameters
    ----------
    task : Task
    work : Work
    check : callable, optional
        Called before each block; raises if nobody waits for the result any more.

    Raises
    ------
    FileChangedError, MissingFileError, AccessDeniedError, ReadError, FormatError
    """
    before = _read_before(work.job)
    module = array_module(work.device)
    reduce = reduce_block if module is None else functools.partial(reduce_on, module)
    source = work.viewed
    rows, columns = work.window
    window = (slice(rows.start, rows.stop), slice(columns.start, columns.stop))
    # Blocks are added to the results of those before: each new array would have to be cleared by
    # the kernel, which takes as long as the sums of a small block.
    values = [each.begin(sum(map(block_frames, task)), source.dtype) for each in work.reductions]
    first = 0
    for block in task:
        check()
        positions = tuple(range(*span) for span in block)
        frames = source[(*(slice(*span) for span in block), *window)]
        frames = frames.reshape(math.prod(map(len, positions)), len(rows), len(columns))
        present = source.layout.frames(positions, source.table) >= 0
        rows_of_block = slice(first, first + len(frames))
        first += len(frames)
        failed: FunctionFailedError | None = None
        try:
            found = reduce(
                frames,
                work.window,
                work.reductions,
                None if present.all() else present,
                results=[
                    value[rows_of_block] if each.per_frame else value
                    for each, value in zip(work.reductions, values, strict=True)
                ],
            )
        except FunctionFailedError as error:
            failed = error
        if failed is not None and failed.__cause__ is not None:
            raise _located(failed, failed.__cause__, block, source)
        values = [
            value if each.per_frame else new
            for each, value, new in zip(work.reductions, values, found, strict=True)
        ]
        # The next block needs the memory of this one.
        del frames
    return PartialResult(tuple(values), {_PROCESS: stats.snapshot() - before})


def _read_before(job: str) -> ReadStats:
    """Return what this process had read before its first task of a job."""
    with _before_lock:
        # The job in use goes to the end, so that the first one is the one unused for longest.
        return _before.keep(job, _before.get(job) or stats.snapshot())


def _located(
    failed: FunctionFailedError, error: BaseException, block: Block, source: MrcSource
) -> BaseException:
    """Return the error of a user's function, with the frames in its notes."""
    numbers = failed.numbers
    error.add_note(f"in frames {numbers[0]} to {numbers[-1]}, counted from the block's first")
    first = tuple(start for start, _ in block)
    error.add_note(f"in the block whose first frame is at position {first}")
    if failed.alone is not None:
        inside = np.unravel_index(failed.alone, [stop - start for start, stop in block])
        at = tuple(int(i) + start for i, start in zip(inside, first, strict=True))
        # Of a region, the position is that in the list of its points.
        [number] = source.layout.frames(tuple(range(i, i + 1) for i in at), source.table)
        error.add_note(
            f"the first frame with which it fails alone is at position {at}, "
            f"frame {number} of the file"
        )
    return error


def join(pieces: Sequence[PartialResult], work: Work) -> PartialResult:
    """Put the results of consecutive tasks together."""
    values = join_all(work.reductions, [piece.values for piece in pieces])
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
