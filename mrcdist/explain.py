"""The estimated cost of reading, before anything is read."""

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
from mrcdist.plan.chunks import Chunks, chunk_notes, count_chunks
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.read.source import MrcSource

# Smaller arrays are rechunked in memory in a second or two.
_LARGE = 2**30


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
        Bytes that the task for this chunk fetches or maps; only pages that it touches are read.
    requests : int
        Requests to the store, or calls of ``read()``, of this task; 0 if the file is mapped.
    total_bytes : int
        Bytes of the whole array.
    worker_memory : int
        Bytes that a worker needs to read `threads` chunks at a time, in addition to about 150 MiB
        for Python.
    float64_memory : int
        The same for an operation that holds temporaries of a chunk in float64, such as ``std``.
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

    def __str__(self) -> str:
        requests = f" in {format_count(self.requests, 'request')}" if self.requests else ", mapped"
        lines = [
            f"{self.url}",
            f"  array    {format_shape(self.shape)} {self.dtype}, {format_bytes(self.total_bytes)}",
            f"  chunks   {format_shape(self.chunk_shape)}, "
            f"a grid of {format_shape(self.chunk_grid)}",
            f"  tasks    {self.tasks:,}",
            f"  per task {format_bytes(self.task_bytes)} of the array, "
            f"{format_bytes(self.fetched_bytes)} of the file{requests}",
            f"  memory   {format_bytes(self.worker_memory)} per worker "
            f"({format_count(self.threads, 'thread')}), plus about {PYTHON_MEMORY >> 20} MiB for "
            "Python",
            f"  float64  {format_bytes(self.float64_memory)} per worker for operations that hold "
            "chunks as float64, such as std",
        ]
        return "\n".join(lines + [f"  note     {remark}" for remark in self.remarks])


def report(source: MrcSource, chunks: Chunks, *, threads: int) -> PlanReport:
    """Return the cost, estimated by planning the read of the largest chunk as its task will."""
    layout = source.layout
    box = _largest_box(chunks)
    shape = tuple(len(positions) for positions in box)
    task_bytes = math.prod(shape) * layout.dtype.itemsize
    cost = source.cost(box, read_settings()) if task_bytes else Cost(0, 0)
    in_float64 = max(cost.held, math.prod(shape) * FLOAT64_TEMPORARIES)
    of_frame = slice(len(layout.navigation_shape), len(layout.navigation_shape) + 2)
    found = PlanReport(
        url=source.parts[0].file.location.shown,
        shape=layout.shape,
        dtype=str(layout.dtype),
        chunk_grid=tuple(len(axis) for axis in chunks),
        chunk_shape=shape,
        tasks=count_chunks(chunks),
        task_bytes=task_bytes,
        fetched_bytes=cost.nbytes,
        requests=cost.requests,
        total_bytes=layout.nbytes,
        worker_memory=threads * (task_bytes + cost.held),
        float64_memory=threads * (task_bytes + in_float64),
        threads=threads,
        splits_frames=shape[of_frame] != layout.frame_shape and task_bytes > 0,
        remarks=(),
    )
    return dataclasses.replace(found, remarks=tuple(_remarks(found, source, chunks)))


def _largest_box(chunks: Chunks) -> tuple[range, ...]:
    """Return the positions of the first of the largest chunks."""
    box = []
    for axis in chunks:
        at = axis.index(max(axis))
        box.append(range(sum(axis[:at]), sum(axis[: at + 1])))
    return tuple(box)


def _remarks(cost: PlanReport, source: MrcSource, chunks: Chunks) -> Iterator[str]:
    n_navigation = len(source.layout.navigation_shape)
    if cost.splits_frames:
        visits = math.prod(cost.chunk_grid[n_navigation:])
        price = (
            f"a task fetches {cost.fetched_bytes / cost.task_bytes:.1f} times the bytes it needs, "
            f"in {format_count(cost.requests, 'request')}"
            if cost.requests
            else "mapped pages that are not touched are not read"
        )
        yield f"these chunks split frames: {visits} tasks read from each frame; {price}"
    yield from chunk_notes(chunks)
    if 0 < cost.task_bytes < 2**20 and cost.tasks > 1000:
        yield (
            f"with chunks of {format_bytes(cost.task_bytes)}, scheduling takes longer than "
            "reading: larger ones are faster"
        )
    # From a store, chunks for computing along the scan may fetch the file often.
    local_scan = n_navigation > 1 and source.parts[0].file.location.is_local
    cut_scan = any(count > 1 for count in cost.chunk_grid[:n_navigation])
    cut_frames = any(count > 1 for count in cost.chunk_grid[n_navigation:])
    if local_scan and cut_scan and not cut_frames and cost.total_bytes >= _LARGE:
        wanted = ", ".join(["-1"] * n_navigation + ['"auto"', "-1"])
        yield (
            "for the whole scan at each detector pixel (median, maximum over all frames), open the "
            f"file with chunks=({wanted}): rechunking in dask reads and keeps every chunk"
        )
