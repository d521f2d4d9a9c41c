"""Estimate of the cost of reading."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dask.utils import format_bytes

from mrcdist.cluster_memory import FLOAT64_TEMPORARIES, PYTHON_MEMORY
from mrcdist.config import read_settings
from mrcdist.formatting import format_count, format_shape
from mrcdist.plan.chunks import Chunks, chunk_notes
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.read.source import MrcSource

# Smaller arrays are rechunked in memory in one or two seconds.
_MIN_RECHUNK_ADVICE = 2**30


@dataclass(frozen=True)
class PlanReport:
    """Estimated cost of reading the whole array once; print it for a summary.

    Attributes
    ----------
    url : str
        Redacted URL.
    shape, chunk_grid, chunk_shape : tuple of int
        Shape of the array, number of chunks along each axis, shape of the largest chunk.
    dtype : str
    tasks : int
        Number of read tasks, one per chunk.
    task_bytes : int
        Bytes of the largest chunk in memory.
    fetched_bytes : int
        Bytes that the task for this chunk fetches or maps; of mapped pages, only those that are
        accessed are read.
    requests : int
        Requests to the store, or calls of ``read()``, of this task; 0 if the file is mapped. Zarr
        makes fewer if it asks for adjacent chunks at the same time.
    total_bytes : int
        Bytes of the whole array.
    worker_memory : int
        Bytes that a worker needs to read `threads` chunks at a time, in addition to about 150 MiB
        for Python.
    float64_memory : int
        The same for an operation that holds a chunk as float64, such as ``std``.
    threads : int
        Threads per worker.
    splits_frames : bool
        Whether chunks contain parts of frames, so that several tasks read from each frame.
    remarks : tuple of str
        Recommendations.
    """

    url: str
    shape: tuple[int, ...]
    dtype: str
    chunk_grid: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    tasks: int
    task_bytes: int
    fetched_bytes: int
    requests: int
    total_bytes: int
    worker_memory: int
    float64_memory: int
    threads: int
    splits_frames: bool
    remarks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as a dict of JSON-serialisable values."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }

    def summary(self) -> dict[str, str]:
        """Return the figures as text, by a short label."""
        requests = f" in {format_count(self.requests, 'request')}" if self.requests else ", mapped"
        return {
            "array": f"{format_shape(self.shape)} {self.dtype}, {format_bytes(self.total_bytes)}",
            "chunks": f"{format_shape(self.chunk_shape)}, "
            f"a grid of {format_shape(self.chunk_grid)}",
            "tasks": f"{self.tasks:,}",
            "per task": f"{format_bytes(self.task_bytes)} of the array, "
            f"{format_bytes(self.fetched_bytes)} of the file{requests}",
            "memory": f"{format_bytes(self.worker_memory)} per worker "
            f"({format_count(self.threads, 'thread')}), plus about {PYTHON_MEMORY >> 20} MiB for "
            "Python",
            "float64": f"{format_bytes(self.float64_memory)} per worker for operations that hold "
            "chunks as float64, such as std",
        }

    def __str__(self) -> str:
        rows = [*self.summary().items(), *(("note", remark) for remark in self.remarks)]
        return "\n".join([self.url, *(f"  {label:8} {text}" for label, text in rows)])


def report(source: MrcSource, chunks: Chunks, *, threads: int) -> PlanReport:
    """Return the cost of reading, estimated by planning the read of the largest chunk."""
    layout = source.layout
    box = tuple(_largest_block(axis) for axis in chunks)
    shape = tuple(len(positions) for positions in box)
    task_bytes = math.prod(shape) * layout.dtype.itemsize
    cost = source.cost(box, read_settings()) if task_bytes else Cost(0, 0)
    float64_bytes = max(cost.held, math.prod(shape) * FLOAT64_TEMPORARIES)
    n_navigation = len(layout.navigation_shape)
    chunk_grid = tuple(len(axis) for axis in chunks)
    plan_report = PlanReport(
        url=source.parts[0].file.location.shown,
        shape=layout.shape,
        dtype=str(layout.dtype),
        chunk_grid=chunk_grid,
        chunk_shape=shape,
        tasks=math.prod(chunk_grid),
        task_bytes=task_bytes,
        fetched_bytes=cost.nbytes,
        requests=cost.requests,
        total_bytes=layout.nbytes,
        worker_memory=threads * (task_bytes + cost.held),
        float64_memory=threads * (task_bytes + float64_bytes),
        threads=threads,
        splits_frames=shape[n_navigation:][:2] != layout.frame_shape and task_bytes > 0,
        remarks=(),
    )
    remarks = tuple(_remarks(plan_report, source, chunks))
    return dataclasses.replace(plan_report, remarks=remarks)


def _largest_block(lengths: tuple[int, ...]) -> range:
    """Return the positions of the first of the longest blocks of an axis."""
    length = max(lengths)
    start = sum(lengths[: lengths.index(length)])
    return range(start, start + length)


def _remarks(cost: PlanReport, source: MrcSource, chunks: Chunks) -> Iterator[str]:
    n_navigation = len(source.layout.navigation_shape)
    if cost.splits_frames:
        visits = math.prod(cost.chunk_grid[n_navigation:])
        overhead = (
            f"a task fetches {cost.fetched_bytes / cost.task_bytes:.1f} times the bytes it needs, "
            f"in {format_count(cost.requests, 'request')}"
            if cost.requests
            else "mapped pages that are not accessed are not read"
        )
        yield f"these chunks split frames: {visits} tasks read from each frame; {overhead}"
    yield from chunk_notes(chunks, source.dtype.itemsize, source.limits)
    # In a store, such chunks might fetch the whole file many times.
    local_scan = n_navigation > 1 and source.parts[0].file.location.is_local
    splits_scan = math.prod(cost.chunk_grid[:n_navigation]) > 1
    splits_frames = math.prod(cost.chunk_grid[n_navigation:]) > 1
    large = cost.total_bytes >= _MIN_RECHUNK_ADVICE
    if local_scan and splits_scan and not splits_frames and large:
        chunk_argument = ", ".join(["-1"] * n_navigation + ['"auto"', "-1"])
        yield (
            "for the whole scan at each detector pixel (median, maximum over all frames), open the "
            f"file with `chunks=({chunk_argument})`: rechunking in dask reads and keeps every chunk"
        )
