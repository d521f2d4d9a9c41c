"""Readers of compressed files: one stream, read to its end and verified, or MRCZ sections."""

from __future__ import annotations

import bz2
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np

from mrcdist import stats
from mrcdist.config import read_settings
from mrcdist.errors import FileChangedError, TruncatedFileError
from mrcdist.format.mrcz import SectionTable, decode_section
from mrcdist.format.pixels import Bytes
from mrcdist.format.whole_file_compression import STREAM_MARKS
from mrcdist.plan.reader_capabilities import Capabilities, Cost
from mrcdist.read_limits import ReadLimits
from mrcdist.remembered import Remembered
from mrcdist.storage.location import here
from mrcdist.storage.stored_file import Reader, StoredFile
from mrcdist.storage.version import Version

STREAMS = tuple(STREAM_MARKS)

# Files, with their versions, that this process has read to the end and found undamaged.
_undamaged: Remembered[tuple[str, Version], None] = Remembered(256)


class StreamReader:
    """Reads byte ranges of a compressed stream by decompressing it, and verifies its checksums.

    Checksums follow the data, so each read continues to the end of the stream, unless this process
    has already verified this version. `kind` is one of `STREAMS`.
    """

    def __init__(self, file: StoredFile, kind: str, limits: ReadLimits) -> None:
        self._file = file
        self._kind = kind
        self._limits = limits

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning."""
        return Capabilities(self.views, self._cost, self._limits.read_gap, whole_frames=True)

    def _cost(self, start: int, stop: int) -> Cost:
        """Return the cost of a range, in decompressed bytes."""
        return Cost(requests=1, nbytes=stop - start, held=2 * self._limits.stream_piece)

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the decompressed bytes of each (start, stop), which must be in file order.

        The data are verified once the iterator has ended without an error.
        """
        try:
            yield from self._verified(ranges)
        except TruncatedFileError:
            if self._file.version.kind or not self._is_intact():
                raise
            raise FileChangedError(
                f"{self._file.location.shown} changed while it was read",
                cause=f"its {self._kind} stream was damaged, but intact when it was read again; "
                "the store reports no version that would have shown this earlier",
                where=here(self._file.location),
            ) from None

    def _verified(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        key = self._file.location.identity, self._file.version
        with self._decompressed() as stream:
            for start, stop in ranges:
                if stream.skip_to(start) < start:
                    raise self._ended(stream, start)
                buffer = stream.read_all(stop - start)
                if stream.position < stop:
                    raise self._ended(stream, stop)
                stats.add(requests=1, bytes_fetched=len(buffer))
                yield np.frombuffer(buffer, np.uint8)
            if ranges and key not in _undamaged:
                stream.skip_to()
        if ranges and self._file.version.kind and read_settings().consistency == "strict":
            _undamaged.keep(key, None)

    def _ended(self, stream: _Decompressed, needed: int) -> TruncatedFileError:
        cause = "the acquisition was aborted before the file was compressed"
        remedy = "decompress the file; `allow_truncated=True` then loads the complete frames"
        if stream.trailing:
            cause = f"the data after that are not {self._kind}: the file is damaged"
            remedy = "copy the file again"
        return TruncatedFileError(
            f"{self._file.location.shown} ends after {stream.position} decompressed bytes, "
            f"but its header announces at least {needed}",
            code="stream-truncated",
            cause=cause,
            remedy=remedy,
            where=here(self._file.location),
        )

    def _is_intact(self) -> bool:
        """Whether the stream can be decompressed to its end."""
        with self._decompressed() as stream, suppress(TruncatedFileError):
            stream.skip_to()
            return not stream.trailing
        return False

    def head(self, size: int) -> bytes:
        """Return the first `size` decompressed bytes, or fewer if the stream is shorter.

        They are not verified, because the checksum is at the end of the stream.
        """
        with self._decompressed() as stream:
            return bytes(stream.read_all(size))

    def holds(self, size: int) -> bool:
        """Return whether the stream contains at least `size` decompressed bytes."""
        with self._decompressed() as stream:
            with suppress(TruncatedFileError):  # the rest cannot be decompressed
                stream.skip_to(size)
            return stream.position >= size

    def size(self) -> int:
        """Return the number of decompressed bytes, by reading the whole stream."""
        with self._decompressed() as stream:
            return stream.skip_to()

    @contextmanager
    def _decompressed(self) -> Iterator[_Decompressed]:
        with self._file.reader() as read:
            yield _Decompressed(self._file, read, self._kind, self._limits)


class _Decompressed:
    """Stream of the decompressed bytes of a file, whose compressed bytes `read` returns.

    Checksums of all members are verified; methods raise `TruncatedFileError` if one is damaged.
    """

    def __init__(self, file: StoredFile, read: Reader, kind: str, limits: ReadLimits) -> None:
        self.position = 0  # of the next decompressed byte
        self.trailing = False  # whether the last member is followed by other data
        self._location = file.location
        self._kind = kind
        self._longest = limits.stream_piece
        self._inputs = _compressed_pieces(read, limits)
        self._unused = b""  # input after the start of a member
        self._member: _Gzip | bz2.BZ2Decompressor | None = self._decompressor()

    def _decompressor(self) -> _Gzip | bz2.BZ2Decompressor:
        return _Gzip() if self._kind == "gzip" else bz2.BZ2Decompressor()

    def read(self, size: int) -> bytes:
        """Return up to `size` further bytes, in pieces; none at the end."""
        # A decompressor allocates memory for the requested size.
        size = min(size, self._longest)
        while self._member is not None:
            if self._member.eof:
                self._begin_member(self._member.unused_data)
                continue
            needs_input = self._member.needs_input
            compressed: bytes | memoryview = b""
            if needs_input:
                compressed = self._unused or next(self._inputs, b"")
                self._unused = b""
            try:
                piece = self._member.decompress(compressed, size)
            except (zlib.error, OSError, EOFError, ValueError) as error:
                raise self._damaged(str(error)) from None
            if piece:
                self.position += len(piece)
                return piece
            if needs_input and not compressed and not self._member.eof:
                raise self._damaged("it ends within the compressed data")
        return b""

    def _damaged(self, cause: str) -> TruncatedFileError:
        return TruncatedFileError(
            f"{self._location.shown}: its {self._kind} stream is damaged or truncated",
            code="stream-damaged",
            cause=cause,
            remedy="copy the file again",
            where=here(self._location),
        )

    def read_all(self, size: int) -> bytearray:
        """Return the next `size` bytes, or fewer at the end.

        The buffer grows in steps, since a damaged header may announce more than fits in memory.
        """
        buffer = bytearray()
        while len(buffer) < size and (piece := self.read(size - len(buffer))):
            buffer += piece
        return buffer

    def skip_to(self, stop: int = sys.maxsize) -> int:
        """Decompress up to a position, or to the end; return the position reached."""
        while self.position < stop and self.read(stop - self.position):
            pass
        return self.position

    def _begin_member(self, unused: bytes) -> None:
        """Continue with the next member, if any; `unused` is the input after the last one."""
        magic, padding = STREAM_MARKS[self._kind], b"\0" * (self._kind == "gzip")  # to a tape block
        while len(unused := unused.lstrip(padding)) < len(magic):
            if not (more := next(self._inputs, b"")):
                break
            unused += more
        self._member = self._decompressor() if unused.startswith(magic) else None
        self.trailing = self._member is None and bool(unused)
        self._unused = unused


def _compressed_pieces(read: Reader, limits: ReadLimits) -> Iterator[memoryview]:
    """Yield the bytes of a file in short pieces, since a decompressor copies its unused input."""
    offset, step = 0, limits.stream_input
    while fetched := memoryview(read(offset, offset + limits.stream_piece)):
        offset += len(fetched)
        for start in range(0, len(fetched), step):
            yield fetched[start : start + step]


class _Gzip:
    """Decompressor of one gzip member, like `bz2.BZ2Decompressor`; zlib verifies CRC and length."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail or data, max_length)


class SectionReader:
    """Reads byte ranges by decompressing only the sections that contain them.

    `inner` reads the compressed file; `table` has the byte ranges of its sections. Section i begins
    at byte ``i * section_bytes`` of the decompressed file.
    """

    def __init__(self, inner: Capabilities, table: SectionTable, section_bytes: int) -> None:
        self._inner = inner
        self._table = table
        self._section_bytes = section_bytes

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning."""
        gap, ahead = self._inner.gap, self._inner.ahead
        return Capabilities(self.views, self._cost, gap, ahead=ahead, whole_frames=True)

    def _cost(self, start: int, stop: int) -> Cost:
        """Return the cost of the compressed sections of a range."""
        size = self._section_bytes
        cost = self._inner.cost(*self._table.byte_range(start // size, -(-stop // size)))
        # Held: the compressed bytes and one decompressed section.
        return Cost(cost.requests, cost.nbytes, cost.held + cost.nbytes + size)

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the decompressed bytes of each (start, stop), in order."""
        size = self._section_bytes
        spans = [(start // size, -(-stop // size)) for start, stop in ranges]
        compressed = self._inner.views([self._table.byte_range(*span) for span in spans])
        for (start, stop), (first, last), raw in zip(ranges, spans, compressed, strict=True):
            whole = np.empty((last - first) * size, np.uint8)
            base = self._table.offsets[first]
            for i in range(first, last):
                begin, end = self._table.byte_range(i, i + 1)
                section = decode_section(raw[begin - base : end - base].tobytes(), size)
                whole[(i - first) * size : (i - first + 1) * size] = np.frombuffer(section, "u1")
            yield whole[start - first * size : stop - first * size]
