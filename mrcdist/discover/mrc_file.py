"""One file on the client: version, header, extended header, and where its frames begin."""

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
    extended_kind,
)
from mrcdist.format.header import HEADER_BYTES, Header, parse_header
from mrcdist.format.mrcz import SectionTable, follow_sections
from mrcdist.format.whole_file_compression import Compression, detect_compression, parallel_advice
from mrcdist.plan.layout import Layout
from mrcdist.plan.truncation import MissingFrames
from mrcdist.progress import Progress
from mrcdist.read.compressed import STREAMS, read_stream_head, stream_holds, stream_size
from mrcdist.read.source import DatasetFile
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from mrcdist.warning_notes import Note, Notes

_Key = TypeVar("_Key")
_Found = TypeVar("_Found")

# Records of tens of thousands of sections; more would make opening a file as slow as reading it.
_MAX_RECORD_BYTES = 64 * 2**20

# What gzip's deflate can reach; bzip2 goes beyond with data that are nearly all zeros.
_LIKELY_RATIO = 1032

# Chunk headers of MRCZ are followed through windows of this size: one request for many small
# sections.
_WALK_BYTES = 2**18

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
    """Contents of the start of one version of a file: main header and extended header.

    The whole file may be one compressed stream. Of an image that is `cut_short` only the first rows
    are there, as many as its header now says. Notes are what is odd about it.
    """

    file: StoredFile
    header: Header
    extended: ExtendedHeader | None = field(repr=False)
    compression: Compression | None
    notes: tuple[str, ...]
    cut_short: bool = False

    @property
    def location(self) -> Location:
        """Location of the file."""
        return self.file.location

    def with_complete_rows(self, one: Layout, notes: Notes, *, allowed: bool) -> OpenedFile:
        """Return the complete rows of a single image that is truncated; any other file as it is.

        Where not one row is complete, or none may be missing, `MissingFrames.in_file` says so.
        """
        header, size = self.header, self.file.version.size
        if header.nz != 1 or header.codec is not None or self.compression or size is None:
            return self
        rows = (size - header.data_offset) // one.row_bytes
        if not allowed or not 0 < rows < header.ny:
            return self
        text = f"the file is truncated: {rows} of {header.ny} rows of the image are complete"
        notes.add(Note("file-truncated", text))
        fewer = dataclasses.replace(header, ny=rows)
        return dataclasses.replace(self, header=fewer, cut_short=True)

    def part(
        self, one: Layout, notes: Notes, *, allowed: bool
    ) -> tuple[DatasetFile, MissingFrames]:
        """Determine which whole frames it holds, and what tasks need to open it.

        `one` is the layout of a single frame. Raises where frames are missing and may not.
        """
        header, size = self.header, self.file.version.size
        if self.compression is not None:
            self._require_stream(self.compression, one)
        if header.codec is None:
            frames = MissingFrames.in_file(
                header.nz,
                start=header.data_offset,
                frame_bytes=one.frame_bytes,
                file_size=None if self.compression or self.cut_short else size,
                allowed=allowed,
                notes=notes,
            )
            offset = header.data_offset
            return DatasetFile(self.file, offset, frames.present, self.compression), frames
        if size is None:
            raise ReadError(
                f"{self.location.shown}: its size is not known",
                code="size-unknown",
                cause="the store does not report the size of the file",
                remedy='prefix the URL with "simplecache::"',
            )
        table = self._follow_sections(one, size)
        notes.add(*table.notes)
        frames = MissingFrames.in_sections(
            header.nz, table.sections, file_size=size, allowed=allowed, notes=notes
        )
        return DatasetFile(self.file, 0, table.sections, None, table, one.frame_bytes), frames

    def whole_part(self, part: DatasetFile, one: Layout, *, at_most: int) -> DatasetFile:
        """Return the part with all complete frames of the file, also those behind NZ.

        `one` is the layout of a single frame. Compressed sections are followed up to `at_most`.
        """
        size = self.file.version.size
        if self.compression is not None:
            size = stream_size(self.file, self.compression)
        if size is None or one.frame_bytes == 0:
            return part
        if self.header.codec is not None:
            table = self._follow_sections(one, size, at_most=at_most)
            return dataclasses.replace(part, frames=table.sections, sections=table)
        whole = (size - self.header.data_offset) // one.frame_bytes
        return dataclasses.replace(part, frames=max(whole, part.frames))

    def _require_stream(self, compression: Compression, layout: Layout) -> None:
        """Refuse a stream whose header, being damaged, announces what it cannot hold."""
        header = self.header
        if header.codec is not None:
            raise FormatError(
                f"MODE = {header.mode}: MRCZ, inside a {compression} stream",
                code="compressed-twice",
                cause="the file was compressed twice",
                remedy=parallel_advice(compression, self.location.name)[1],
            )
        size = self.file.version.size
        announced = header.data_offset + header.nz * layout.frame_bytes
        # Tasks take memory for what is announced; only an unlikely ratio is worth a look first.
        if size is None or announced <= _LIKELY_RATIO * size:
            return
        if not stream_holds(self.file, compression, announced):
            raise TruncatedFileError(
                f"{self.location.shown} holds less than the {announced} bytes that its header "
                f"announces, in a {compression} stream of {size} bytes",
                code="stream-truncated",
                cause="the header is damaged, or the stream is damaged or cut short",
                remedy="copy the file again, or decompress it to see what it contains",
            )

    def _follow_sections(self, layout: Layout, size: int, *, at_most: int = 0) -> SectionTable:
        with (
            Progress("following compressed sections", self.header.nz) as progress,
            self.file.reader() as read,
        ):
            # Sections larger than a window are stepped over, smaller ones come many in one.
            window = 0 if self.location.is_local else min(_WALK_BYTES, read_settings().sub_range)
            return follow_sections(
                read,
                start=self.header.data_offset,
                sections=self.header.nz,
                section_nbytes=layout.frame_bytes,
                file_size=size,
                window=window,
                at_most=at_most,
                passed=progress.advance,
            )


