"""Readers of local files: memory-mapped, or read where mapping is unsuitable."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from io import FileIO
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from fsspec.implementations.local import LocalFileSystem

from mrcdist import stats
from mrcdist.config import ReadSettings
from mrcdist.errors import FileChangedError
from mrcdist.format.pixels import Bytes
from mrcdist.plan.layout import Frames, Layout
from mrcdist.plan.reader_capabilities import Capabilities, Cost, Parts, Stretches
from mrcdist.read.mmap_pool import POOL
from mrcdist.read_limits import ReadLimits
from mrcdist.storage.location import here
from mrcdist.storage.stored_file import StoredFile
from mrcdist.storage.url import on_network
from mrcdist.system_calls import is_cached, prefetch_file, prefetch_map

Array = npt.NDArray[Any]


def open_local(file: StoredFile, settings: ReadSettings, limits: ReadLimits) -> LocalReader:
    """Return the reader for a local file.

    The setting ``io`` is "map", "read" or "auto": map on local disks, except for small ranges, and
    read on network filesystems.
    """
    on_disk = settings.io != "auto" or not on_network(_path_of(file.location.url))
    kind = MappedFile if settings.io != "read" and on_disk else LocalReader
    return kind(file, settings, limits)


class LocalReader:
    """Reads byte ranges of one version of a local file into buffers."""

    def __init__(self, file: StoredFile, settings: ReadSettings, limits: ReadLimits) -> None:
        self._file = file
        self._consistency = settings.consistency
        self._path = _path_of(file.location.url)
        self._limits = limits
        self._gap = settings.largest_gap(limits.read_gap)

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning."""
        return Capabilities(self.views, lambda start, stop: Cost(1, stop - start), self._gap)

    def views(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), in order."""
        with self._opened() as file:
            for start, stop in ranges:
                yield self._bytes(file, start, stop)

    def _bytes(self, file: FileIO, start: int, stop: int) -> Bytes:
        """Read one range of the open file into a new buffer."""
        buffer = np.empty(stop - start, np.uint8)
        self._read(file, start, buffer)
        stats.add(requests=1, bytes_fetched=buffer.size)
        return buffer

    def _opened(self) -> AbstractContextManager[FileIO]:
        return self._file.open_local(self._path, self._consistency)

    def _read(self, file: FileIO, start: int, memory: Bytes) -> None:
        """Fill memory with the bytes of the file from `start` on."""
        filled = 0
        try:
            file.seek(start)
            while filled < memory.size:
                count = file.readinto(memory[filled:].data)
                if not count:
                    raise self._ended(start + filled, start, start + memory.size)
                filled += count
        except OSError as error:
            raise self._file.location.explained(error, start, start + memory.size) from None

    def _ended(self, at: int, start: int, stop: int) -> FileChangedError:
        location = self._file.location
        return FileChangedError(
            f"{location.shown} ends at byte {at}, before the end of the planned byte range",
            cause="the file was truncated after reading was planned",
            where=here(location, start, stop),
        )


class MappedFile(LocalReader):
    """Maps byte ranges: buffers are read-only pages of the file.

    Ranges of up to `small` bytes are read into buffers instead.
    """

    def __init__(self, file: StoredFile, settings: ReadSettings, limits: ReadLimits) -> None:
        super().__init__(file, settings, limits)
        self._small = limits.small if settings.io == "auto" else 0

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning."""
        return Capabilities(self.views, self._cost, self._gap, maps=self, small=self._small)

    def _cost(self, start: int, stop: int) -> Cost:
        return Cost(requests=int(stop - start <= self._small), nbytes=stop - start)

    def pages(
        self, ranges: Iterable[tuple[int, int]], parts: Iterable[Parts | None]
    ) -> Iterator[Bytes]:
        """Yield the bytes of each (start, stop), of which some or all parts will be used."""
        with self._opened() as file:
            for (start, stop), used in zip(ranges, parts, strict=True):
                yield self._bytes(file, start, stop, used)

    def keep(self, start: int, stop: int, parts: Parts, unused_bytes: int) -> Bytes | None:
        """Return a mapped range, or None if the budget for maps is exhausted."""
        with self._opened() as file:
            self._require(file, start, stop)
            mapped, begin = POOL.shared(file, self._limits) if unused_bytes else None, 0
            if mapped is None:
                own = partial(self._map, file, start, stop)
                mapped, begin = POOL.mapped(own, unused_bytes, self._limits), _page_of(start)
            if mapped is None:
                return None
            stats.add(bytes_mapped=stop - start)
            return self._pages(mapped, start, stop, begin, parts)

    @contextmanager
    def borrow_map(
        self, start: int, stop: int, parts: Frames, length: int
    ) -> Iterator[Bytes | None]:
        """Yield a shared map of a range, or None if the budget for maps is exhausted."""
        with self._opened() as file:
            self._require(file, start, stop)
            mapped = POOL.shared(file, self._limits)
            if mapped is None:
                yield None
                return
            announce(file, np.sort(parts) + start, np.full(parts.size, length), self._limits)
            stats.add(bytes_mapped=parts.size * length)
            yield self._pages(mapped, start, stop, 0, None)

    def copy(self, stretches: Stretches, memory: Bytes) -> None:
        """Read stretches to their places in memory, without mapping pages."""
        starts, places = stretches.starts.tolist(), stretches.places.tolist()
        lengths = stretches.lengths.tolist()
        with self._opened() as file:
            announce(file, stretches.starts, stretches.lengths, self._limits)
            for start, place, length in zip(starts, places, lengths, strict=True):
                self._read(file, start, memory[place : place + length])
        stats.add(requests=len(starts), bytes_fetched=sum(lengths))

    def _bytes(self, file: FileIO, start: int, stop: int, parts: Parts | None = None) -> Bytes:
        if stop - start <= self._small:
            return super()._bytes(file, start, stop)
        self._require(file, start, stop)
        stats.add(bytes_mapped=stop - start)
        return self._pages(self._map(file, start, stop), start, stop, _page_of(start), parts)

    def _require(self, file: FileIO, start: int, stop: int) -> None:
        """Raise if the file ends within a range: touching a missing page kills the process."""
        size = os.fstat(file.fileno()).st_size
        if stop > size:
            raise self._ended(size, start, stop)

    def _pages(
        self, mapped: mmap.mmap, start: int, stop: int, begin: int, parts: Parts | None
    ) -> Bytes:
        """Return a range of a map that begins at byte `begin`; the range keeps the map alive."""
        if begin + len(mapped) < stop:  # truncated since the check
            raise self._ended(begin + len(mapped), start, stop)
        if parts is not None:
            in_map = Parts(parts.starts + (start - begin), parts.length, parts.stride)
            expect(mapped, in_map, self._limits)
        return np.frombuffer(mapped, np.uint8, stop - start, start - begin)

    def _map(self, file: FileIO, start: int, stop: int) -> mmap.mmap:
        begin = _page_of(start)
        try:
            return mmap.mmap(file.fileno(), stop - begin, access=mmap.ACCESS_READ, offset=begin)
        except ValueError:  # truncated since the check
            raise self._ended(os.fstat(file.fileno()).st_size, start, stop) from None
        except OSError as error:
            raise self._file.location.explained(error, start, stop) from None


