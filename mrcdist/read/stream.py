"""A file that is one compressed stream: read from its start, in one task."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any, Literal

import numpy as np
from fsspec.implementations.local import LocalFileSystem

from mrcdist.errors import TruncatedFileError
from mrcdist.read import stats
from mrcdist.read.failures import explain_failure
from mrcdist.read.location import Identity, Location, here
from mrcdist.read.transport import Bytes, changed

__all__ = ["STREAMS", "Stream", "StreamReader", "read_stream_head"]

Stream = Literal["gzip", "bzip2"]
STREAMS = ("gzip", "bzip2")

# Read and decompressed at a time.
_PIECE = 2**22


class StreamReader:
    """Decompresses one version of a file from its start up to the bytes that are wanted.

    Parameters
    ----------
    location : Location
    identity : Identity
        The planned version; another one raises `FileChangedError`.
    kind : {"gzip", "bzip2"}
    """

    private = True

    def __init__(self, location: Location, identity: Identity, kind: str) -> None:
        self._location = location
        self._identity = identity
        self._kind = kind

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the decompressed bytes of each (start, stop), in the order of the file.

        Raises
        ------
        FileChangedError, TruncatedFileError, MissingFileError, AccessDeniedError, ReadError
        """
        self._check()
        at = 0
        with open_stream(self._location, self._kind) as stream:
            for start, stop in ranges:
                self._skip(stream, start - at, start)
                buffer = np.empty(stop - start, np.uint8)
                filled = 0
                while filled < buffer.size:
                    piece = self._read(stream, min(_PIECE, buffer.size - filled))
                    if not piece:
                        raise self._ended(start + filled, stop)
                    buffer[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
                    filled += len(piece)
                at = stop
                stats.add(requests=1, bytes_fetched=buffer.size)
                yield buffer
        self._check()

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
            raise explain_failure(error, self._location.shown, self._location.scrub) from None

    def _ended(self, at: int, wanted: int) -> TruncatedFileError:
        return TruncatedFileError(
            f"{self._location.shown} ends after {at} decompressed bytes, its header announces at "
            f"least {wanted}",
            cause="the acquisition was aborted before the file was compressed",
            remedy="decompress the file; allow_truncated=True then loads the whole frames that "
            "are there",
            where=here(self._location),
        )

    def _check(self) -> None:
        found = self._location.identify()
        if found != self._identity:
            raise changed(self._location, self._identity, found).located(here(self._location))


def open_stream(location: Location, kind: str) -> Any:
    """Open a file through its decompressor."""
    try:
        fs, path = location.filesystem()
        options = {} if isinstance(fs, LocalFileSystem) else {"block_size": _PIECE}
        raw = fs.open(path, "rb", **options)
    except Exception as error:  # noqa: BLE001 each store has its own errors
        raise explain_failure(error, location.shown, location.scrub).located(
            here(location)
        ) from None
    return _Closing(gzip.GzipFile(fileobj=raw) if kind == "gzip" else bz2.BZ2File(raw), raw)


def read_stream_head(location: Location, kind: str, size: int) -> bytes:
    """Decompress the first `size` bytes; fewer where the file has fewer or is damaged."""
    with open_stream(location, kind) as stream:
        head = b""
        try:
            while len(head) < size and (piece := stream.read(size - len(head))):
                head += piece
        except (EOFError, zlib.error, OSError):
            pass  # what there is tells the caller more than the decompressor's words
        return head


class _Closing:
    """A decompressor that closes the file below it too."""

    def __init__(self, stream: Any, below: IO[bytes]) -> None:
        self._stream = stream
        self._below = below

    def __enter__(self) -> Any:
        return self._stream

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._below.close()