def _open_file(location: Location, endianness: ByteOrder | None) -> OpenedFile:
    """Read the header and the part of the extended header that the data need."""
    file, raw, settled = StoredFile.open(location, HEADER_BYTES)
    version = file.version
    compression = detect_compression(raw)
    notes: list[str] = []
    if read_settings().consistency == "strict" and not (version.kind and settled):
        notes.append(_MOVING_DATE if version.kind else _NO_VERSION)
    if compression is not None:
        cause, remedy = parallel_advice(compression, location.name)
        if compression not in STREAMS:
            raise FormatError(
                f"{location.shown} is compressed with {compression}",
                code="compression-unsupported",
                cause=cause,
                remedy=remedy,
            )
        text = f"{cause}; one task reads it, always to its end, where its checksum is"
        notes.append(Note("one-stream", f"{text}. To go faster, {remedy}"))
        raw = read_stream_head(file, compression, HEADER_BYTES)
    size = None if compression else version.size
    header = parse_header(raw, file_size=size, endianness=endianness)
    if doubtful := presence_bytes(header):
        stop = min(HEADER_BYTES + doubtful, size or 0)
        header = settle_presence(header, file.read(HEADER_BYTES, stop))
    extended = _read_extended(file, compression, header)
    if extended is not None:
        notes += extended.notes
        header = correct_pixel_size(header, extended)
    return OpenedFile(file, header, extended, compression, (*header.notes, *notes))


def open_files(locations: Sequence[Location], endianness: ByteOrder | None) -> list[OpenedFile]:
    """Open the files of a list, several at a time: their requests do not depend on each other.

    Raises the error of the first one that cannot be opened.
    """

    def opened(location: Location) -> OpenedFile:
        with errors_at(location):
            return _open_file(location, endianness)

    return several_at_a_time(opened, locations)


def several_at_a_time(read: Callable[[_Key], _Found], keys: Sequence[_Key]) -> list[_Found]:
    """Call a function that waits for a store, with each of the keys, in a few threads.

    Raises the error of the first key with which it fails.
    """
    if len(keys) == 1:
        return [read(keys[0])]
    # In the order of the keys; what has not begun when one fails never does.
    return list(_threads(os.getpid(), read_settings().concurrency).map(read, keys))


@functools.cache
def _threads(pid: int, at_a_time: int) -> ThreadPoolExecutor:
    """Threads of a process that open files; kept, because fsspec keeps a filesystem for each."""
    return ThreadPoolExecutor(at_a_time, thread_name_prefix="mrcdist-open")


def _read_extended(
    file: StoredFile, compression: Compression | None, header: Header
) -> ExtendedHeader | None:
    """Decode the extended header: the sections' records, not the space kept for more."""
    kind = extended_kind(header)
    if kind is None:
        return None

    def read(start: int, stop: int) -> bytes:
        if stop <= start:
            return b""
        if compression is not None:
            return read_stream_head(file, compression, HEADER_BYTES + stop)[HEADER_BYTES + start :]
        return file.read(HEADER_BYTES + start, HEADER_BYTES + stop)

    guess = bytes_needed(kind, n_sections=header.nz)
    raw = read(0, min(guess, _MAX_RECORD_BYTES))
    wanted = bytes_needed(kind, n_sections=header.nz, first_bytes=raw)
    stop = min(wanted, _MAX_RECORD_BYTES)
    if stop > guess:
        raw += read(guess, stop)
    decoded = decode_extended(kind, raw, byteorder=header.byteorder, n_sections=header.nz)
    if wanted <= _MAX_RECORD_BYTES:
        return decoded
    text = f"the records of the first {decoded.n_records} of {header.nz} sections were read"
    # The file has the others, too.
    others = [each for each in decoded.notes if getattr(each, "code", "") != "records-missing"]
    return dataclasses.replace(decoded, notes=(*others, Note("records-missing", text)))
