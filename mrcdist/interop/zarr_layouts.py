"""Groups and arrays of a new Zarr hierarchy, and their chunks and shards."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from dask.array.core import normalize_chunks, slices_from_chunks

from mrcdist.format.axis import Axis, frames_are_patterns
from mrcdist.format.encode import converted
from mrcdist.interop.labelled_array import coordinates
from mrcdist.interop.references import VARIABLE
from mrcdist.interop.rosettasciio import (
    axes_attribute,
    flat_attributes,
    plan_metadata,
    plan_original_metadata,
)
from mrcdist.plan.selection import Box
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import Plan

# A pattern or image is cut in tiles, of which a detector region needs few; small patterns share a
# chunk, so that it is worth its entry in the shard's index. Volumes are cut in cubes.
TILE = 256
_LEAST_CHUNK = 2**15
_CUBE = 64
_PIECES = 4
_ZSPY_CHUNK = 32 * 2**20


# Reads a box of an array of the same hierarchy that was written before.
Written = Callable[[str, Box], npt.NDArray[Any]]


class Source(Protocol):
    """Numbers of a new array, block by block; picklable."""

    def read(self, box: Box, written: Written) -> npt.NDArray[Any]:
        """Return the numbers in a box, perhaps from arrays that were written before."""


@dataclass(frozen=True)
class Selected:
    """The part of a file that begins at `start`, as a dtype; a value that does not fit raises."""

    source: MrcSource
    start: tuple[int, ...]
    dtype: str

    def read(self, box: Box, _written: object = None) -> npt.NDArray[Any]:
        """Return the numbers in a box."""
        moved = tuple(
            slice(part.start + first, part.stop + first)
            for part, first in zip(box, self.start, strict=True)
        )
        return converted(self.source[moved], np.dtype(self.dtype), name=self.dtype)


@dataclass(frozen=True)
class NewArray:
    """An array of a new hierarchy.

    A reader decodes whole `chunks`; a file holds `shards`, if that is more than a chunk. `values`
    are the numbers of a small array, which is written with the metadata.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    dimensions: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    values: npt.NDArray[Any] | None = None


@dataclass(frozen=True)
class Level:
    """A large array, which tasks write block by block: each of them whole files."""

    array: NewArray
    source: Source
    block: tuple[int, ...]

    @property
    def boxes(self) -> list[Box]:
        """The blocks, in C order."""
        boxes: list[Box] = slices_from_chunks(normalize_chunks(self.block, self.array.shape))
        return boxes


@dataclass(frozen=True)
class Hierarchy:
    """A new hierarchy of Zarr format 2 or 3.

    `groups` are attributes by path; the root is "". `arrays` are the small ones, `levels` the large
    ones: each is finished before the next begins.
    """

    zarr_format: int
    groups: Mapping[str, Mapping[str, Any]]
    arrays: tuple[NewArray, ...]
    levels: tuple[Level, ...]

    @property
    def root(self) -> str:
        """Name of the document without which nothing can be opened."""
        return "zarr.json" if self.zarr_format == 3 else ".zgroup"


def zarr_layout(plan: Plan, source: Selected, axes: tuple[Axis, ...]) -> Hierarchy:
    """Return a group as xarray writes them: the array "data", and a coordinate for each axis."""
    shape, itemsize = tuple(axis.size for axis in axes), np.dtype(source.dtype).itemsize
    chunks = small_chunk(axes, itemsize)
    shards = grown(chunks, shape, itemsize, block_bytes(plan))
    names = tuple(axis.name for axis in axes)
    described = {"axes": axes_attribute(axes)}
    data = NewArray(VARIABLE, shape, source.dtype, chunks, shards, names, described)
    along = tuple(
        NewArray(name, of.shape, of.dtype.name, of.shape, None, (name,), units, of)
        for name, of, units in coordinates(axes)
    )
    return Hierarchy(3, {"": flat_attributes(plan)}, along, (Level(data, source, shards),))


