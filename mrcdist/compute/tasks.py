"""Tasks of a pass over the frames, run on a worker: read blocks, reduce them, join results."""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist import stats
from mrcdist.compute.reduce_block import reduce_block
from mrcdist.compute.reductions import Reduction, Window
from mrcdist.compute.schedule import Block, Task, block_frames
from mrcdist.errors import ArgumentError, MissingExtraError
from mrcdist.extras import install_command
from mrcdist.read.source import MrcSource
from mrcdist.remembered import unpickle_once
from mrcdist.stats import ReadStats

DEVICES = ("cpu", "cupy")

Ledger = Mapping[str, tuple[ReadStats, ReadStats]]
"""Totals of each process before its first task of a job, and after its last one so far."""

# Not the pid alone: each container on a host numbers its processes from 1.
_PROCESS = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Work:
    """The source and the reductions of one pass, which all tasks of a job share.

    `device` is one of `DEVICES`; `compile_loops` and `tile_bytes` are those of `reduce_block`.
    """

    source: MrcSource
    reductions: tuple[Reduction, ...]
    device: str = "cpu"
    compile_loops: bool = True
    tile_bytes: int | None = None

    @property
    def max_joined(self) -> int:
        """Maximum number of results to join in one task."""
        return min(each.max_joined for each in self.reductions)

    @functools.cached_property
    def window(self) -> Window:
        """Rows and columns that at least one reduction needs."""
        windows = [each.window for each in self.reductions]
        rows, columns = (
            range(min(r.start for r in ranges), max(r.stop for r in ranges))
            for ranges in zip(*windows, strict=True)
        )
        return rows, columns

    @functools.cached_property
    def viewed(self) -> MrcSource:
        """The source, changed to return views of memory maps even for narrow crops.

        Copying is left to the tiles, which fit into the cache; a copy of a whole block does not.
        """
        return replace(self.source, limits=replace(self.source.limits, narrow=0.0))


def _unpacked(work: Work | bytes) -> Work:
    return unpickle_once(work) if isinstance(work, bytes) else work


@dataclass(frozen=True)
class PartialResult:
    """Results of one task, or of several tasks joined: one array per reduction."""

    values: tuple[npt.NDArray[Any], ...] = field(repr=False)
    ledger: Ledger


def array_module(device: str) -> Any:
    """Return the module that computes on a device: numpy or CuPy.

    Raises `ArgumentError` for an unknown device, and `MissingExtraError` if CuPy is not installed
    or finds no GPU.
    """
    if device not in DEVICES:
        raise ArgumentError(
            f"`device={device!r}`",
            code="device-unknown",
            argument="device",
            cause="unknown device",
            remedy=f"pass one of {', '.join(DEVICES)}",
        )
    if device == "cpu":
        return np
    try:
        module = importlib.import_module(device)
        module.cuda.Device().compute_capability  # noqa: B018 raises if there is no GPU
    except Exception as error:  # noqa: BLE001 CuPy's own, or the driver's
        raise MissingExtraError(
            f"`device={device!r}` cannot be used",
            argument="device",
            cause=f"no GPU with CuPy here: {error}",
            remedy=f"{install_command('gpu')} on a host with an NVIDIA GPU, or leave out `device`",
        ) from None
    return module


def compute(
    task: Task, work: Work | bytes, *, check: Callable[[], None] = lambda: None
) -> PartialResult:
    """Read the blocks of a task one after the other, and reduce them; `work` may be pickled.

    Before each block, `check` raises an exception if the result is no longer needed. Errors of
    reading are mrcdist's own, such as `FileChangedError`; exceptions of the user's functions are
    raised unchanged.
    """
    work = _unpacked(work)
    before = stats.snapshot()
    # All blocks are added to the same arrays: the kernel would have to clear new ones, which takes
    # as long as the sums of a small block.
    n_frames = sum(map(block_frames, task))
    values = [each.begin(n_frames, work.source.dtype) for each in work.reductions]
    first = 0
    for block in task:
        check()
        _add_block(block, work, values, first)
        first += block_frames(block)
    return PartialResult(tuple(values), {_PROCESS: (before, stats.snapshot())})


def _add_block(block: Block, work: Work, results: list[npt.NDArray[Any]], first: int) -> None:
    """Read a block, whose first frame is number `first` of the task, and add it to the results."""
    source = work.viewed
    rows, columns = work.window
    signal = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
    frames = source[(*(slice(*span) for span in block), *signal)]
    frames = frames.reshape(block_frames(block), len(rows), len(columns))
    numbers = source.layout.frames(tuple(range(*span) for span in block), source.table)
    present = numbers >= 0

    def describe(index: int) -> str:
        """Return where a frame is; with a region, the position is that in the list of points."""
        inside = np.unravel_index(index, [stop - start for start, stop in block])
        position = tuple(int(i) + start for i, (start, _) in zip(inside, block, strict=True))
        return f"position {position} (frame {numbers[index]} of the file)"

    reduce_block(
        frames,
        work.window,
        work.reductions,
        None if present.all() else present,
        results=results,
        first=first,
        describe=describe,
        compile_loops=work.compile_loops,
        tile_bytes=work.tile_bytes,
        module=array_module(work.device),
    )


def join(pieces: Sequence[PartialResult], work: Work | bytes) -> PartialResult:
    """Join the results of consecutive tasks; `work` may be pickled."""
    work = _unpacked(work)
    values = zip(*(piece.values for piece in pieces), strict=True)
    joined = (each.join(parts) for each, parts in zip(work.reductions, values, strict=True))
    return PartialResult(tuple(joined), merge_ledgers(piece.ledger for piece in pieces))


def merge_ledgers(ledgers: Iterable[Ledger]) -> Ledger:
    """Keep the first and the last totals of each process, which only grow."""
    merged: dict[str, tuple[ReadStats, ReadStats]] = {}
    for process, (before, after) in itertools.chain.from_iterable(each.items() for each in ledgers):
        first, last = merged.get(process, (before, after))
        merged[process] = first.combined(before, min), last.combined(after, max)
    return merged


def total(ledger: Ledger) -> ReadStats:
    """Return what all processes together have read."""
    return sum((after - before for before, after in ledger.values()), ReadStats())
