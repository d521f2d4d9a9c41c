"""Tasks of workers: write a block, join bytes that blocks share, finish the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError, WriteError
from mrcdist.format.encode import NewHeader, encode_header, encode_pixels
from mrcdist.system_calls import write_at
from mrcdist.write.contents import refuse_mask
from mrcdist.write.encoded_block import EncodedBlock, window, windows
from mrcdist.write.errors import give_up, incomplete
from mrcdist.write.grid import Grid, Piece, block_runs, join_pieces, piece_bytes, split_run
from mrcdist.write.local import LocalDestination
from mrcdist.write.mrcz import compressed_sections
from mrcdist.write.s3 import S3Destination
from mrcdist.write.statistics import Statistics, merge_statistics, statistics_of

Box = tuple[tuple[int, int], ...]
"""Start and stop along each axis of the whole array."""

Destination = LocalDestination | S3Destination

# Bytes of a run that is worth a call of the system.
_SHORT = 4096


@dataclass(frozen=True)
class Job:
    """State that every task of a file needs; picklable and small.

    `shape` is that of the whole array. A job that `abandons` the file gives it up where a task
    cannot write it, as for a `Delayed` no client does.
    """

    destination: Destination
    header: NewHeader
    shape: tuple[int, ...]
    statistics: bool
    abandons: bool = False

    def runs(self, box: Box) -> tuple[int, Iterator[tuple[int, tuple[int, ...]]]]:
        """Return the bytes of each run of a block; where in the file, and the block, they begin."""
        row_bytes, (left, right) = self.header.storage.row_bytes, box[-1]
        columns = (row_bytes(left), row_bytes(right))
        shape = (*self.shape[:-1], row_bytes(self.shape[-1]))
        length, runs = block_runs(shape, (*box[:-1], columns))
        return length, ((self.header.data_offset + at, index) for at, index in runs)


@dataclass(frozen=True)
class BlockRecord:
    """Record of a written block, or of several neighbours; kept until the file is whole.

    It has the bytes of their pixels, statistics, None where they are not wanted or not defined, and
    parts of cells that are not written yet.
    """

    nbytes: int
    statistics: Statistics | None
    carried: tuple[Piece, ...] = ()

    def to_bytes(self) -> bytes:
        """Return a line of JSON, and behind it what is carried."""
        about: dict[str, Any] = {
            "nbytes": self.nbytes,
            "statistics": asdict(self.statistics) if self.statistics else None,
            "carried": [[start, len(raw)] for start, raw in self.carried],
        }
        return b"".join([json.dumps(about).encode(), b"\n", *(raw for _, raw in self.carried)])

    @classmethod
    def from_bytes(cls, stored: bytes) -> BlockRecord:
        """Read what `to_bytes` made, or raise ValueError, LookupError or TypeError."""
        head, _, rest = stored.partition(b"\n")
        about = json.loads(head)
        carried, at = [], 0
        for start, length in about["carried"]:
            carried.append((start, rest[at : at + length]))
            at += length
        if at != len(rest):
            raise ValueError(f"{len(rest)} of {at} bytes")
        statistics = about["statistics"] and Statistics(**about["statistics"])
        return cls(about["nbytes"], statistics, tuple(carried))


def write_block(block: npt.NDArray[Any], job: Job, number: int, box: Box) -> BlockRecord:
    """Write a block, but for the parts of cells at its ends; of MRCZ, keep it compressed."""
    with _left_clean(job), ThreadPoolExecutor(1) as beside:
        refuse_mask(block)
        block = np.asarray(block)
        # The numbers are summed up while their bytes are on their way.
        stored = job.header.storage.dtype
        summing = beside.submit(statistics_of, block, stored) if job.statistics else None
        carried: tuple[Piece, ...] = ()
        if job.header.codec:
            sections = compressed_sections(block, job.header)
            nbytes = job.destination.keep_packed(number, sections)
        else:
            nbytes, carried = _write(block, job, box)
        statistics = summing.result() if summing else None
        record = BlockRecord(nbytes, statistics, carried)
        job.destination.keep(number, record.to_bytes())
    return record


def _write(block: npt.NDArray[Any], job: Job, box: Box) -> tuple[int, tuple[Piece, ...]]:
    """Write the whole cells of a block; return how many bytes it has, and its parts of others."""
    destination = job.destination
    length, runs = job.runs(box)
    start, _ = next(runs)
    encoded = EncodedBlock(block, job.header.storage, job.header.byteorder, start)
    if length == encoded.nbytes:
        (begin, end), parts = split_run(destination.grid, start, start + length)
        if begin < end:
            beside = block.nbytes if encoded.copied else 0
            destination.write(begin, end, encoded.between, beside)
        return length, tuple((a, bytes(encoded.between(a, b))) for a, b in parts)
    if not isinstance(destination, LocalDestination):
        raise TypeError("blocks are planned to be contiguous, but for those on local disks")
    _write_runs(block, job, destination, box)
    return encoded.nbytes, ()


def _write_runs(block: npt.NDArray[Any], job: Job, destination: LocalDestination, box: Box) -> None:
    """Write parts of rows or frames to their places; on local disks alone.

    Each run of some length takes a call of the system. Short ones, as of a crop of each frame, are
    copied to maps of the file: a call for each would take a hundred times as long as its bytes.
    """
    storage, byteorder = job.header.storage, job.header.byteorder
    length, runs = job.runs(box)
    with destination.opened() as file:
        if file is None:
            return
        if length >= _SHORT:
            for at, index in runs:
                write_at(file.fileno(), encode_pixels(block[index], storage, byteorder).data, at)
            return
        block, shape, box = block[None], (1, *job.shape), ((0, 1), *box)
        row, left, right = map(storage.row_bytes, (shape[-1], *box[-1]))
        frame, (top, bottom) = shape[-2] * row, box[-2]
        # A map goes with its last view, so that little counts as memory of the process.
        step = max(1, window(block.nbytes) // frame)
        for index in np.ndindex(block.shape[:-3]):
            place = [i + start for i, (start, _) in zip((*index, 0), box[:-2], strict=True)]
            first = int(np.ravel_multi_index(place, shape[:-2]))
            for low, high in windows(0, block.shape[-3], step):
                begin = job.header.data_offset + (first + low) * frame
                frames = np.memmap(file, np.uint8, "r+", begin, (high - low, shape[-2], row))
                some = encode_pixels(block[index][low:high], storage, byteorder)
                frames[:, top:bottom, left:right] = some


def recall_block(job: Job, number: int) -> BlockRecord:
    """Read the record of a block that an earlier call has written."""
    try:
        return BlockRecord.from_bytes(job.destination.recall(number))
    except (ValueError, LookupError, TypeError):
        what = f"readable records of block {number}"
        raise incomplete(job.destination.location, 0, 1, what) from None


def merge(job: Job, records: list[BlockRecord]) -> BlockRecord:
    """Join what neighbours have carried, and write the cells that are whole by now."""
    complete, record = _merged(job.destination.grid, records)
    for piece in complete:
        job.destination.write(*piece_bytes(piece))
    return record


def _merged(grid: Grid, records: list[BlockRecord]) -> tuple[list[Piece], BlockRecord]:
    """Merge the records of neighbours; return the cells that are whole by now, too."""
    complete, carried = join_pieces(grid, (piece for each in records for piece in each.carried))
    statistics = merge_statistics(each.statistics for each in records)
    return complete, BlockRecord(sum(each.nbytes for each in records), statistics, tuple(carried))


def finish(
    job: Job, record: BlockRecord, extended: bytes, auxiliary: dict[str, bytes], blocks: int
) -> tuple[float, float, float, float] | None:
    """Write the header, which comes last, and give the file its name.

    `record` is that of all blocks. DMIN, DMAX, DMEAN and RMS deviation are returned.
    """
    known = record.statistics.summary() if record.statistics else None
    packed = record.nbytes if job.header.codec else None
    start = encode_header(job.header, known, packed_bytes=packed or 0) + extended
    complete: list[Piece] = [(0, start)]
    if packed is None:
        first = BlockRecord(0, None, ((0, start),))
        complete, last = _merged(job.destination.grid, [first, record])
        if last.carried:  # records of an earlier version, begun on another kind of disk
            size = job.destination.grid.size
            found = size - sum(len(raw) for _, raw in last.carried)
            raise incomplete(job.destination.location, found, size, "bytes")
    with _left_clean(job):
        job.destination.finish(complete, blocks, auxiliary, packed)
    return known


@contextmanager
def _left_clean(job: Job) -> Iterator[None]:
    """Give the file up if it cannot be written.

    That is so if a value does not fit, another file has come to have the name, or the disk is full.
    """
    try:
        yield
    except (ArgumentError, WriteError) as error:
        if job.abandons and (isinstance(error, ArgumentError) or error.code == "disk-full"):
            give_up(job.destination.abandon, error)
        raise
