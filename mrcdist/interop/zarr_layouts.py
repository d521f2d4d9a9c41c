"""Groups and arrays of a new Zarr hierarchy, with their chunks and shards."""

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
from mrcdist.format.encode import cast_exactly
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

# Patterns and images are split into tiles, so that a region of a detector needs few of them. Small
# patterns share a chunk, because each chunk costs an entry in the index of its shard. Volumes are
# split into cubes.
TILE = 256
_MIN_CHUNK = 2**15
_CUBE = 64
_ZSPY_CHUNK = 32 * 2**20

ReadWritten = Callable[[str, Box], npt.NDArray[Any]]
"""Reads a box of an array of the same hierarchy, by path, that was written before."""


class Source(Protocol):
    """Picklable source of the numbers of a new array."""

    def read(self, box: Box, read_written: ReadWritten) -> npt.NDArray[Any]:
        """Return the numbers in a box."""


@dataclass(frozen=True)
class Selected:
    """The part of a file that begins at `start`, converted to a dtype.

    Reading raises `ArgumentError` if a value does not fit.
    """

    source: MrcSource
    start: tuple[int, ...]
    dtype: str

    def read(self, box: Box, _read_written: object = None) -> npt.NDArray[Any]:
        """Return the numbers in a box."""
        index = tuple(
            slice(part.start + start, part.stop + start)
            for part, start in zip(box, self.start, strict=True)
        )
        return cast_exactly(self.source[index], np.dtype(self.dtype), name=self.dtype)


@dataclass(frozen=True)
class NewArray:
    """An array of a new hierarchy.

    `chunks` is the shape of a chunk, which readers decode as a whole, and `shards` that of a file
    with several chunks. `values` are the numbers of a small array, written together with the
    metadata.
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
    """A large array, which tasks write in blocks of whole chunks or shards."""

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

    `groups` are the attributes of each group by path, with "" for the root. `arrays` are the small
    arrays, `levels` the large ones, each of which is completed before the next.
    """

    zarr_format: int
    groups: Mapping[str, Mapping[str, Any]]
    arrays: tuple[NewArray, ...]
    levels: tuple[Level, ...]

    @property
    def root(self) -> str:
        """Name of the metadata document of the root group."""
        return "zarr.json" if self.zarr_format == 3 else ".zgroup"


def zarr_layout(plan: Plan, source: Selected, axes: tuple[Axis, ...]) -> Hierarchy:
    """Return a group like those of xarray: the array "data" and a coordinate for each axis."""
    shape, itemsize = tuple(axis.size for axis in axes), np.dtype(source.dtype).itemsize
    chunk = small_chunk(axes, itemsize)
    shard = grow_chunk(chunk, shape, itemsize, block_bytes(plan))
    dimensions = tuple(axis.name for axis in axes)
    attributes = {"axes": axes_attribute(axes)}
    data = NewArray(VARIABLE, shape, source.dtype, chunk, shard, dimensions, attributes)
    coords = tuple(
        NewArray(name, values.shape, values.dtype.name, values.shape, None, (name,), units, values)
        for name, values, units in coordinates(axes)
    )
    return Hierarchy(3, {"": flat_attributes(plan)}, coords, (Level(data, source, shard),))


