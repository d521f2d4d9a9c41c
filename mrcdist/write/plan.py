"""Plan of a new file with its dask graph, the estimate of its cost, and the report."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import dask
import dask.array as da
from dask.delayed import Delayed
from dask.tokenize import tokenize
from dask.utils import format_bytes

from mrcdist.format.encode import NewHeader
from mrcdist.plan.chunks import Chunks, block_boxes
from mrcdist.progress import show_progress
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Note, warn
from mrcdist.write.encoded_block import TEMPORARIES, window
from mrcdist.write.errors import abandoned_on_failure
from mrcdist.write.grid import Grid
from mrcdist.write.local import LocalDestination, local_grid
from mrcdist.write.s3 import S3Destination
from mrcdist.write.s3_client import is_s3
from mrcdist.write.s3_parts import S3Limits, packed_pieces, s3_grid
from mrcdist.write.stream import stream as write_stream
from mrcdist.write.tasks import Destination, Job, finish, merge, recall_block, write_block

# Records merged per task: few enough that the bytes that they carry fit in memory with the blocks.
_FAN_IN = 16


@dataclass(frozen=True)
class WriteReport:
    """Report on a written file.

    Attributes
    ----------
    url : str
        Redacted.
    nbytes : int
        Size of the file.
    shape : tuple of int
        Shape of the array.
    mode : int
        MODE of the header.
    statistics : tuple of four floats or None
        DMIN, DMAX, DMEAN, RMS deviation from the mean.
    seconds : float
    verified : bool
        Whether the file was read back and compared with the source.
    notes : tuple of Note
        Information that could not be stored, and other warnings; each has a ``code``.
    """

    url: str
    nbytes: int
    shape: tuple[int, ...]
    mode: int
    statistics: tuple[float, float, float, float] | None
    seconds: float
    verified: bool = False
    notes: tuple[Note, ...] = ()

    def __str__(self) -> str:
        size = f"{format_bytes(self.nbytes)} in {self.seconds:.1f} s"
        lines = [self.url, f"  array    {' × '.join(map(str, self.shape))}, mode {self.mode}"]
        lines.append(f"  written  {size}, {format_bytes(int(self.nbytes / self.seconds))}/s")
        if self.statistics is not None:
            low, high, mean, rms = self.statistics
            lines.append(f"  values   {low:g} to {high:g}, mean {mean:g}, RMS deviation {rms:g}")
        if self.verified:
            lines.append("  verified by reading it back")
        return "\n".join(lines)


@dataclass(frozen=True)
class WriteEstimate:
    """Estimated cost of a write; print it for a summary.

    There is one task per block. It writes `task_bytes` of the file, in `requests` requests to a
    store (0 on a disk), and has a peak memory of `task_memory`, including its block.
    """

    url: str
    tasks: int
    nbytes: int
    task_bytes: int
    requests: int
    task_memory: int
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        requests = f" in {self.requests} requests" if self.requests else ""
        lines = [
            self.url,
            f"  file     {format_bytes(self.nbytes)}",
            f"  tasks    {self.tasks:,}",
            f"  per task {format_bytes(self.task_bytes)}{requests}",
            f"  memory   {format_bytes(self.task_memory)} per task",
        ]
        return "\n".join(lines + [f"  note     {remark}" for remark in self.remarks])


@dataclass(frozen=True)
class WritePlan:
    """Plan of a new file, made before any pixel is computed.

    Attributes
    ----------
    location : Location
    array : dask.array.Array
        In the chunks in which it is written.
    header : NewHeader
    extended : bytes
        The extended header.
    auxiliary : dict of str to bytes
        Auxiliary files by name, such as the sidecar.
    statistics : bool
    overwrite, resume : bool
    notes : tuple of Note
        Information that cannot be stored, and other warnings.
    limits : S3Limits
        Limits of the store, if it is S3.
    read_chunks : tuple of tuple of int, optional
        Chunks in which a conversion reads its source; kept for a call that resumes.
    runs : tuple of tuple of int, optional
        Contiguous blocks of whole chunks, written one after the other if a single task has to write
        the file.
    """

    location: Location
    array: da.Array
    header: NewHeader
    extended: bytes
    auxiliary: Mapping[str, bytes]
    statistics: bool
    overwrite: bool
    resume: bool
    notes: tuple[Note, ...]
    limits: S3Limits = field(default_factory=S3Limits)
    read_chunks: Chunks | None = None
    runs: Chunks | None = None

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes; for MRCZ, before compression."""
        row = self.header.storage.row_bytes(self.header.nx)
        return self.header.data_offset + self.header.nz * self.header.ny * row

    def explain(self) -> WriteEstimate:
        """Estimate the cost of writing."""
        destination = self.destination()
        block, stored = self._block_bytes
        compressed = self.header.codec != 0
        unchanged = self.header.storage.is_of(self.array.dtype, self.header.byteorder)
        if destination is None:
            tasks, requests, encoded = 1, 0, window(block) + TEMPORARIES
            remarks: tuple[str, ...] = (
                "this store can only be written sequentially: one task writes the file",
            )
        else:
            tasks, remarks = self.array.npartitions, destination.remarks
            requests, encoded = destination.cost(stored, 0 if unchanged or compressed else block)
        if compressed:
            remarks = ("sizes are those before compression", *remarks)
            # One section, encoded and compressed.
            encoded += 2 * self.header.ny * self.header.storage.row_bytes(self.header.nx)
        return WriteEstimate(
            self.location.shown,
            tasks,
            self.nbytes,
            stored,
            requests,
            block if unchanged and not compressed else block + encoded,
            (*self.notes, *remarks),
        )

    @property
    def _block_bytes(self) -> tuple[int, int]:
        """Size of the largest block in memory, and as stored without compression."""
        *leading, columns = (max(axis) for axis in self.runs or self.array.chunks)
        rows = math.prod(leading)
        stored = rows * self.header.storage.row_bytes(columns)
        return int(rows * columns * self.array.dtype.itemsize), int(stored)

    def destination(self) -> Destination | None:
        """Return the destination of parallel tasks; None if a single task has to write the file.

        Raises `ArgumentError` if the file is too large for an object in S3.
        """
        offset, (_, block) = self.header.data_offset, self._block_bytes
        # The size of a compressed file is unknown until the end.
        packed_grid = Grid(offset, 1, 0) if self.header.codec else None
        if self.location.is_local:
            grid = packed_grid or local_grid(Path(self.location.url), offset, self.nbytes)
            return LocalDestination(self.location, grid)
        if not is_s3(self.location):
            return None
        if packed_grid is None:
            grid = s3_grid(offset, self.nbytes, block, self.limits)
            return S3Destination(self.location, grid, self.limits)
        sections = int(math.prod(self.array.chunksize[:-2]))
        pieces = packed_pieces(block, sections, self.array.npartitions, self.limits)
        return S3Destination(self.location, packed_grid, self.limits, packed=pieces)

    def write(self, stream: TextIO | None = None) -> WriteReport:
        """Compute the array, write it, and return a report.

        Parameters
        ----------
        stream : text stream, optional
            Stream for the progress display.

        Raises
        ------
        ArgumentError, WriteError, AccessDeniedError
        """
        start = time.monotonic()
        destination = self._begin()
        finished = destination.work.kept if destination else None
        with (
            nullcontext()
            if destination is None or self.resume
            else abandoned_on_failure(destination.abandon),
            show_progress(finished, self.array.npartitions, stream),
        ):
            [statistics] = dask.compute(self._graph(destination))
        return WriteReport(
            self.location.shown,
            (self.header.codec and self.location.find_version().size) or self.nbytes,
            self.array.shape,
            self.header.mode,
            statistics,
            time.monotonic() - start,
            notes=self.notes,
        )

    def delayed(self) -> Delayed:
        """Return a `dask.delayed.Delayed` that writes the file and returns the statistics."""
        return self._graph(self._begin(), abandons=not self.resume)

    def _begin(self) -> Destination | None:
        destination = self.destination()
        if destination is None:
            return None
        about = {
            "data": tokenize(self.array),
            "chunks": [list(axis) for axis in self.array.chunks],
            "read_chunks": [list(axis) for axis in self.read_chunks or ()],
            "header": repr(self.header),
            "auxiliary": tokenize(self.extended, dict(self.auxiliary)),
            "statistics": self.statistics,
            "overwrite": self.overwrite,
        }
        started = destination.begin(about, overwrite=self.overwrite, resume=self.resume)
        warn(self.location.shown, started.notes)
        return started

    def _graph(self, destination: Destination | None, *, abandons: bool = False) -> Delayed:
        token = uuid.uuid4().hex[:16]
        if destination is None:
            # `partial` hides the array from dask: the task computes it itself, run by run.
            task = functools.partial(
                write_stream,
                self.location,
                self._labelled_header(""),
                self.extended,
                self.array,
                self.runs or self.array.chunks,
                dict(self.auxiliary),
                overwrite=self.overwrite,
            )
            return dask.delayed(task, traverse=False, name=f"write-{token}")(
                dask_key_name=f"write-mrc-{token}"
            )
        header = self._labelled_header(destination.date)
        # A separate node is sent to each worker once, instead of with each task.
        job = dask.delayed(
            Job(destination, header, self.array.shape, self.statistics, abandons),
            traverse=False,
            name=f"write-mrc-job-{token}",
        )
        finished = destination.work.kept() if self.resume else frozenset()
        last = dask.delayed(finish, traverse=False, name=f"write-mrc-last-{token}")(
            job,
            self._merged_record(job, finished, token),
            self.extended,
            dict(self.auxiliary),
            self.array.npartitions,
            dask_key_name=f"write-mrc-end-{token}",
        )
        # Cull the graph: otherwise, dask would also compute the finished blocks.
        return Delayed(last.key, last.dask.cull({last.key}).to_dict()) if finished else last

    def _merged_record(self, job: Delayed, finished: frozenset[str], token: str) -> Delayed:
        """Return a task that merges the records of all blocks, in a tree."""
        write, recall, join = (dask.delayed(f) for f in (write_block, recall_block, merge))
        blocks = self.array.to_delayed(optimize_graph=True).ravel()
        boxes = block_boxes(self.array.chunks)
        records: list[Delayed] = []
        for number, (block, box) in enumerate(zip(blocks, boxes, strict=True)):
            key = f"write-mrc-{token}-{number}"
            records.append(
                recall(job, number, dask_key_name=key)
                if str(number) in finished
                else write(block, job, number, box, dask_key_name=key)
            )
        while len(records) > 1:
            name = f"write-mrc-join-{token}-{len(records)}"
            records = [
                join(job, records[at : at + _FAN_IN], dask_key_name=f"{name}-{at}")
                for at in range(0, len(records), _FAN_IN)
            ]
        return records[0]

    def _labelled_header(self, date: str) -> NewHeader:
        label = f"mrcdist {version('mrcdist')} {date}".strip()
        return dataclasses.replace(self.header, labels=(label, *self.header.labels))
