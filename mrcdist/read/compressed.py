"""A file that is one compressed stream: read from its start, in one task."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from fsspec.implementations.local import LocalFileSystem

from mrcdist import stats
from mrcdist.config import read_settings
from mrcdist.errors import MrcdistError, TruncatedFileError
from mrcdist.read.protocol import Cost
from mrcdist.storage.location import Location, changed, here
from mrcdist.storage.translate import explain_failure
from mrcdist.storage.transport import Bytes
from mrcdist.storage.version import Identity

__all__ = ["STREAMS", "Stream", "StreamReader", "read_stream_head", "stream_holds"]

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
    ahead = 0

    def __init__(self, location: Location, identity: Identity, kind: str) -> None:
        self._location = location
        self._identity = identity
        self._kind = kind

    def cost(self, start: int, stop: int) -> Cost:
        """Say what reading a range takes, in decompressed bytes."""
        return Cost(requests=1, nbytes=stop - start, held=2 * _PIECE)

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the decompressed bytes of each (start, stop), in the order of the file.

        Raises
        ------
        FileChangedError, TruncatedFileError, MissingFileError, AccessDeniedError, ReadError
        """
        self._check()
        at = 0
        with open_stream(self._location, self._kind, self._identity) as stream:
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
            remedy="decompress the file; {allow_truncated=True} then loads the whole frames that "
            "are there",
            where=here(self._location),
        )

    def _check(self) -> None:
        found = self._location.current()
        consistency = read_settings().consistency
        if found.required(consistency) != self._identity.required(consistency):
            raise changed(self._location, self._identity, found).located(here(self._location))


def open_stream(location: Location, kind: str, identity: Identity | None = None) -> Any:
    """Open a file, of one version where that is given, through its decompressor."""
    raw: IO[bytes]
    try:
        if isinstance(location.filesystem()[0], LocalFileSystem):
            raw = Path(location.filesystem()[1]).open("rb")  # noqa: SIM115 _Closing closes it
        elif (copy := location.local_copy(identity or location.identify)) is not None:
            raw = copy.open("rb")
        else:
            raw = io.BufferedReader(_Pieces(location, identity), _PIECE)
    except Exception as error:  # noqa: BLE001 each store has its own errors
        raise explain_failure(error, location.shown, location.scrub).located(
            here(location)
        ) from None
    return _Closing(gzip.GzipFile(fileobj=raw) if kind == "gzip" else bz2.BZ2File(raw), raw)


class _Pieces(io.RawIOBase):
    """A remote file from its start to its end, piece by piece, each tried until it works."""

    def __init__(self, location: Location, identity: Identity | None) -> None:
        self._location = location
        self._identity = identity
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        raw = self._location.read_head(len(into), self._at, self._identity)
        into[: len(raw)] = raw
        self._at += len(raw)
        return len(raw)


def read_stream_head(location: Location, kind: str, size: int) -> bytes:
    """Decompress the first `size` bytes; fewer where the file has fewer or is damaged."""
    with open_stream(location, kind) as stream:
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


def stream_holds(location: Location, kind: str, size: int) -> bool:
    """Decompress `size` bytes, keep none of them, and say whether there were as many."""
    with open_stream(location, kind) as stream:
        try:
            while size > 0 and (piece := stream.read(min(_PIECE, size))):
                size -= len(piece)
        except MrcdistError:
            raise
        except (EOFError, zlib.error, OSError):
            return False  # damaged or cut short: there is no more of it
        return size <= 0


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
