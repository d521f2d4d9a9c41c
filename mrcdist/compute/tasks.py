"""Tasks of a pass over the frames, on a worker: read blocks, reduce them, join results."""

from __future__ import annotations

import functools
import importlib
import os
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist import stats
from mrcdist.compute.functions import FunctionFailedError
from mrcdist.compute.reduce_block import reduce_block
from mrcdist.compute.reductions import Reduction, Window
from mrcdist.compute.schedule import Block, Task, block_frames
from mrcdist.errors import ArgumentError, MissingExtraError
from mrcdist.extras import install_command
from mrcdist.read.source import MrcSource
from mrcdist.remembered import Remembered
from mrcdist.stats import ReadStats
from mrcdist.system_calls import ForkSafeLock

DEVICES = ("cpu", "cupy")

Ledger = Mapping[str, ReadStats]
"""Bytes that each process has read for a job so far; totals only grow."""

# Not the pid alone: containers on one host number theirs from 1.
_PROCESS = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
# What this process had read before each of its latest jobs: a server has many.
_before: Remembered[str, ReadStats] = Remembered(256)
_before_lock = ForkSafeLock()


@dataclass(frozen=True)
class Work:
    """What all tasks of a job share: what is read, and what is made of it in one pass.

    Processes count what they read under the name of the job. `device` is one of `DEVICES`.
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
    def window(self) -> Window:
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
    """The results of a task, or of several that are joined: a value per reduction."""

    values: tuple[npt.NDArray[Any], ...] = field(repr=False)
    ledger: Ledger


def array_module(device: str) -> Any:
    """Return what computes: CuPy, or numpy for this processor.

    Raises `ArgumentError` if there is no such device, and `MissingExtraError` if CuPy is not
    installed or finds no GPU.
    """
    if device not in DEVICES:
        raise ArgumentError(
            f"device={device!r}",
            code="device-unknown",
            argument="device",
            cause="there is no such device",
            remedy=f"pass one of {', '.join(DEVICES)}",
        )
    if device == "cpu":
        return np
    try:
        module = importlib.import_module(device)
        module.cuda.Device().compute_capability  # noqa: B018 raises if there is no GPU
    except Exception as error:  # noqa: BLE001 CuPy's own, or the driver's
        raise MissingExtraError(
            f"device={device!r} cannot be used",
            code="package-missing",
            argument="device",
            cause=f"no GPU with CuPy here: {error}",
            remedy=f"{install_command('gpu')} on a host with an NVIDIA GPU, or leave out "
            "{device}",
        ) from None
    return module


def compute(task: Task, work: Work, *, check: Callable[[], None] = lambda: None) -> PartialResult:
    """Read the blocks of a task one after the other, and reduce them.

    Before each block, `check` raises if nobody waits for the result any more. An error of reading
    is one of ours, such as `FileChangedError`; of a user's function, the user's own.
    """
    with _before_lock:  # the job in use goes to the end: the first one is unused for longest
        before = _before.keep(work.job, _before.get(work.job) or stats.snapshot())
    dtype = work.source.dtype
    # Blocks are added to the results of those before: each new array would have to be cleared by
    # the kernel, which takes as long as the sums of a small block.
    values = [each.begin(sum(map(block_frames, task)), dtype) for each in work.reductions]
    first = 0
    for block in task:
        check()
        rows = slice(first, first + block_frames(block))
        first = rows.stop
        into = [
            value[rows] if each.per_frame else value
            for each, value in zip(work.reductions, values, strict=True)
        ]
        values = [
            value if each.per_frame else new
            for each, value, new in zip(
                work.reductions, values, _add_block(block, work, into), strict=True
            )
        ]
    return PartialResult(tuple(values), {_PROCESS: stats.snapshot() - before})


def _add_block(
    block: Block, work: Work, results: Sequence[npt.NDArray[Any]]
) -> tuple[npt.NDArray[Any], ...]:
    """Read a block, and add it to results."""
    source = work.viewed
    rows, columns = work.window
    frames = source[
        (
            *(slice(*span) for span in block),
            slice(rows.start, rows.stop),
            slice(columns.start, columns.stop),
        )
    ]
    frames = frames.reshape(block_frames(block), len(rows), len(columns))
    present = source.layout.frames(tuple(range(*span) for span in block), source.table) >= 0
    there = None if present.all() else present
    try:
        return reduce_block(
            frames,
            work.window,
            work.reductions,
            there,
            module=array_module(work.device),
            results=results,
        )
    except FunctionFailedError as error:
        failed = error
    # Here, where it gets no context: it stays as the function raised it.
    raise _located(failed, block, source)


def _located(failed: FunctionFailedError, block: Block, source: MrcSource) -> BaseException:
    """Return the error of a user's function, with the frames in its notes."""
    error, numbers = failed.__cause__ or failed, failed.numbers
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
    values = zip(*(piece.values for piece in pieces), strict=True)
    joined = (each.join(parts) for each, parts in zip(work.reductions, values, strict=True))
    return PartialResult(tuple(joined), merge_ledgers(piece.ledger for piece in pieces))


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
