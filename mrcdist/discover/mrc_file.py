"""One file on the client: version, header, extended header, and number of frames."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from mrcdist.config import read_settings
from mrcdist.discover.files import errors_at
from mrcdist.errors import FormatError, ReadError, TruncatedFileError
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.corrections import (
    correct_pixel_size,
    presence_bytes,
    settle_presence,
)
from mrcdist.format.extended.registry import (
    ExtendedHeader,
    bytes_needed,
    decode_extended,
    possible_decoders,
)
from mrcdist.format.header import HEADER_BYTES, Header, parse_header
from mrcdist.format.mrcz import follow_sections
from mrcdist.format.pixels import PixelFormat
from mrcdist.format.whole_file_compression import (
    MAX_LIKELY_RATIO,
    Compression,
    detect_compression,
    parallel_advice,
)
from mrcdist.plan.axes import one_frame
from mrcdist.plan.layout import Layout
from mrcdist.plan.truncation import MissingFrames
from mrcdist.progress import Progress
from mrcdist.read.compressed import STREAMS, StreamReader
from mrcdist.read.source import DatasetFile
from mrcdist.read_limits import ReadLimits
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from mrcdist.warning_notes import Note, Notes

_Key = TypeVar("_Key")
_Result = TypeVar("_Result")

_NO_VERSION = Note(
    "version-unknown",
    "the store reports only a size (no ETag, version ID or modification time): replacement by a "
    "file of the same size cannot be detected",
)
_MOVING_DATE = Note(
    "version-unknown",
    "the modification date that the web server reports is always the current time: the file is "
    "being written to, or its date identifies no version and tasks report false changes; to "
    'compare only the size, set mrcdist.consistency to "size"',
)


@dataclass(frozen=True)
class OpenedFile:
    """One version of a file, with its main header and extended header.

    `compression` is None unless the whole file is one compressed stream. An image that is
    `cut_short` has lost its last rows, and its header has been changed accordingly.
    """

    file: StoredFile
    header: Header
    extended: ExtendedHeader | None = field(repr=False)
    compression: Compression | None
    notes: tuple[Note, ...]
    limits: ReadLimits = field(repr=False)
    cut_short: bool = False

    @property
    def location(self) -> Location:
        """Location of the file."""
        return self.file.location

    def with_complete_rows(
        self, pixels: PixelFormat, missing: MissingFrames, notes: Notes
    ) -> OpenedFile:
        """Return a single image with its complete rows, if some may be missing.

        Any other file is unchanged.
        """
        header, size = self.header, self.file.version.size
        if header.nz != 1 or header.codec is not None or self.compression or size is None:
            return self
        nbytes = size - header.data_offset
        rows = missing.complete_rows(
            header.ny, nbytes=nbytes, row_bytes=one_frame(header, pixels).row_bytes, notes=notes
        )
        if rows == header.ny:
            return self
        return dataclasses.replace(
            self, header=dataclasses.replace(header, ny=rows), cut_short=True
        )

    def part(
        self, one: Layout, missing: MissingFrames, notes: Notes, *, at_most: int = 0
    ) -> tuple[DatasetFile, MissingFrames]:
        """Return what tasks need to open the file, and the number of its frames.

        `one` is the layout of a single frame. If `at_most` is not 0, complete frames after NZ
        count, too; those of an MRCZ file up to this number. Raises if frames are missing that
        must not be.
        """
        header, size = self.header, self.file.version.size
        if self.compression is not None:
            self._require_plausible_stream(self.compression, one)
        if header.codec is not None:
            return self._sections(one, missing, notes, at_most=at_most)
        complete = self._count_frames(one) if at_most else 0
        if complete > header.nz:
            frames = missing.unannounced(header.nz, complete, notes)
        else:
            frames = missing.in_file(
                header.nz,
                start=header.data_offset,
                frame_bytes=one.frame_bytes,
                file_size=None if self.compression or self.cut_short else size,
                notes=notes,
            )
        return DatasetFile(self.file, header.data_offset, frames.present, self.compression), frames

    def _count_frames(self, one: Layout) -> int:
        """Return the number of complete frames, whatever NZ is; 0 if unknown."""
        size = self.file.version.size
        if self.compression is not None:
            size = StreamReader(self.file, self.compression, self.limits).size()
        if size is None or one.frame_bytes == 0:
            return 0
        return (size - self.header.data_offset) // one.frame_bytes

    def _sections(
        self, one: Layout, missing: MissingFrames, notes: Notes, *, at_most: int
    ) -> tuple[DatasetFile, MissingFrames]:
        """Return the same as `part` for an MRCZ file."""
        nz, size = self.header.nz, self.file.version.size
        if size is None:
            raise ReadError(
                f"{self.location.shown}: its size is not known",
                code="size-unknown",
                cause="the store does not report the size of the file",
                remedy='prefix the URL with "simplecache::"',
            )
        # A window contains many small sections; larger ones are skipped.
        longest = min(self.limits.section_window, read_settings().sub_range)
        window = 0 if self.location.is_local else longest
        with Progress("following compressed sections", nz) as progress, self.file.reader() as read:
            table = follow_sections(
                read,
                start=self.header.data_offset,
                sections=nz,
                section_nbytes=one.frame_bytes,
                file_size=size,
                window=window,
                at_most=at_most,
                advance=progress.advance,
            )
        if table.sections > nz:
            frames = missing.unannounced(nz, table.sections, notes)
        else:
            notes.add(*table.notes)
            frames = missing.in_sections(nz, table.sections, file_size=size, notes=notes)
        return DatasetFile(self.file, 0, table.sections, None, table, one.frame_bytes), frames

    def _require_plausible_stream(self, compression: Compression, one: Layout) -> None:
        """Raise if the stream is too short for what the header announces."""
        header = self.header
        if header.codec is not None:
            raise FormatError(
                f"MODE = {header.mode}: MRCZ, inside a {compression} stream",
                code="compressed-twice",
                cause="the file was compressed twice",
                remedy=parallel_advice(compression, self.location.name)[1],
            )
        size = self.file.version.size
        announced = header.data_offset + header.nz * one.frame_bytes
        # Tasks allocate what is announced, so an unlikely ratio is verified by decompressing.
        if size is None or announced <= MAX_LIKELY_RATIO * size:
            return
        if not StreamReader(self.file, compression, self.limits).holds(announced):
            raise TruncatedFileError(
                f"{self.location.shown} holds less than the {announced} bytes that its header "
                f"announces, in a {compression} stream of {size} bytes",
                code="stream-truncated",
                cause="the header is damaged, or the stream is damaged or cut short",
                remedy="copy the file again, or decompress it to see what it contains",
            )


def _open_file(location: Location, endianness: ByteOrder | None, limits: ReadLimits) -> OpenedFile:
    """Read the header and the records of the extended header."""
    file, raw, settled = StoredFile.open(location, HEADER_BYTES, limits)
    version = file.version
    compression = detect_compression(raw)
    notes = Notes()
    if read_settings().consistency == "strict" and not (version.kind and settled):
        notes.add(_MOVING_DATE if version.kind else _NO_VERSION)
    if compression is not None:
        cause, remedy = parallel_advice(compression, location.name)
        if compression not in STREAMS:
            raise FormatError(
                f"{location.shown} is compressed with {compression}",
                code="compression-unsupported",
                cause=cause,
                remedy=remedy,
            )
        text = f"{cause}; one task reads all of it, because its checksum is at the end"
        notes.add(Note("one-stream", f"{text}. To go faster, {remedy}"))
        raw = StreamReader(file, compression, limits).head(HEADER_BYTES)
    size = None if compression else version.size
    header = parse_header(raw, file_size=size, endianness=endianness)
    if n_bytes := presence_bytes(header):
        stop = min(HEADER_BYTES + n_bytes, size or 0)
        header = settle_presence(header, file.read(HEADER_BYTES, stop))
    extended = _read_extended(file, compression, header, limits)
    if extended is not None:
        notes.add(*extended.notes)
        header = correct_pixel_size(header, extended)
    return OpenedFile(file, header, extended, compression, (*header.notes, *notes), limits)


def open_files(
    locations: Sequence[Location], endianness: ByteOrder | None, limits: ReadLimits
) -> list[OpenedFile]:
    """Open files concurrently; raises the error of the first one that cannot be opened."""

    def open_located(location: Location) -> OpenedFile:
        with errors_at(location):
            return _open_file(location, endianness, limits)

    return map_concurrently(open_located, locations)


def map_concurrently(function: Callable[[_Key], _Result], keys: Sequence[_Key]) -> list[_Result]:
    """Call a function that waits for a store for each of the keys, in a few threads.

    Raises the error of the first key for which it fails; calls that have not started by then are
    cancelled.
    """
    if len(keys) == 1:
        return [function(keys[0])]
    return list(_threads(os.getpid(), read_settings().concurrency).map(function, keys))


@functools.cache
def _threads(pid: int, n_threads: int) -> ThreadPoolExecutor:
    """Return the threads of a process that open files.

    They are kept, because fsspec keeps a filesystem for each thread.
    """
    return ThreadPoolExecutor(n_threads, thread_name_prefix="mrcdist-open")


def _read_extended(
    file: StoredFile, compression: Compression | None, header: Header, limits: ReadLimits
) -> ExtendedHeader | None:
    """Decode the records of the extended header, without the space reserved for more of them."""
    decoders = possible_decoders(header)
    if not decoders:
        return None

    def read(start: int, stop: int) -> bytes:
        if stop <= start:
            return b""
        if compression is not None:
            stream = StreamReader(file, compression, limits)
            return stream.head(HEADER_BYTES + stop)[HEADER_BYTES + start :]
        return file.read(HEADER_BYTES + start, HEADER_BYTES + stop)

    guess = bytes_needed(decoders)
    raw = read(0, min(guess, limits.record_bytes))
    n_bytes = bytes_needed(decoders, raw)
    raw += read(guess, min(n_bytes, limits.record_bytes))
    decoded = decode_extended(decoders, raw)
    if n_bytes <= limits.record_bytes:
        return decoded
    text = f"the records of the first {decoded.n_records} of {header.nz} sections were read"
    # The file does contain the other records.
    others = (note for note in decoded.notes if note.code != "records-missing")
    return dataclasses.replace(decoded, notes=(*others, Note("records-missing", text)))
