"""Tasks on workers: write a block, join bytes of neighbouring blocks, finish the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError, MissingFileError, WriteError
from mrcdist.format.encode import NewHeader, encode_header, encode_pixels
from mrcdist.system_calls import write_at
from mrcdist.write.contents import refuse_mask
from mrcdist.write.encoded_block import EncodedBlock, window, windows
from mrcdist.write.errors import abandoned_on_failure, incomplete, overtaken, write_errors
from mrcdist.write.grid import Piece, block_runs, join_pieces, piece_bytes, split_run
from mrcdist.write.local import LocalDestination
from mrcdist.write.mrcz import compressed_sections
from mrcdist.write.s3 import S3Destination
from mrcdist.write.statistics import Statistics, merge_statistics, statistics_of

Box = tuple[tuple[int, int], ...]
"""Start and stop along each axis of the whole array."""

Destination = LocalDestination | S3Destination

# Shorter runs, in bytes, are copied to a memory map rather than written with a system call each.
_MIN_WRITE = 4096


@dataclass(frozen=True)
class Job:
    """State that all tasks of a file share; picklable and small.

    `shape` is the shape of the whole array. With `abandons`, a task that cannot write its block
    removes the unfinished file, because no client does so for a `Delayed`.
    """

    destination: Destination
    header: NewHeader
    shape: tuple[int, ...]
    statistics: bool
    abandons: bool = False

    def runs(self, box: Box) -> tuple[int, Iterator[tuple[int, tuple[int, ...]]]]:
        """Return the length of the runs of a block, and where each starts in file and block."""
        row_bytes, (left, right) = self.header.storage.row_bytes, box[-1]
        columns = (row_bytes(left), row_bytes(right))
        shape = (*self.shape[:-1], row_bytes(self.shape[-1]))
        length, runs = block_runs(shape, (*box[:-1], columns))
        return length, ((self.header.data_offset + start, index) for start, index in runs)


@dataclass(frozen=True)
class BlockRecord:
    """Record of one or more neighbouring blocks, kept until the file is complete.

    `nbytes` is the size of their pixels, `statistics` is None if not requested or undefined, and
    `carried` are parts of cells that have not been written yet.
    """

    nbytes: int
    statistics: Statistics | None
    carried: tuple[Piece, ...] = ()

    def to_bytes(self) -> bytes:
        """Return a line of JSON, followed by the carried bytes."""
        summary: dict[str, Any] = {
            "nbytes": self.nbytes,
            "statistics": asdict(self.statistics) if self.statistics else None,
            "carried": [[start, len(content)] for start, content in self.carried],
        }
        return b"".join([json.dumps(summary).encode(), b"\n", *(raw for _, raw in self.carried)])

    @classmethod
    def from_bytes(cls, stored: bytes) -> BlockRecord:
        """Parse the result of `to_bytes`, or raise ValueError, LookupError or TypeError."""
        line, _, rest = stored.partition(b"\n")
        summary = json.loads(line)
        carried, end = [], 0
        for start, length in summary["carried"]:
            carried.append((start, rest[end : end + length]))
            end += length
        if end != len(rest):
            raise ValueError(f"{len(rest)} of {end} bytes")
        statistics = summary["statistics"] and Statistics(**summary["statistics"])
        return cls(summary["nbytes"], statistics, tuple(carried))


def write_block(block: npt.NDArray[Any], job: Job, number: int, box: Box) -> BlockRecord:
    """Write the whole cells of a block, or keep it compressed for MRCZ; return a record."""
    with _abandoned_on_failure(job), ThreadPoolExecutor(1) as executor:
        refuse_mask(block)
        block = np.asarray(block)
        # Statistics are computed while the bytes are being written.
        stored = job.header.storage.dtype
        summing = executor.submit(statistics_of, block, stored) if job.statistics else None
        carried: tuple[Piece, ...] = ()
        if job.header.codec:
            sections = compressed_sections(block, job.header)
            nbytes = job.destination.keep_packed(number, sections)
        else:
            nbytes, carried = _write(block, job, box)
        record = BlockRecord(nbytes, summing.result() if summing else None, carried)
        job.destination.keep(number, record.to_bytes())
    return record


def _write(block: npt.NDArray[Any], job: Job, box: Box) -> tuple[int, tuple[Piece, ...]]:
    """Write the whole cells of a block; return its size, and its parts of other cells."""
    destination = job.destination
    length, runs = job.runs(box)
    start, _ = next(runs)
    encoded = EncodedBlock(block, job.header.storage, job.header.byteorder, start)
    if length == encoded.nbytes:
        (begin, end), parts = split_run(destination.grid, start, start + length)
        if begin < end:
            destination.write(begin, end, encoded.between, block.nbytes if encoded.copied else 0)
        return length, tuple((low, bytes(encoded.between(low, high))) for low, high in parts)
    if not isinstance(destination, LocalDestination):
        raise TypeError("only blocks for local disks may be non-contiguous")
    _write_runs(block, job, destination, box)
    return encoded.nbytes, ()


def _write_runs(block: npt.NDArray[Any], job: Job, destination: LocalDestination, box: Box) -> None:
    """Write a block of parts of rows or frames to a file on a local disk.

    Long runs are written with a system call each. Short ones, such as a crop of each frame, are
    copied to memory maps of the file: their system calls would take a hundred times as long as
    their bytes.
    """
    storage, byteorder = job.header.storage, job.header.byteorder
    length, runs = job.runs(box)
    with destination.opened() as file:
        if file is None:
            return
        if length >= _MIN_WRITE:
            for start, index in runs:
                write_at(file.fileno(), encode_pixels(block[index], storage, byteorder).data, start)
            return
        block, shape, box = block[None], (1, *job.shape), ((0, 1), *box)
        row, left, right = map(storage.row_bytes, (shape[-1], *box[-1]))
        frame, (top, bottom) = shape[-2] * row, box[-2]
        # Small maps, each released before the next one, count little as memory of the process.
        step = max(1, window(block.nbytes) // frame)
        for index in np.ndindex(block.shape[:-3]):
            position = [i + start for i, (start, _) in zip((*index, 0), box[:-2], strict=True)]
            first = int(np.ravel_multi_index(position, shape[:-2]))
            for low, high in windows(0, block.shape[-3], step):
                begin = job.header.data_offset + (first + low) * frame
                frames = np.memmap(file, np.uint8, "r+", begin, (high - low, shape[-2], row))
                encoded = encode_pixels(block[index][low:high], storage, byteorder)
                frames[:, top:bottom, left:right] = encoded


def recall_block(job: Job, number: int) -> BlockRecord:
    """Read the record of a block that an earlier call has written."""
    location, work = job.destination.location, job.destination.work
    with write_errors(location):
        try:
            return BlockRecord.from_bytes(work.recall(number))
        except (MissingFileError, ValueError, LookupError, TypeError):
            if work.is_lost():
                raise overtaken(location, work.shown) from None
            items = f"readable records of block {number}"
            raise incomplete(location, 0, 1, items) from None


def merge(job: Job, records: list[BlockRecord]) -> BlockRecord:
    """Join the carried bytes of neighbours, and write the cells that are complete now."""
    complete, record = _merge(job, records)
    for piece in complete:
        job.destination.write(*piece_bytes(piece))
    return record


def _merge(job: Job, records: list[BlockRecord]) -> tuple[list[Piece], BlockRecord]:
    """Merge the records of neighbours; also return the cells that are complete now."""
    pieces = (piece for each in records for piece in each.carried)
    complete, carried = join_pieces(job.destination.grid, pieces)
    statistics = merge_statistics(each.statistics for each in records)
    return complete, BlockRecord(sum(each.nbytes for each in records), statistics, tuple(carried))


def finish(
    job: Job, record: BlockRecord, extended: bytes, auxiliary: dict[str, bytes], blocks: int
) -> tuple[float, float, float, float] | None:
    """Write the header, give the file its name, and return its statistics.

    `record` is merged from all blocks. The statistics are DMIN, DMAX, DMEAN and RMS deviation.
    """
    statistics = record.statistics.summary() if record.statistics else None
    packed = record.nbytes if job.header.codec else None
    start = encode_header(job.header, statistics, packed_bytes=packed or 0) + extended
    complete: list[Piece] = [(0, start)]
    if packed is None:
        complete, _ = _merge(job, [BlockRecord(0, None, ((0, start),)), record])
    with _abandoned_on_failure(job):
        job.destination.finish(complete, blocks, auxiliary, packed)
    return statistics


@contextmanager
def _abandoned_on_failure(job: Job) -> Iterator[None]:
    """Remove the unfinished file if a retry cannot help.

    This is so if a value does not fit, another file has taken the name, or the disk is full.
    """
    try:
        yield
    except (ArgumentError, WriteError) as error:
        if job.abandons and (isinstance(error, ArgumentError) or error.code == "disk-full"):
            with abandoned_on_failure(job.destination.abandon):
                raise
        raise