def zspy_layout(plan: Plan, source: Selected, axes: tuple[Axis, ...]) -> Hierarchy:
    """Return a signal as HyperSpy saves it in ``.zspy``: in Zarr format 2, without shards.

    Its layout is that of HyperSpy's documentation, version 3.3 of the format.
    """
    shape, itemsize = tuple(axis.size for axis in axes), np.dtype(source.dtype).itemsize
    nbytes, metadata = block_bytes(plan), plan_metadata(plan)
    signal = f"Experiments/{_group_name(str(metadata['General']['title']))}"
    # Each chunk is a file, and HyperSpy reads all of it to show one pattern.
    chunks = grown(small_chunk(axes, itemsize), shape, itemsize, min(nbytes, _ZSPY_CHUNK))
    groups: dict[str, Mapping[str, Any]] = {
        "": {"file_format": "ZSpy", "file_format_version": "3.3"},
        signal: {"package": "mrcdist", "package_version": version("mrcdist")},
    }
    for number, axis in enumerate(axes_attribute(axes)):
        kind = "DataAxis" if "axis" in axis else "UniformDataAxis"
        described = {"_type": kind, "is_binned": False, **axis}
        del described["index_in_array"]
        _add_groups(groups, f"{signal}/axis-{number}", described)
    _add_groups(groups, f"{signal}/metadata", metadata)
    _add_groups(groups, f"{signal}/original_metadata", plan_original_metadata(plan))
    data = NewArray(f"{signal}/data", shape, source.dtype, chunks)
    block = grown(chunks, shape, itemsize, nbytes)
    return Hierarchy(2, groups, (), (Level(data, source, block),))


def block_bytes(plan: Plan) -> int:
    """Return how many bytes a task may read at a time: those of the plan's largest chunk."""
    return math.prod(map(max, plan.chunks)) * plan.dtype.itemsize


def _add_groups(groups: dict[str, Mapping[str, Any]], path: str, nested: Mapping[str, Any]) -> None:
    """Add a group with the values of a mapping, and groups below it for mappings in it."""
    own = {key: value for key, value in nested.items() if not isinstance(value, Mapping)}
    groups[path] = {
        key: "_None_" if value is None else getattr(value, "tolist", lambda value=value: value)()
        for key, value in own.items()
    }
    for key, value in nested.items():
        if isinstance(value, Mapping):
            _add_groups(groups, f"{path}/{_group_name(key)}", value)


def _group_name(name: str) -> str:
    """Return a name that is one part of a path to zarr, and none of its own files."""
    name = re.sub(r"[/\\]", "-", name)
    return f"-{name}" if name.startswith(".") or not name else name


def pieces(box: Box, chunks: Sequence[int]) -> Iterator[Box]:
    """Yield the parts of a box, of whole chunks, about a quarter of it each.

    They are read one by one, beside what is compared with them or made of them.
    """
    sizes = [part.stop - part.start for part in box]
    counts = [-(-n // chunk) for n, chunk in zip(sizes, chunks, strict=True)]
    axis = next((axis for axis, count in enumerate(counts) if count > 1), None)
    if axis is None:
        yield box
        return
    step = -(-counts[axis] // _PIECES) * chunks[axis]
    for start in range(box[axis].start, box[axis].stop, step):
        part = slice(start, min(start + step, box[axis].stop))
        yield (*box[:axis], part, *box[axis + 1 :])


def small_chunk(axes: Sequence[Axis], itemsize: int) -> tuple[int, ...]:
    """Return the shape of chunks for single patterns, images, regions of them and cubes."""
    shape = [axis.size for axis in axes]
    depth = next((n for n, axis in enumerate(axes) if axis.name == "z" and axis.units), None)
    if depth is not None and not frames_are_patterns(axes):
        lateral = (depth, *(n for n, axis in enumerate(axes) if not axis.navigate))
        return tuple(min(n, _CUBE) if i in lateral else 1 for i, n in enumerate(shape))
    chunk = [1 if axis.navigate else min(axis.size, TILE) for axis in axes]
    for number in reversed([n for n, axis in enumerate(axes) if axis.navigate]):
        while math.prod(chunk) * itemsize < _LEAST_CHUNK and chunk[number] < shape[number]:
            chunk[number] = min(2 * chunk[number], shape[number])
    return tuple(chunk)


def grown(
    chunk: Sequence[int], shape: Sequence[int], itemsize: int, nbytes: int
) -> tuple[int, ...]:
    """Return as many chunks as have about `nbytes`: the fastest axis first, as files are read."""
    grown = list(chunk)
    for axis in reversed(range(len(grown))):
        whole = -(-shape[axis] // chunk[axis])
        fits = max(nbytes // (math.prod(grown) * itemsize), 1)
        grown[axis] = chunk[axis] * min(whole, fits)
        if fits < whole:
            break
    return tuple(grown)
