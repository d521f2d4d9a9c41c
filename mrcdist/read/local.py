"""Byte ranges of a local file: mapped, or read where a map is no good."""

from __future__ import annotations

import functools
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import psutil
from fsspec.implementations.local import LocalFileSystem

from mrcdist.config import ReadSettings
from mrcdist.errors import FileChangedError, MrcdistError
from mrcdist.plan.layout import Layout
from mrcdist.read import room, stats
from mrcdist.read.advice import mapped_by
from mrcdist.read.failures import explain_failure
from mrcdist.read.identity import Identity, local_identity
from mrcdist.read.location import Location, changed, here
from mrcdist.read.readers import Cost, RangeKeeper, Stretches
from mrcdist.read.transport import Bytes

__all__ = ["LocalReader", "map_writable", "open_local"]

Array = npt.NDArray[Any]

# A file that is truncated under a map kills the process (SIGBUS); over a network that happens in
# normal use,
# and read() gives an error there that can be caught.
_NETWORK = (
    "nfs", "lustre", "gpfs", "cifs", "smb", "beegfs", "ceph", "glusterfs", "afs", "panfs", "wekafs",
    "orangefs", "pvfs", "9p", "fuse",
)  # fmt: skip


def open_local(location: Location, identity: Identity, settings: ReadSettings) -> LocalReader:
    """Choose how a local file is read.

    Parameters
    ----------
    location : Location
    identity : Identity
        The planned version; another one raises `FileChangedError`.
    settings : ReadSettings
        ``io``: "map", "read", or "auto", which maps on local disks and reads on network
        filesystems.
    """
    path = _path_of(location.url)
    maps = settings.io == "map" or (settings.io == "auto" and not on_network(path))
    return (MappedFile if maps else ReadFile)(location, identity, settings.consistency, path)


class LocalReader(ABC):
    """Byte ranges of one version of a local file."""

    private: bool
    ahead = 0

    def __init__(self, location: Location, identity: Identity, consistency: str, path: str) -> None:
        self._location = location
        self._identity = identity
        self._consistency = consistency
        self._path = path

    @abstractmethod
    def cost(self, start: int, stop: int) -> Cost:
        """Say what reading a range takes."""

    @abstractmethod
    def _bytes(self, file: FileIO, start: int, stop: int) -> Bytes:
        """One range of the open file."""

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), in order.

        Raises
        ------
        FileChangedError, MissingFileError, AccessDeniedError, ReadError
        """
        with self._opened() as file:
            for start, stop in ranges:
                yield self._bytes(file, start, stop)

    @contextmanager
    def _opened(self) -> Iterator[FileIO]:
        """The file, which is the planned version when it is opened and still when it is closed."""
        try:
            file = open(self._path, "rb", buffering=0)  # noqa: PTH123, SIM115 closed below
        except OSError as error:
            raise explain_failure(error, self._location.shown, self._location.scrub).located(
                here(self._location)
            ) from None
        with file:
            self._check(file)
            yield file
            self._check(file)

    def _read(self, file: FileIO, start: int, memory: Bytes) -> None:
        """Fill memory from a byte on."""
        filled = 0
        try:
            file.seek(start)
            while filled < memory.size:
                count = file.readinto(memory[filled:].data)
                if not count:
                    raise self._ended(start + filled, start, start + memory.size)
                filled += count
        except OSError as error:
            raise self._explained(error, start, start + memory.size) from None

    def _check(self, file: FileIO) -> None:
        found = local_identity(os.fstat(file.fileno()))
        if found.required(self._consistency) != self._identity.required(self._consistency):
            raise changed(self._location, self._identity, found).located(here(self._location))

    def _explained(self, error: OSError, start: int, stop: int) -> MrcdistError:
        explained = explain_failure(error, self._location.shown, self._location.scrub)
        return explained.located(here(self._location, start, stop))

    def _ended(self, at: int, start: int, stop: int) -> FileChangedError:
        return FileChangedError(
            f"{self._location.shown} ends at byte {at}, before the bytes that were planned for",
            cause="the file was truncated while tasks were to read it",
            remedy="call read_mrc again to plan for the file as it is now",
            where=here(self._location, start, stop),
        )


class MappedFile(LocalReader, RangeKeeper):
    """Maps byte ranges: its buffers are the file's pages, read-only."""

    private = False

    def cost(self, start: int, stop: int) -> Cost:
        return Cost(requests=0, nbytes=stop - start)

    def keep(self, start: int, stop: int, spare: int) -> Bytes | None:
        """Map a range for as long as its bytes are used; None where that takes too much memory.

        `spare` bytes of it are not wanted.

        Raises
        ------
        FileChangedError, MissingFileError, AccessDeniedError, ReadError
        """
        if not room.take(spare):
            return None
        try:
            [buffer] = self.views([(start, stop)])
        except BaseException:
            room.give_back(spare)
            raise
        room.give_back_with(mapped_by(buffer), spare)
        return buffer

    def copy(self, stretches: Stretches, memory: Bytes) -> None:
        """Read stretches to their places in memory: that leaves no pages mapped.

        Raises
        ------
        FileChangedError, MissingFileError, AccessDeniedError, ReadError
        """
        starts, places = stretches.starts.tolist(), stretches.places.tolist()
        lengths = stretches.lengths.tolist()
        with self._opened() as file:
            for start, place, length in zip(starts, places, lengths, strict=True):
                self._read(file, start, memory[place : place + length])
        stats.add(requests=len(starts), bytes_fetched=sum(lengths))

    def _bytes(self, file: FileIO, start: int, stop: int) -> Bytes:
        size = os.fstat(file.fileno()).st_size
        if stop > size:
            raise self._ended(size, start, stop)
        begin = start - start % mmap.ALLOCATIONGRANULARITY
        try:
            mapped = mmap.mmap(file.fileno(), stop - begin, access=mmap.ACCESS_READ, offset=begin)
        except ValueError:  # it has been truncated since
            raise self._ended(os.fstat(file.fileno()).st_size, start, stop) from None
        except OSError as error:
            raise self._explained(error, start, stop) from None
        stats.add(bytes_mapped=stop - start)
        # The array keeps the map; it goes when the last view of it does.
        return np.frombuffer(mapped, np.uint8, stop - start, start - begin)


