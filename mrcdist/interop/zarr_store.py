"""A Zarr store that computes its metadata, and the bytes of its chunks from those of MRC files."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Never, Self

import numpy as np
import numpy.typing as npt
from dask.base import tokenize
from zarr.abc.codec import ArrayBytesCodecPartialDecodeMixin
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.codecs import BytesCodec
from zarr.registry import register_codec
from zarr.storage import StorePath

from mrcdist.format.axis import Axis
from mrcdist.interop.labelled_array import LabelledArray
from mrcdist.interop.ome_zarr import NGFF_VERSION, multiscale
from mrcdist.interop.rosettasciio import axes_attribute
from mrcdist.read.awaited import AwaitedSource, in_thread
from mrcdist.read.outer_indexing import OuterIndex

# Path of a chunk's array, and the chunk's positions along each axis.
_Chunk = tuple[str, tuple[range, ...]]
_DOCUMENT = "zarr.json"
# Little-endian pixels, as of Zarr's codec "bytes", of which parts can be read.
_CODEC = "mrcdist.bytes"


class MrcStore(Store):  # type: ignore[misc]
    """A read-only Zarr store (format 3) of arrays that stay in their MRC files.

    The arrays are given by their paths: one at the path "", or several of a group. Chunks contain
    the decoded pixels, little-endian and in C order. Nothing is listed or kept: keys, sizes and
    metadata follow from the shape.
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
            self._refuse()
        return type(self)(self._arrays)

    # Reading

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return the bytes of a key, or some of them; None if there is no such key."""
        found = self._find(key)
        if found is None:
            return None
        start, stop = _resolved(byte_range, self._nbytes(found))
        if isinstance(found, bytes):
            raw = np.frombuffer(found, np.uint8)[start:stop]
        else:
            raw = await self._read_bytes(*found, start, stop)
        return prototype.buffer.from_array_like(raw)

    async def get_partial_values(
        self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]
    ) -> list[Any]:
        """Return the bytes of several keys, read at the same time."""
        return await asyncio.gather(
            *(self.get(key, prototype, byte_range) for key, byte_range in key_ranges)
        )

    async def read_pixels(self, key: str, selection: tuple[Any, ...]) -> npt.NDArray[Any]:
        """Return the pixels of a chunk that numpy's index selects, and read no others.

        The index has a position or a slice for each axis, or arrays for all, which are broadcast.
        """
        found = self._find(key)
        if found is None or isinstance(found, bytes):
            raise KeyError(key)
        path, chunk = found
        picked: npt.NDArray[Any]
        arrays = [isinstance(part, np.ndarray) for part in selection]
        if all(arrays):
            unique = [np.unique(part, return_inverse=True) for part in selection]
            wanted, places = zip(*unique, strict=True)
            shapes = [part.shape for part in selection]
            block = await self._read(path, _moved(wanted, chunk))
            picked = block[tuple(map(np.reshape, places, shapes))]
        elif any(arrays):
            block = await self._read(path, tuple(slice(r.start, r.stop) for r in chunk))
            picked = block[selection]
        else:
            picked = await self._read(path, _moved(selection, chunk))
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

    def _find(self, key: str) -> bytes | _Chunk | None:
        """Return the metadata for which a key stands, or a chunk; None if there is no such key."""
        above, _, name = key.rpartition("/")
        if name == _DOCUMENT and above in self._arrays:
            return _encoded(_array_document(self._arrays[above]))
        if key == _DOCUMENT:
            return _encoded(_group_document(self._arrays))
        for path, array in self._arrays.items():
            name, *numbers = key.removeprefix(f"{path}/" if path else "").split("/")
            if name != "c" or not key.startswith(path) or len(numbers) != len(array.shape):
                continue
            counted = zip(numbers, _grid(array), strict=True)
            if all(n.isdecimal() and str(int(n)) == n and int(n) < count for n, count in counted):
                places = zip(map(int, numbers), array.chunk_shape, array.shape, strict=True)
                return path, tuple(
                    range(c * length, min((c + 1) * length, size)) for c, length, size in places
                )
        return None

    def _nbytes(self, found: bytes | _Chunk) -> int:
        if isinstance(found, bytes):
            return len(found)
        array = self._arrays[found[0]]
        return math.prod(array.chunk_shape) * array.dtype.itemsize

    async def exists(self, key: str) -> bool:
        """Return whether there is a key, without reading or listing anything."""
        return self._find(key) is not None

    async def getsize(self, key: str) -> int:
        """Return the number of bytes of a key."""
        found = self._find(key)
        if found is None:
            raise FileNotFoundError(key)
        return self._nbytes(found)

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
                if self._find("/".join((folder, *("0" * (len(grid) - depth))))) is not None:
                    yield from map(str, range(grid[depth]))

    def _below(self, folder: str) -> Iterator[str]:
        """Yield the keys in a folder and in those below it."""
        for name in self._names(folder):
            path = f"{folder}/{name}" if folder else name
            if self._find(path) is None:
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
    differing = (i for i, (a, b) in enumerate(zip(begin, end, strict=True)) if a != b)
    axis = next(differing, len(shape) - 1)
    box = [range(n, n + 1) for n in begin[:axis]]
    box += [range(begin[axis], end[axis] + 1), *map(range, shape[axis + 1 :])]
    return box, int(np.ravel_multi_index([r.start for r in box], shape))


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps({"zarr_format": 3, **document}, allow_nan=False).encode()


def _array_document(array: LabelledArray) -> dict[str, Any]:
    """Return the metadata of an array; in its OME-NGFF attribute, its path is that of itself."""
    chunks = {"chunk_shape": list(array.chunk_shape)}
    return {
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": chunks},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": [0.0, 0.0] if array.dtype.kind == "c" else array.dtype.type(0).item(),
        "codecs": [{"name": _CODEC, "configuration": {"endian": "little"}}],
        "attributes": {"axes": axes_attribute(array.axes), **_ngff(array.axes, ".")},
        "dimension_names": list(array.dimensions),
        "storage_transformers": [],
    }


def _group_document(arrays: Mapping[str, LabelledArray]) -> dict[str, Any]:
    """Return the metadata of a group of arrays, with OME-NGFF's of the first one."""
    path, first = next(iter(arrays.items()))
    return {"node_type": "group", "attributes": _ngff(first.axes, path)}


