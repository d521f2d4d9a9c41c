"""A Zarr store that computes its metadata, and the bytes of its chunks from those of MRC files."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Never

import numpy as np
import numpy.typing as npt
from dask.base import tokenize
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from mrcdist.interop.labelled_array import LabelledArray
from mrcdist.interop.zarr_codec import PartialBytesCodec  # noqa: F401 registers it
from mrcdist.interop.zarr_metadata import array_document, group_document
from mrcdist.read.awaited import AwaitedSource, in_thread
from mrcdist.read.outer_indexing import OuterIndex

__all__ = ["MrcStore"]

_DOCUMENT = "zarr.json"


class MrcStore(Store):  # type: ignore[misc]
    """A read-only Zarr store (format 3) of arrays that stay in their MRC files.

    Chunks contain the decoded pixels, little-endian and in C order. Nothing is listed or kept:
    keys, sizes and metadata follow from the shape.

    Parameters
    ----------
    arrays : mapping of str to LabelledArray
        By their paths: one array at the path "", or several of a group.

    See Also
    --------
    mrcdist.zarr_store : makes one of a file.
    """

    supports_writes = False
    supports_deletes = False
    supports_partial_writes: Literal[False] = False
    supports_listing = True

    def __init__(self, arrays: Mapping[str, LabelledArray]) -> None:
        super().__init__(read_only=True)
        self._arrays = dict(arrays)
        self._awaited = {path: AwaitedSource(array.source) for path, array in arrays.items()}

    def __reduce__(self) -> tuple[Callable[..., MrcStore], tuple[Any, ...]]:
        return type(self), (self._arrays,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MrcStore) and tokenize(self._arrays) == tokenize(other._arrays)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        first, *others = self._arrays.values()
        more = f" and {len(others)} more" if others else ""
        return f"MrcStore({first.source.parts[0].file.location.shown!r}{more})"

    __str__ = __repr__

    def with_read_only(self, read_only: bool = False) -> MrcStore:
        """Return a store of the same arrays, which is read-only."""
        if not read_only:
            raise ValueError("this store computes its chunks from MRC files, and cannot be written")
        return type(self)(self._arrays)

    # Reading

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return the bytes of a key, or some of them; None if there is no such key."""
        size = self._size(key)
        if size is None:
            return None
        start, stop = _resolved(byte_range, size)
        document = self._document(key)
        if document is not None:
            raw = np.frombuffer(document, np.uint8)[start:stop]
        else:
            raw = await self._read_bytes(*self._chunk(key), start, stop)
        return prototype.buffer.from_array_like(raw)

    async def get_partial_values(
        self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]
    ) -> list[Any]:
        """Return the bytes of several keys, read at the same time."""
        return await asyncio.gather(
            *(self.get(key, prototype, byte_range) for key, byte_range in key_ranges)
        )

    async def read_pixels(self, key: str, selection: tuple[Any, ...]) -> npt.NDArray[Any]:
        """Return the selected pixels of a chunk, and read no others.

        Parameters
        ----------
        key : str
            Of the chunk.
        selection : tuple of int, slice or ndarray of int
            As numpy takes it: of arrays, one for every axis, which are broadcast.
        """
        path, chunk = self._chunk(key)
        if all(isinstance(part, np.ndarray) for part in selection):
            wanted, places = zip(
                *(np.unique(part, return_inverse=True) for part in selection), strict=True
            )
            shapes = [part.shape for part in selection]
            block = await self._read(path, _moved(wanted, chunk))
            picked: npt.NDArray[Any] = block[tuple(map(np.reshape, places, shapes))]
            return picked
        if not any(isinstance(part, np.ndarray) for part in selection):
            return await self._read(path, _moved(selection, chunk))
        inside = tuple(slice(r.start, r.stop) for r in chunk)
        picked = (await self._read(path, inside))[selection]
        return picked

    async def _read_bytes(
        self, path: str, chunk: tuple[range, ...], start: int, stop: int
    ) -> npt.NDArray[np.uint8]:
        """Return some bytes of a chunk; it is read in whole rows, frames or more of its axes.

        Pixels beyond the end of the array are 0, as Zarr's chunks all have the same shape.
        """
        array = self._arrays[path]
        itemsize = array.dtype.itemsize
        first, last = start // itemsize, -(-stop // itemsize) - 1
        if last < first:
            return np.empty(0, np.uint8)
        box, skipped = _covering(array.chunk_shape, first, last)
        inside = tuple(
            slice(own.start + r.start, own.start + max(min(r.stop, len(own)), r.start))
            for r, own in zip(box, chunk, strict=True)
        )
        block = await self._read(path, inside)
        shape = tuple(map(len, box))
        if block.shape != shape:
            padded = np.zeros(shape, array.dtype)
            padded[tuple(map(slice, block.shape))] = block
            block = padded
        stored = np.ascontiguousarray(block, array.dtype.newbyteorder("<"))
        raw = stored.reshape(-1).view(np.uint8)
        return raw[start - skipped * itemsize : stop - skipped * itemsize]

    async def _read(self, path: str, index: OuterIndex) -> npt.NDArray[Any]:
        """Read from an array: a box by awaiting it where its store is asynchronous."""
        array = self._arrays[path]
        if array.has_shape_of_source and all(map(_is_contiguous, index)):
            return await self._awaited[path].read(index)
        return await in_thread(array.read, index)

    # Keys

    def _document(self, key: str) -> bytes | None:
        """Return the metadata for which a key stands, if it does."""
        path, _, name = key.rpartition("/")
        if name != _DOCUMENT:
            return None
        if path in self._arrays:
            return array_document(self._arrays[path])
        return group_document(self._arrays) if path == "" else None

    def _chunk(self, key: str) -> tuple[str, tuple[range, ...]]:
        """Return the path of the array of a chunk, and the chunk's positions along its axes.

        Raises
        ------
        KeyError
            There is no such chunk.
        """
        for path, array in self._arrays.items():
            name, *numbers = key.removeprefix(f"{path}/" if path else "").split("/")
            if name == "c" and key.startswith(path) and len(numbers) == len(array.shape):
                coordinates = [int(n) if n.isdecimal() and n.isascii() else -1 for n in numbers]
                grid = _grid(array)
                if list(map(str, coordinates)) == numbers and all(
                    0 <= c < n for c, n in zip(coordinates, grid, strict=True)
                ):
                    return path, tuple(
                        range(c * length, min((c + 1) * length, size))
                        for c, length, size in zip(
                            coordinates, array.chunk_shape, array.shape, strict=True
                        )
                    )
        raise KeyError(key)

    def _size(self, key: str) -> int | None:
        """Return the number of bytes of a key, or None if there is no such key."""
        document = self._document(key)
        if document is not None:
            return len(document)
        try:
            array = self._arrays[self._chunk(key)[0]]
        except KeyError:
            return None
        return math.prod(array.chunk_shape) * array.dtype.itemsize

    async def exists(self, key: str) -> bool:
        """Return whether there is a key, without reading or listing anything."""
        return self._size(key) is not None

    async def getsize(self, key: str) -> int:
        """Return the number of bytes of a key."""
        size = self._size(key)
        if size is None:
            raise FileNotFoundError(key)
        return size

    async def list(self) -> AsyncIterator[str]:
        """Yield all keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin with a string; other chunks are not counted through."""
        folder, _, _ = prefix.rpartition("/")
        for key in self._below(folder):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below a path."""
        folder = prefix.strip("/")
        for name in self._names(folder):
            yield name

    def _names(self, folder: str) -> Iterator[str]:
        """Yield the names directly in a folder."""
        if folder in self._arrays:
            yield from (_DOCUMENT, "c")
        elif folder == "":
            yield from (_DOCUMENT, *self._arrays)
        else:
            for path, array in self._arrays.items():
                grid = _grid(array)
                above = f"{path}/c" if path else "c"
                depth = folder.count("/") - above.count("/")
                if depth >= len(grid) or not f"{folder}/".startswith(f"{above}/"):
                    continue
                if self._size("/".join((folder, *("0" * (len(grid) - depth))))) is not None:
                    yield from map(str, range(grid[depth]))

    def _below(self, folder: str) -> Iterator[str]:
        """Yield the keys in a folder and in those below it."""
        for name in self._names(folder):
            path = f"{folder}/{name}" if folder else name
            if self._size(path) is None:
                yield from self._below(path)
            else:
                yield path

    # Writing

    async def set(self, key: str, value: Any, byte_range: Any = None) -> Never:
        """Refuse to write."""
        self._refuse()

    async def delete(self, key: str) -> Never:
        """Refuse to delete."""
        self._refuse()

    def _refuse(self) -> Never:
        raise ValueError("this store computes its chunks from MRC files, and cannot be written")


def _grid(array: LabelledArray) -> tuple[int, ...]:
    """Number of chunks along each axis."""
    return tuple(
        -(-size // length) for size, length in zip(array.shape, array.chunk_shape, strict=True)
    )


def _moved(selection: Iterable[Any], chunk: tuple[range, ...]) -> tuple[Any, ...]:
    """Return a selection of a chunk as one of its array; slices go forwards."""
    moved = []
    for part, own in zip(selection, chunk, strict=True):
        if isinstance(part, slice):
            start, stop, step = part.indices(len(own))
            moved.append(slice(own.start + start, own.start + stop, step))
        else:
            moved.append(part + own.start)
    return tuple(moved)


def _resolved(byte_range: Any, size: int) -> tuple[int, int]:
    """Return the first byte of a request, and the one after the last."""
    if byte_range is None:
        return 0, size
    if isinstance(byte_range, RangeByteRequest):
        start, stop = byte_range.start, byte_range.end
    elif isinstance(byte_range, OffsetByteRequest):
        start, stop = byte_range.offset, size
    elif isinstance(byte_range, SuffixByteRequest):
        start, stop = size - byte_range.suffix, size
    else:
        raise TypeError(f"not a byte range of zarr: {byte_range!r}")
    return min(max(start, 0), size), min(max(stop, start, 0), size)


def _is_contiguous(part: Any) -> bool:
    """Whether positions along an axis are one, or all in a row."""
    return not isinstance(part, np.ndarray) and (
        not isinstance(part, slice) or part.step in (None, 1)
    )


def _covering(shape: tuple[int, ...], first: int, last: int) -> tuple[list[range], int]:
    """Return the smallest box that contains pixels in C order, and the number of its first one.

    Between the first and the last pixel of the box are no others than its own.
    """
    begin = [int(n) for n in np.unravel_index(first, shape)]
    end = [int(n) for n in np.unravel_index(last, shape)]
    axis = next((i for i, (a, b) in enumerate(zip(begin, end, strict=True)) if a != b), -1)
    box = [range(n, n + 1) for n in begin]
    box[axis] = range(begin[axis], end[axis] + 1)
    if axis >= 0:
        box[axis + 1 :] = map(range, shape[axis + 1 :])
    return box, int(np.ravel_multi_index([r.start for r in box], shape))