def zspy_layout(plan: Plan, source: Selected, axes: tuple[Axis, ...]) -> Hierarchy:
    """Return a signal as HyperSpy saves it in ``.zspy``: in Zarr format 2, without shards.

    The layout is that of version 3.3 of the format in HyperSpy's documentation.
    """
    shape, itemsize = tuple(axis.size for axis in axes), np.dtype(source.dtype).itemsize
    nbytes, metadata = block_bytes(plan), plan_metadata(plan)
    signal = f"Experiments/{_group_name(str(metadata['General']['title']))}"
    # Each chunk is a file, which HyperSpy reads completely to show a single pattern.
    chunk = grow_chunk(small_chunk(axes, itemsize), shape, itemsize, min(nbytes, _ZSPY_CHUNK))
    groups: dict[str, Mapping[str, Any]] = {
        "": {"file_format": "ZSpy", "file_format_version": "3.3"},
        signal: {"package": "mrcdist", "package_version": version("mrcdist")},
    }
    for number, axis in enumerate(axes_attribute(axes)):
        kind = "DataAxis" if "axis" in axis else "UniformDataAxis"
        attributes = {"_type": kind, "is_binned": False, **axis}
        del attributes["index_in_array"]
        _add_groups(groups, f"{signal}/axis-{number}", attributes)
    _add_groups(groups, f"{signal}/metadata", metadata)
    _add_groups(groups, f"{signal}/original_metadata", plan_original_metadata(plan))
    data = NewArray(f"{signal}/data", shape, source.dtype, chunk)
    block = grow_chunk(chunk, shape, itemsize, nbytes)
    return Hierarchy(2, groups, (), (Level(data, source, block),))


def block_bytes(plan: Plan) -> int:
    """Return the size of the plan's largest chunk, which limits what a task reads at a time."""
    return math.prod(map(max, plan.chunks)) * plan.dtype.itemsize


def _add_groups(groups: dict[str, Mapping[str, Any]], path: str, nested: Mapping[str, Any]) -> None:
    """Add a group with the entries of a mapping, and a subgroup for each mapping in it."""
    attributes: dict[str, Any] = {}
    groups[path] = attributes
    for key, value in nested.items():
        if isinstance(value, Mapping):
            _add_groups(groups, f"{path}/{_group_name(key)}", value)
        elif value is None:
            attributes[key] = "_None_"
        else:
            attributes[key] = value.tolist() if hasattr(value, "tolist") else value


def _group_name(name: str) -> str:
    """Return a name that is a single component of a path, and not reserved by Zarr."""
    name = re.sub(r"[/\\]", "-", name)
    return f"-{name}" if name.startswith(".") or not name else name


def split_box(box: Box, chunks: Sequence[int]) -> Iterator[Box]:
    """Split a box into about four parts of whole chunks, to limit the memory needed for each."""
    n_chunks = [-(-(part.stop - part.start) // n) for part, n in zip(box, chunks, strict=True)]
    axis = next((axis for axis, n in enumerate(n_chunks) if n > 1), None)
    if axis is None:
        yield box
        return
    step = -(-n_chunks[axis] // 4) * chunks[axis]
    for start in range(box[axis].start, box[axis].stop, step):
        part = slice(start, min(start + step, box[axis].stop))
        yield (*box[:axis], part, *box[axis + 1 :])


def small_chunk(axes: Sequence[Axis], itemsize: int) -> tuple[int, ...]:
    """Return the chunk shape for reading single patterns or images, regions of them, or cubes."""
    shape = [axis.size for axis in axes]
    depth = next((n for n, axis in enumerate(axes) if axis.name == "z" and axis.units), None)
    if depth is not None and not frames_are_patterns(axes):
        spatial = (depth, *(n for n, axis in enumerate(axes) if not axis.navigate))
        return tuple(min(size, _CUBE) if n in spatial else 1 for n, size in enumerate(shape))
    chunk = [1 if axis.navigate else min(axis.size, TILE) for axis in axes]
    for n in reversed([n for n, axis in enumerate(axes) if axis.navigate]):
        while math.prod(chunk) * itemsize < _MIN_CHUNK and chunk[n] < shape[n]:
            chunk[n] = min(2 * chunk[n], shape[n])
    return tuple(chunk)


def grow_chunk(
    chunk: Sequence[int], shape: Sequence[int], itemsize: int, nbytes: int
) -> tuple[int, ...]:
    """Return a multiple of a chunk with up to about `nbytes`, grown along the fastest axis first.

    This is the order in which files are read.
    """
    grown = list(chunk)
    for axis in reversed(range(len(grown))):
        n_chunks = -(-shape[axis] // chunk[axis])
        fitting = max(nbytes // (math.prod(grown) * itemsize), 1)
        grown[axis] = chunk[axis] * min(n_chunks, fitting)
        if fitting < n_chunks:
            break
    return tuple(grown)
