"""Plan the writing of a file: header, blocks, cost, graph. No pixel is computed."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TextIO

import dask
import dask.array as da
from dask.delayed import Delayed
from dask.tokenize import tokenize

from mrcdist.errors import ArgumentError, MrcdistWarning
from mrcdist.format.byte_order import ByteOrder, check_byte_order
from mrcdist.format.encode import NewHeader, Storage, choose_storage
from mrcdist.format.extended.stored_records import PER_SECTION
from mrcdist.format.header_words import mrcz_words
from mrcdist.plan.chunks import Chunks, block_boxes
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Note
from mrcdist.write.auxiliary_files import choose_auxiliary, unstored_metadata
from mrcdist.write.blocks import in_blocks
from mrcdist.write.contents import Contents
from mrcdist.write.earlier_files import look_beside
from mrcdist.write.encoded_block import TEMPORARIES, window
from mrcdist.write.errors import give_up
from mrcdist.write.estimate import WriteEstimate, WriteReport
from mrcdist.write.extended_header import choose_extended_header
from mrcdist.write.grid import Grid
from mrcdist.write.local import LocalDestination, local_grid
from mrcdist.write.mrcz import choose_compressor, find_codec, json_header
from mrcdist.write.new_header import ImageKind, kept_labels, kind_of, new_header
from mrcdist.write.progress import show_progress
from mrcdist.write.s3 import S3Destination, is_s3
from mrcdist.write.s3_parts import PackedPieces, S3Limits, packed_pieces, s3_grid
from mrcdist.write.stream import stream as write_stream
from mrcdist.write.tasks import Job, finish, merge, recall_block, write_block

__all__ = ["ImageKind", "WritePlan", "plan_write"]

# Records that one task merges: few enough that what they carry fits beside the blocks in memory.
_FAN_IN = 16


@dataclass(frozen=True)
class WritePlan:
    """All that is decided before any pixel is computed.

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
    notes : tuple of str
        Information that cannot be stored, and other warnings.
    limits : S3Limits
        Limits of the store, if it is S3.
    read_chunks : tuple of tuple of int, optional
        Those in which a file is read that is converted; kept for a call that resumes.
    runs : tuple of tuple of int, optional
        Contiguous blocks of whole chunks that are written one after the other, where one task has
        to write all.
    """

    location: Location
    array: da.Array
    header: NewHeader
    extended: bytes
    auxiliary: Mapping[str, bytes]
    statistics: bool
    overwrite: bool
    resume: bool
    shape: tuple[int, ...]
    notes: tuple[str, ...]
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
        destination = self._destination()
        stored, block = _stored_bytes(self._block_shape, self.header.storage), self._block_memory
        if destination is None:
            tasks, requests, encoded = 1, 0, window(block) + TEMPORARIES
            remarks: tuple[str, ...] = (
                "this store can only be written sequentially: one task writes the file",
            )
        else:
            tasks, remarks = self.array.npartitions, destination.remarks
            requests, encoded = destination.cost(stored)
        if self.header.codec:
            remarks = ("sizes are those before compression", *remarks)
            # A section as it is stored, and that compressed.
            encoded += 2 * self.header.ny * self.header.storage.row_bytes(self.header.nx)
        return WriteEstimate(
            self.location.shown,
            tasks,
            self.nbytes,
            stored,
            requests,
            block if self._stored_as_they_are and not self.header.codec else block + encoded,
            (*self.notes, *remarks),
        )

    @property
    def _block_shape(self) -> tuple[int, ...]:
        return tuple(max(axis) for axis in self.runs or self.array.chunks)

    @property
    def _block_memory(self) -> int:
        return int(math.prod(self._block_shape) * self.array.dtype.itemsize)

    @property
    def _stored_as_they_are(self) -> bool:
        return self.header.storage.is_of(self.array.dtype, self.header.byteorder)

    def _destination(self) -> LocalDestination | S3Destination | None:
        """Destination for tasks that write in parallel; None where one task has to write all."""
        packed = Grid(self.header.data_offset, 1, 0)  # its size is not known before the end
        destination: LocalDestination | S3Destination
        if self.location.is_local:
            grid = local_grid(Path(self.location.url), self.header.data_offset, self.nbytes)
            destination = LocalDestination(self.location, packed if self.header.codec else grid)
            return self._beside_blocks(destination)
        if not is_s3(self.location):
            return None
        if self.header.codec:
            pieces = _pieces(self.array, self.header.storage, self.limits)
            return S3Destination(self.location, packed, self.limits, packed=pieces)
        block = _stored_bytes(self._block_shape, self.header.storage)
        grid = s3_grid(self.header.data_offset, self.nbytes, block, self.limits)
        return self._beside_blocks(S3Destination(self.location, grid, self.limits))

    def _beside_blocks(
        self, destination: LocalDestination | S3Destination
    ) -> LocalDestination | S3Destination:
        # A task finds that out again, of its block: its numbers may be in another order in memory.
        return destination if self._stored_as_they_are else destination.beside(self._block_memory)

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
        begun = time.monotonic()
        destination = self._begin()
        try:
            with show_progress(destination, self.array.npartitions, stream):
                [statistics] = dask.compute(self._graph(destination))
        except BaseException as error:
            if destination is not None and not self.resume:
                give_up(destination.abandon, error)
            raise
        return WriteReport(
            self.location.shown,
            self.location.size() if self.header.codec else self.nbytes,
            self.shape,
            self.header.mode,
            statistics,
            time.monotonic() - begun,
            notes=self.notes,
        )

    def delayed(self) -> Delayed:
        """Return a `dask.delayed.Delayed` that writes the file and returns the statistics."""
        return self._graph(self._begin(), abandons=not self.resume)

    def _begin(self) -> LocalDestination | S3Destination | None:
        destination = self._destination()
        if destination is None:
            return None
        about = {
            "data": tokenize(self.array),
            "chunks": [list(axis) for axis in self.array.chunks],
            "read_chunks": [list(axis) for axis in self.read_chunks or ()],
            "header": repr(self.header),
            "beside": tokenize(self.extended, dict(self.auxiliary)),
            "statistics": self.statistics,
            "overwrite": self.overwrite,
        }
        begun = destination.begin(about, overwrite=self.overwrite, resume=self.resume)
        for note in begun.notes:
            warnings.warn(f"{self.location.shown}: {note}", MrcdistWarning, stacklevel=4)
        return begun

    def _graph(
        self, destination: LocalDestination | S3Destination | None, *, abandons: bool = False
    ) -> Delayed:
        token = uuid.uuid4().hex[:16]
        if destination is None:
            # The array as it is: that task computes it, run by run.
            work = functools.partial(
                write_stream,
                self.location,
                self._labelled(""),
                self.extended,
                self.array,
                self.runs or self.array.chunks,
                dict(self.auxiliary),
                overwrite=self.overwrite,
            )
            return dask.delayed(work, traverse=False, name=f"write-{token}")(
                dask_key_name=f"write-mrc-{token}"
            )
        header = self._labelled(destination.date)
        # A node of its own: it goes to each worker once, and not with each task.
        job = dask.delayed(
            Job(destination, header, self.array.shape, self.statistics, abandons),
            traverse=False,
            name=f"write-mrc-job-{token}",
        )
        kept = destination.kept() if self.resume else frozenset()
        write, recall, join = (dask.delayed(f) for f in (write_block, recall_block, merge))
        records: list[Delayed] = []
        blocks = self.array.to_delayed(optimize_graph=True).ravel()
        for number, (block, box) in enumerate(
            zip(blocks, block_boxes(self.array.chunks), strict=True)
        ):
            key = f"write-mrc-{token}-{number}"
            records.append(
                recall(job, number, dask_key_name=key)
                if number in kept
                else write(block, job, number, box, dask_key_name=key)
            )
        level = 0
        while len(records) > 1:
            groups = [records[at : at + _FAN_IN] for at in range(0, len(records), _FAN_IN)]
            records = [
                join(job, group, dask_key_name=f"write-mrc-join-{token}-{level}-{number}")
                for number, group in enumerate(groups)
            ]
            level += 1
        written = dask.delayed(finish, traverse=False, name=f"write-mrc-last-{token}")(
            job,
            records[0],
            self.extended,
            dict(self.auxiliary),
            self.array.npartitions,
            dask_key_name=f"write-mrc-end-{token}",
        )
        if not kept:
            return written
        # Blocks that are kept must not be computed again, as dask would.
        return Delayed(written.key, written.dask.cull({written.key}).to_dict())

    def _labelled(self, date: str) -> NewHeader:
        label = f"mrcdist {version('mrcdist')} {date}".strip()
        return dataclasses.replace(self.header, labels=(label, *self.header.labels))


def plan_write(
    location: Location,
    contents: Contents,
    *,
    dtype: str | None,
    kind: ImageKind | None,
    statistics: bool,
    sidecar: Literal["auto"] | bool,
    extended_header: bytes | Sequence[int] | None,
    exttyp: str | None,
    records: tuple[int, int],
    labels: Sequence[str] | None,
    byteorder: ByteOrder | None,
    overwrite: bool,
    resume: bool,
    compressor: str | None,
) -> WritePlan:
    """Return the plan of a new file.

    Raises
    ------
    ArgumentError
        The data cannot be stored in an MRC file, or an argument is invalid.
    """
    check_byte_order("byteorder", byteorder)
    storage = choose_storage(contents.array.dtype, dtype)
    frame_bytes = contents.array.shape[-2] * storage.row_bytes(contents.array.shape[-1])
    compressor = choose_compressor(location.name, compressor)
    codec = find_codec(compressor, storage, frame_bytes)
    notes: list[str] = []
    streamed = not (location.is_local or is_s3(location))
    array, runs = in_blocks(location, contents.array, storage, notes, compressed=bool(codec))
    kind = kind or kind_of(contents)
    if codec:
        _require_compressible(location, array, storage, kind)
    if codec and extended_header is None:
        extended_header = json_header(contents.metadata)
        exttyp = "json" if extended_header else None
    extended = choose_extended_header(contents, extended_header, exttyp, records, byteorder)
    header = new_header(contents, storage, kind, extended.byteorder, notes)
    notes += extended.notes
    header = dataclasses.replace(
        header,
        nsymbt=len(extended.raw),
        exttyp=extended.exttyp,
        records=extended.records,
        labels=kept_labels(contents) if labels is None else tuple(labels),
        codec=codec,
        mrcz_words=mrcz_words(contents.metadata, contents.original_metadata.get("mrcz_header")),
    )
    # One label is mrcdist's own.
    dataclasses.replace(header, labels=("", *header.labels)).check()
    auxiliary = (
        choose_auxiliary(location.name, contents, sidecar, notes) if kind == "images" else {}
    )
    # Those of the instrument were read from such an extended header, or are written to it.
    has_metadata = extended.exttyp in (*PER_SECTION, "json")
    lost = [] if has_metadata else unstored_metadata(contents, auxiliary)
    if lost:
        sentence = f"metadata that cannot be stored in the file: {', '.join(lost)}"
        notes.append(Note("metadata-not-stored", sentence))
    look_beside(location, contents, auxiliary, sidecar, notes, overwrite=overwrite)
    if streamed and resume:
        notes.append(Note("resume-ignored", "this store keeps no blocks: resume has no effect"))
    if streamed and statistics:
        sentence = "statistics are marked as undetermined: they would have to be known first"
        notes.append(Note("statistics-undetermined", sentence))
    return WritePlan(
        location,
        array,
        header,
        extended.raw,
        auxiliary,
        statistics and not streamed and array.dtype.kind != "c",
        overwrite,
        resume,
        tuple(contents.array.shape),
        tuple(notes),
        runs=runs,
    )


def _require_compressible(
    location: Location, array: da.Array, storage: Storage, kind: ImageKind
) -> None:
    if kind == "volumes":
        raise ArgumentError(
            f"kind={kind!r} with a compressor",
            code="kind-invalid",
            argument="kind",
            cause="MRCZ cannot store the sections of a volume",
            remedy='leave the compressor out and write to .mrc, or pass kind="images"',
        )
    if is_s3(location):
        _pieces(array, storage, S3Limits())


def _stored_bytes(block: tuple[int, ...], storage: Storage) -> int:
    """Bytes of a block, as it is stored without compression."""
    return int(math.prod(block[:-1]) * storage.row_bytes(block[-1]))


def _pieces(array: da.Array, storage: Storage, limits: S3Limits) -> PackedPieces:
    sections = int(math.prod(array.chunksize[:-2]))
    return packed_pieces(
        _stored_bytes(array.chunksize, storage), sections, array.npartitions, limits
    )
