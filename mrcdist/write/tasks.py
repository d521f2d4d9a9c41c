"""Tasks of workers: write a block, join bytes that blocks share, finish the file."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError, WriteError
from mrcdist.format.encode import NewHeader, encode_header, encode_pixels
from mrcdist.write.block_record import BlockRecord, merge_records
from mrcdist.write.contents import refuse_mask
from mrcdist.write.destination import Destination
from mrcdist.write.encoded_block import EncodedBlock
from mrcdist.write.errors import give_up
from mrcdist.write.grid import block_runs, piece_bytes, split_run
from mrcdist.write.local import LocalDestination
from mrcdist.write.mrcz import compressed_sections
from mrcdist.write.statistics import statistics_of

__all__ = ["Box", "Job", "finish", "merge", "recall_block", "write_block"]

Box = tuple[tuple[int, int], ...]

# Bytes of a run that is worth a call of the system.
_SHORT = 4096


@dataclass(frozen=True)
class Job:
    """State that every task of a file needs; picklable and small.

    Attributes
    ----------
    destination : Destination
    header : NewHeader
    shape : tuple of int
        Of the whole array.
    statistics : bool
        Whether they are wanted.
    abandons : bool
        Whether a task that cannot write the file gives it up, as for a `Delayed` no client does.
    """

    destination: Destination
    header: NewHeader
    shape: tuple[int, ...]
    statistics: bool
    abandons: bool = False

    def byte_range(self, box: Box) -> tuple[int, int, int]:
        """Return first byte of a block, bytes of each of its runs, and how many bytes it has."""
        row = self.header.storage.row_bytes(self.shape[-1])
        per_row = (*self.shape[:-1], row)
        columns = self.columns(box[-1])
        length, runs = block_runs(per_row, (*box[:-1], columns))
        first, _ = next(iter(runs))
        total = columns[1] - columns[0]
        for start, stop in box[:-1]:
            total *= stop - start
        return self.header.data_offset + first, length, total

    def columns(self, columns: tuple[int, int]) -> tuple[int, int]:
        """Return first byte and end of columns within a row."""
        storage = self.header.storage
        return storage.row_bytes(columns[0]), storage.row_bytes(columns[1])


def write_block(block: npt.NDArray[Any], job: Job, number: int, box: Box) -> BlockRecord:
    """Write a block, but for the parts of cells at its ends; of MRCZ, keep it compressed.

    Parameters
    ----------
    block : ndarray
    job : Job
    number : int
    box : tuple of (int, int)
        Start and stop along each axis of the whole array.
    """
    with _left_clean(job):
        refuse_mask(block)
    block = np.asarray(block)
    with _left_clean(job), ThreadPoolExecutor(1) as beside:
        # The numbers are summed up while their bytes are on their way.
        summing = beside.submit(statistics_of, block) if job.statistics else None
        if job.header.codec:
            sections = compressed_sections(block, job.header)
            nbytes, carried = job.destination.keep_packed(number, sections), []
        else:
            nbytes, carried = job.byte_range(box)[2], _write(block, job, box)
        statistics = summing.result() if summing else None
        record = BlockRecord(nbytes, statistics, tuple(carried))
        job.destination.keep(number, record.to_bytes())
    return record


def _write(block: npt.NDArray[Any], job: Job, box: Box) -> list[tuple[int, bytes]]:
    """Write the whole cells of a block; return its parts of others."""
    start, length, total = job.byte_range(box)
    if length == total:
        encoded = EncodedBlock(block, job.header.storage, job.header.byteorder, start)
        (begin, end), parts = split_run(job.destination.grid, start, start + total)
        if begin < end:
            destination = job.destination
            if encoded.copied:
                destination = destination.beside(block.nbytes)
            destination.write(begin, end, encoded.between)
        return [(a, bytes(encoded.between(a, b))) for a, b in parts]
    _write_runs(block, job, box)
    return []


def _write_runs(block: npt.NDArray[Any], job: Job, box: Box) -> None:
    """Write parts of rows or frames to their places; on local disks alone.

    Each run of some length takes a call of the system. Short ones, as of a crop of each frame, are
    copied to maps of the file: a call for each would take a hundred times as long as its bytes.
    """
    destination, storage = job.destination, job.header.storage
    if not isinstance(destination, LocalDestination):
        raise TypeError("blocks are planned to be contiguous, but for those on local disks")
    row, (left, right) = storage.row_bytes(job.shape[-1]), job.columns(box[-1])
    top, bottom = box[-2]
    length, runs = block_runs((*job.shape[:-1], row), (*box[:-1], (left, right)))
    if length >= _SHORT:
        with destination.writing() as write:
            for at, index in runs:
                raw = encode_pixels(block[index], storage, job.header.byteorder)
                write(job.header.data_offset + at, raw.data)
        return
    frame_bytes = job.shape[-2] * row
    with destination.mapping() as region:
        for index in np.ndindex(block.shape[:-2]):
            place = tuple(i + start for i, (start, _) in zip(index, box[:-2], strict=True))
            number = int(np.ravel_multi_index(place, job.shape[:-2])) if place else 0
            begin = job.header.data_offset + number * frame_bytes
            rows = region(begin + top * row, begin + bottom * row)
            if rows is not None:
                raw = encode_pixels(block[index], storage, job.header.byteorder)
                rows.reshape(bottom - top, row)[:, left:right] = raw


def recall_block(job: Job, number: int) -> BlockRecord | None:
    """Read the record of a block that an earlier call has written."""
    return BlockRecord.from_bytes(job.destination.recall(number))


def merge(job: Job, records: list[BlockRecord]) -> BlockRecord:
    """Join what neighbours have carried, and write the cells that are whole by now."""
    complete, record = merge_records(job.destination.grid, records)
    for piece in complete:
        job.destination.write(*piece_bytes(piece))
    return record


def finish(
    job: Job, record: BlockRecord, extended: bytes, auxiliary: dict[str, bytes], blocks: int
) -> tuple[float, float, float, float] | None:
    """Write the header, which comes last, and give the file its name.

    Parameters
    ----------
    job : Job
    record : BlockRecord
        Of all blocks.
    extended : bytes
    auxiliary : dict of str to bytes
    blocks : int
        How many there are.

    Returns
    -------
    tuple of four floats or None
        DMIN, DMAX, DMEAN and RMS deviation.
    """
    known = record.statistics.summary() if record.statistics else None
    packed_bytes = record.nbytes if job.header.codec else 0
    start = encode_header(job.header, known, packed_bytes=packed_bytes) + extended
    with _left_clean(job):
        if job.header.codec:
            job.destination.join_packed(start, blocks, record.nbytes, auxiliary)
            return known
        first = BlockRecord(0, None, ((0, start),))
        complete, last = merge_records(job.destination.grid, [first, record])
        if last.carried:
            raise AssertionError(f"cells at {[at for at, _ in last.carried]} were not written")
        job.destination.finish(complete, blocks, auxiliary)
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
