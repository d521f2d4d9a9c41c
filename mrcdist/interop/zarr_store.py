"""Read-only Zarr store that computes metadata and chunks from MRC files."""

from __future__ import annotations

import asyncio
import itertools
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

# Path of the chunk's array, and the range of positions along each axis.
_Chunk = tuple[str, tuple[range, ...]]
_DOCUMENT = "zarr.json"
# Like Zarr's codec "bytes" with little-endian pixels, but with partial reads of chunks.
_CODEC = "mrcdist.bytes"


class MrcStore(Store):  # type: ignore[misc]
    """Read-only Zarr store (format 3) of arrays in MRC files.

    `arrays` are given by path: a single array at "", or several arrays of a group. Chunks contain
    the decoded pixels, little-endian and in C order. Keys, sizes and metadata are computed from
    the shapes; the store needs no index.
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
        """Return a store of the same arrays; raises ValueError unless it is to be read-only."""
        if not read_only:
            self._refuse()
        return type(self)(self._arrays)

    # Reading

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return the bytes of a key, or a range of them; None if the key does not exist."""
        value = self._find(key)
        if value is None:
            return None
        start, stop = _start_stop(byte_range, self._nbytes(value))
        if isinstance(value, bytes):
            raw = np.frombuffer(value, np.uint8)[start:stop]
        else:
            raw = await self._read_bytes(*value, start, stop)
        return prototype.buffer.from_array_like(raw)

    async def get_partial_values(
        self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]
    ) -> list[Any]:
        """Return the bytes of several keys, read concurrently."""
        return await asyncio.gather(
            *(self.get(key, prototype, byte_range) for key, byte_range in key_ranges)
        )

    async def read_pixels(self, key: str, selection: tuple[Any, ...]) -> npt.NDArray[Any]:
        """Return the selected pixels of a chunk; others are not read.

        `selection` consists of positions and slices, or of arrays that are broadcast as in numpy.
        """
        value = self._find(key)
        if value is None or isinstance(value, bytes):
            raise KeyError(key)
        path, chunk = value
        pixels: npt.NDArray[Any]
        is_array = [isinstance(part, np.ndarray) for part in selection]
        if all(is_array):
            unique = [np.unique(part, return_inverse=True) for part in selection]
            positions, inverses = zip(*unique, strict=True)
            shapes = [part.shape for part in selection]
            block = await self._read(path, _in_array(positions, chunk))
            pixels = block[tuple(map(np.reshape, inverses, shapes))]
        elif any(is_array):
            block = await self._read(path, tuple(slice(r.start, r.stop) for r in chunk))
            pixels = block[selection]
        else:
            pixels = await self._read(path, _in_array(selection, chunk))
        return pixels

    async def _read_bytes(
        self, path: str, chunk: tuple[range, ...], start: int, stop: int
    ) -> npt.NDArray[np.uint8]:
        """Return a byte range of a chunk, from the smallest contiguous box that contains it.

        All chunks in Zarr have the same shape: pixels beyond the end of the array are 0.
        """
        array = self._arrays[path]
        itemsize = array.dtype.itemsize
        first, last = start // itemsize, -(-stop // itemsize) - 1
        if last < first:
            return np.empty(0, np.uint8)
        box, box_start = _covering_box(array.chunk_shape, first, last)
        inside = tuple(
            slice(axis.start + r.start, axis.start + max(min(r.stop, len(axis)), r.start))
            for r, axis in zip(box, chunk, strict=True)
        )
        block = await self._read(path, inside)
        shape = tuple(map(len, box))
        if block.shape != shape:
            padded = np.zeros(shape, array.dtype)
            padded[tuple(map(slice, block.shape))] = block
            block = padded
        stored = np.ascontiguousarray(block, array.dtype.newbyteorder("<"))
        raw = stored.reshape(-1).view(np.uint8)
        return raw[start - box_start * itemsize : stop - box_start * itemsize]

    async def _read(self, path: str, index: OuterIndex) -> npt.NDArray[Any]:
        """Read from an array; a box is awaited if the file is in an asynchronous store."""
        array = self._arrays[path]
        if array.has_shape_of_source and all(map(_is_contiguous, index)):
            return await self._awaited[path].read(index)
        return await in_thread(array.source.limits, array.read, index)

    # Keys

    def _find(self, key: str) -> bytes | _Chunk | None:
        """Return the metadata document or the chunk of a key; None if the key does not exist."""
        parent, _, name = key.rpartition("/")
        if name == _DOCUMENT and parent in self._arrays:
            return _encode(_array_document(self._arrays[parent]))
        if key == _DOCUMENT:
            return _encode(_group_document(self._arrays))
        for path, array in self._arrays.items():
            name, *numbers = key.removeprefix(f"{path}/" if path else "").split("/")
            if name != "c" or not key.startswith(path) or len(numbers) != len(array.shape):
                continue
            if all(map(_is_component, numbers, _grid(array))):
                triples = zip(map(int, numbers), array.chunk_shape, array.shape, strict=True)
                return path, tuple(
                    range(n * length, min((n + 1) * length, size)) for n, length, size in triples
                )
        return None

    def _nbytes(self, value: bytes | _Chunk) -> int:
        if isinstance(value, bytes):
            return len(value)
        array = self._arrays[value[0]]
        return math.prod(array.chunk_shape) * array.dtype.itemsize

    async def exists(self, key: str) -> bool:
        """Return whether a key exists, without reading or listing anything."""
        return self._find(key) is not None

    async def getsize(self, key: str) -> int:
        """Return the number of bytes of a key."""
        value = self._find(key)
        if value is None:
            raise FileNotFoundError(key)
        return self._nbytes(value)

    async def list(self) -> AsyncIterator[str]:
        """Yield all keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin with a prefix."""
        folder = prefix.rpartition("/")[0]
        for name in self._names(folder):
            key = f"{folder}/{name}" if folder else name
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly in a folder."""
        for name in dict.fromkeys(self._names(prefix.strip("/"), depth=1)):
            yield name

    def _names(self, folder: str, depth: int | None = None) -> Iterator[str]:
        """Yield the keys in a folder, relative to it, or only their first `depth` components.

        No other folder is walked: an array may have millions of chunks.
        """
        parents = folder.split("/") if folder else []
        # The components of keys: names, or the number of chunks along an axis.
        trees: list[list[str | int]] = [] if "" in self._arrays else [[_DOCUMENT]]
        for path, array in self._arrays.items():
            root = path.split("/") if path else []
            trees += [[*root, _DOCUMENT], [*root, "c", *_grid(array)]]
        for tree in trees:
            below = tree[len(parents) :]
            if below and all(map(_is_component, parents, tree)):
                names = [[n] if isinstance(n, str) else map(str, range(n)) for n in below[:depth]]
                yield from map("/".join, itertools.product(*names))

    # Writing

    async def set(self, key: str, value: Any, byte_range: Any = None) -> Never:
        """Raise ValueError: the store is read-only."""
        self._refuse()

    async def delete(self, key: str) -> Never:
        """Raise ValueError: the store is read-only."""
        self._refuse()

    def _refuse(self) -> Never:
        raise ValueError("this store computes its chunks from MRC files and is read-only")


def _grid(array: LabelledArray) -> tuple[int, ...]:
    """Return the number of chunks along each axis."""
    return tuple(
        -(-size // length) for size, length in zip(array.shape, array.chunk_shape, strict=True)
    )


def _is_component(name: str, expected: str | int) -> bool:
    """Return whether part of a key is the expected name, or less than the expected number."""
    if isinstance(expected, str):
        return name == expected
    return name.isdecimal() and str(int(name)) == name and int(name) < expected


def _in_array(selection: Iterable[Any], chunk: tuple[range, ...]) -> tuple[Any, ...]:
    """Convert a selection within a chunk to one of the array; steps of slices are positive."""
    index = []
    for part, positions in zip(selection, chunk, strict=True):
        if isinstance(part, slice):
            start, stop, step = part.indices(len(positions))
            index.append(slice(positions.start + start, positions.start + stop, step))
        else:
            index.append(part + positions.start)
    return tuple(index)


def _start_stop(byte_range: Any, size: int) -> tuple[int, int]:
    """Return the start and stop of a byte range of zarr, clipped to the size of the value."""
    start, stop = 0, size
    if isinstance(byte_range, RangeByteRequest):
        start, stop = byte_range.start, byte_range.end
    elif isinstance(byte_range, OffsetByteRequest):
        start = byte_range.offset
    elif isinstance(byte_range, SuffixByteRequest):
        start = size - byte_range.suffix
    elif byte_range is not None:
        raise TypeError(f"not a byte range of zarr: {byte_range!r}")
    return min(max(start, 0), size), min(max(stop, start, 0), size)


def _is_contiguous(part: Any) -> bool:
    """Return whether a selection along an axis is one position or contiguous."""
    return not isinstance(part, np.ndarray) and (
        not isinstance(part, slice) or part.step in (None, 1)
    )


def _covering_box(shape: tuple[int, ...], first: int, last: int) -> tuple[list[range], int]:
    """Return the smallest contiguous box with these pixels, and the flat index of its first one.

    Pixels are given by their flat indices in C order.
    """
    begin = [int(n) for n in np.unravel_index(first, shape)]
    end = [int(n) for n in np.unravel_index(last, shape)]
    differing = (i for i, (a, b) in enumerate(zip(begin, end, strict=True)) if a != b)
    axis = next(differing, len(shape) - 1)
    box = [range(n, n + 1) for n in begin[:axis]]
    box += [range(begin[axis], end[axis] + 1), *map(range, shape[axis + 1 :])]
    return box, int(np.ravel_multi_index([r.start for r in box], shape))


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps({"zarr_format": 3, **document}, allow_nan=False).encode()


def _array_document(array: LabelledArray) -> dict[str, Any]:
    """Return the metadata of an array; "." in its OME-NGFF attribute is the array itself."""
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
    """Return the metadata of a group of arrays, with the OME-NGFF attribute of the first one."""
    path, first = next(iter(arrays.items()))
    return {"node_type": "group", "attributes": _ngff(first.axes, path)}


def _ngff(axes: tuple[Axis, ...], path: str) -> dict[str, Any]:
    """Return the OME-NGFF attribute of a volume; nothing for other arrays."""
    if [axis.name for axis in axes] != ["z", "y", "x"]:
        return {}
    return {"ome": {"version": NGFF_VERSION, "multiscales": [multiscale(axes, {path: (1, 1, 1)})]}}


@dataclass(frozen=True, init=False)
class _PartialBytesCodec(BytesCodec, ArrayBytesCodecPartialDecodeMixin):  # type: ignore[misc]
    """The codec "bytes" with partial decoding, in which the store reads the selected pixels.

    Without partial decoding, zarr reads whole chunks. This way, chunks can contain many frames,
    which is fastest, while reading one frame of a chunk reads no more than that frame.
    """

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the codec described by the metadata of a store."""
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