class ReadFile(LocalReader):
    """Reads byte ranges into buffers of their own."""

    private = True

    def cost(self, start: int, stop: int) -> Cost:
        return Cost(requests=1, nbytes=stop - start)

    def _bytes(self, file: FileIO, start: int, stop: int) -> Bytes:
        buffer = np.empty(stop - start, np.uint8)
        self._read(file, start, buffer)
        stats.add(requests=1, bytes_fetched=buffer.size)
        return buffer


@functools.lru_cache(maxsize=256)
def _path_of(url: str) -> str:
    """What `Location.filesystem` answers, without looking for one: every task asks."""
    path: str = LocalFileSystem._strip_protocol(url)
    return path


@functools.lru_cache(maxsize=256)
def on_network(path: str) -> bool:
    """Whether a path is on a network or user-space filesystem."""
    real = Path(path).resolve()
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    kind = next(
        (mounts[str(folder)] for folder in (real, *real.parents) if str(folder) in mounts), ""
    )
    return kind.startswith(_NETWORK)


class WholeFile(Protocol):
    """Where a file is, which version of it, and where its frames begin."""

    @property
    def location(self) -> Location: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def offset(self) -> int: ...


def map_writable(part: WholeFile, layout: Layout, mode: Literal["r", "c", "r+"]) -> Array:
    """Map a whole local file as one array.

    Parameters
    ----------
    part : MappedFile
        The file.
    layout : Layout
        Of plain pixels, with all frames present.
    mode : {"r", "c", "r+"}
        Read-only, copy on write, or writing through.

    Returns
    -------
    numpy.memmap, shape ``layout.shape``
        In the file's byte order.

    Raises
    ------
    FileChangedError, MissingFileError, AccessDeniedError, ReadError
    """
    location = part.location
    try:
        with Path(location.filesystem()[1]).open("r+b" if mode == "r+" else "rb") as file:
            found = local_identity(os.fstat(file.fileno()))
            if found != part.identity:
                raise changed(location, part.identity, found).located(here(location))
            return np.memmap(file, layout.pixels.stored, mode, part.offset, layout.shape)
    except OSError as error:
        raise explain_failure(error, location.shown, location.scrub).located(
            here(location)
        ) from None
