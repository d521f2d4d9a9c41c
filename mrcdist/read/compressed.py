"""A file that is one compressed stream: read from its start, in one task."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Literal

import numpy as np

from mrcdist import stats
from mrcdist.errors import MrcdistError, TruncatedFileError
from mrcdist.plan.capabilities import Capabilities, Cost
from mrcdist.plan.tuning import DEFAULT_TUNING
from mrcdist.storage.file import StoredFile
from mrcdist.storage.location import here
from mrcdist.storage.transport import Bytes

__all__ = ["STREAMS", "Stream", "StreamReader", "read_stream_head", "stream_holds"]

Stream = Literal["gzip", "bzip2"]
STREAMS = ("gzip", "bzip2")

# Read and decompressed at a time.
_PIECE = DEFAULT_TUNING.stream_piece


class StreamReader:
    """Decompresses one version of a file from its start up to the bytes that are wanted.

    Parameters
    ----------
    file : StoredFile
    kind : {"gzip", "bzip2"}
    """

    def __init__(self, file: StoredFile, kind: str) -> None:
        self._file = file
        self._location = file.location
        self._kind = kind

    @property
    def can(self) -> Capabilities:
        """What it is planned with."""
        return Capabilities(self._cost, DEFAULT_TUNING.read_gap)

    def _cost(self, start: int, stop: int) -> Cost:
        """What reading a range takes, in decompressed bytes."""
        return Cost(requests=1, nbytes=stop - start, held=2 * _PIECE)

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the decompressed bytes of each (start, stop), in the order of the file.

        Raises
        ------
        FileChangedError, TruncatedFileError, MissingFileError, AccessDeniedError, ReadError
        """
        at = 0
        with open_stream(self._file, self._kind) as stream:
            for start, stop in ranges:
                self._skip(stream, start - at, start)
                # Grown with what comes: a damaged header announces more than memory holds.
                buffer = bytearray()
                while len(buffer) < stop - start:
                    piece = self._read(stream, min(_PIECE, stop - start - len(buffer)))
                    if not piece:
                        raise self._ended(start + len(buffer), stop)
                    buffer += piece
                at = stop
                stats.add(requests=1, bytes_fetched=len(buffer))
                yield np.frombuffer(buffer, np.uint8)

    def _skip(self, stream: IO[bytes], count: int, start: int) -> None:
        while count:
            piece = self._read(stream, min(_PIECE, count))
            if not piece:
                raise self._ended(start - count, start)
            count -= len(piece)

    def _read(self, stream: IO[bytes], size: int) -> bytes:
        try:
            return stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
            if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile) or "Invalid data" in str(
                error
            ):
                raise TruncatedFileError(
                    f"{self._location.shown}: its {self._kind} stream is damaged or cut short",
                    cause=str(error),
                    remedy="copy the file again",
                    where=here(self._location),
                ) from None
            raise self._file.explained(error) from None

    def _ended(self, at: int, wanted: int) -> TruncatedFileError:
        return TruncatedFileError(
            f"{self._location.shown} ends after {at} decompressed bytes, its header announces at "
            f"least {wanted}",
            cause="the acquisition was aborted before the file was compressed",
            remedy="decompress the file; {allow_truncated=True} then loads the whole frames that "
            "are there",
            where=here(self._location),
        )


@contextmanager
def open_stream(file: StoredFile, kind: str) -> Iterator[Any]:
    """Open a file through its decompressor."""
    with file.reader() as read, io.BufferedReader(_Pieces(read), _PIECE) as raw:
        stream: Any = gzip.GzipFile(fileobj=raw) if kind == "gzip" else bz2.BZ2File(raw)
        with stream:
            yield stream


class _Pieces(io.RawIOBase):
    """A file from its start to its end, piece by piece."""

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self._read = read
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        raw = self._read(self._at, self._at + len(into))
        into[: len(raw)] = raw
        self._at += len(raw)
        return len(raw)


def read_stream_head(file: StoredFile, kind: str, size: int) -> bytes:
    """Decompress the first `size` bytes; fewer where the file has fewer or is damaged."""
    with open_stream(file, kind) as stream:
        head = bytearray()
        try:
            # In pieces: a decompressor takes memory for all that it is asked for.
            while len(head) < size and (piece := stream.read(min(_PIECE, size - len(head)))):
                head += piece
        except MrcdistError:
            raise
        except (EOFError, zlib.error, OSError):
            pass  # what there is tells the caller more than the decompressor's words
        return bytes(head)


def stream_holds(file: StoredFile, kind: str, size: int) -> bool:
    """Decompress `size` bytes, keep none of them, and say whether there were as many."""
    with open_stream(file, kind) as stream:
        try:
            while size > 0 and (piece := stream.read(min(_PIECE, size))):
                size -= len(piece)
        except MrcdistError:
            raise
        except (EOFError, zlib.error, OSError):
            return False  # damaged or cut short: there is no more of it
        return size <= 0