def _page_of(start: int) -> int:
    """Return the offset of the page that contains a byte, where its map must begin."""
    return start - start % mmap.ALLOCATIONGRANULARITY


@lru_cache(maxsize=256)
def _path_of(url: str) -> str:
    """Return the same path as `Location.filesystem`, but cached, for speed in tasks."""
    path: str = LocalFileSystem._strip_protocol(url)
    return path


def map_writable(
    file: StoredFile, offset: int, layout: Layout, mode: Literal["r", "c", "r+"]
) -> Array:
    """Return a whole local file as `numpy.memmap`, in its byte order and of ``layout.shape``.

    `offset` is the first byte of the first frame. The layout must have plain pixels and all frames
    present. The modes are read-only, copy-on-write and read-write.
    """
    path = _path_of(file.location.url)
    try:
        with file.open_local(path, "strict", "r+b" if mode == "r+" else "rb") as opened:
            return np.memmap(opened, layout.pixels.stored, mode, offset, layout.shape)
    except OSError as error:
        raise file.location.explained(error) from None


def expect(mapped: mmap.mmap, parts: Parts, limits: ReadLimits) -> None:
    """Have parts of a map read ahead together, without the gaps between them.

    Without the hint, whole frames are read for a crop of frames that are not in the page cache, and
    single frames of 32 KiB take five times as long on a disk that reads 8 MiB ahead.
    """
    starts, length, least = parts.starts, parts.length, limits.ahead_min_gap
    if _narrowest(parts, least) < least:
        starts, length = starts[:1], int(starts[-1] - starts[0]) + length
        if length > limits.ahead_short:
            return
    pages = starts - starts % mmap.PAGESIZE
    lengths = starts + length - pages
    prefetch_map(mapped, list(zip(pages.tolist(), lengths.tolist(), strict=True)))


def announce(file: FileIO, starts: Frames, lengths: Frames, limits: ReadLimits) -> None:
    """Have parts scattered over a file read ahead, in file order, before they are copied.

    Does nothing if a sample of them is in the page cache, since a hint takes a microsecond.
    """
    sample = starts[:: -(-starts.size // limits.ahead_sample) or 1]
    if starts.size > 1 and not is_cached(file.fileno(), sample.tolist()):
        ranges = zip(starts.tolist(), lengths.tolist(), strict=True)
        prefetch_file(file.fileno(), list(ranges))


def _narrowest(parts: Parts, least: int) -> int:
    """Return the narrowest gap in bytes, or the mean gap if that is less than `least`."""
    starts, length = parts.starts, parts.length
    if starts.size == 1:
        return parts.stride - length
    mean = int(starts[-1] - starts[0]) // (starts.size - 1) - length
    return mean if mean < least else int(np.diff(starts).min()) - length