def _ngff(axes: tuple[Axis, ...], path: str) -> dict[str, Any]:
    """OME-NGFF's attribute of a volume; nothing for other arrays."""
    if [axis.name for axis in axes] != ["z", "y", "x"]:
        return {}
    return {"ome": {"version": NGFF_VERSION, "multiscales": [multiscale(axes, {path: (1, 1, 1)})]}}


@dataclass(frozen=True, init=False)
class _PartialBytesCodec(BytesCodec, ArrayBytesCodecPartialDecodeMixin):  # type: ignore[misc]
    """The codec "bytes", and written as that, which leaves selecting pixels to the store.

    zarr reads whole chunks unless a codec can decode parts of them. Chunks of many frames are read
    fastest, and a frame of one is still a read of one frame.
    """

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the codec of a store's metadata."""
        codec: Self = super().from_dict({**data, "name": "bytes"})
        return codec

    async def _decode_partial_single(
        self, byte_getter: Any, selection: tuple[Any, ...], chunk_spec: Any
    ) -> Any:
        """Read the selected pixels of a chunk."""
        store = byte_getter.store if isinstance(byte_getter, StorePath) else None
        if isinstance(store, MrcStore):
            block = await store.read_pixels(byte_getter.path, selection)
            return chunk_spec.prototype.nd_buffer.from_numpy_array(block)
        raw = await byte_getter.get(chunk_spec.prototype)
        return None if raw is None else (await self._decode_single(raw, chunk_spec))[selection]


register_codec(_CODEC, _PartialBytesCodec)
