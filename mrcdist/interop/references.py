"""Chunks of a dataset as byte ranges of its files, for tools that read Zarr through references."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError
from mrcdist.interop.labelled_array import coordinates
from mrcdist.interop.rosettasciio import axes_attribute
from mrcdist.plan.layout import Frames
from mrcdist.read_plan import Plan

# Name of the array; coordinates have the names of their axes.
VARIABLE = "data"


@dataclass(frozen=True)
class References:
    """Locations of an array's chunks, each of which is one byte range of one file.

    `chunk_shape` divides the shape of the array, so that all chunks are full. For each chunk,
    `files` has the index of its file in `urls`, and `offsets` its first byte; both have as many
    axes as the array.
    """

    plan: Plan
    chunk_shape: tuple[int, ...]
    urls: tuple[str, ...]
    files: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    @property
    def stored(self) -> np.dtype[Any]:
        """Dtype in the files, with its byte order."""
        return np.dtype(self.plan.layout.pixels.stored)

    @property
    def chunk_bytes(self) -> int:
        """Size of a chunk in bytes."""
        return math.prod(self.chunk_shape) * self.stored.itemsize

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the array: its axes, and the versions of the files."""
        files = zip(self.urls, self.plan.source.parts, strict=True)
        versions = [{"url": url, **asdict(part.file.version)} for url, part in files]
        return {"axes": axes_attribute(self.plan.axes), "files": versions}

    def items(self) -> Iterator[tuple[str, str | list[Any]]]:
        """Yield keys of Zarr format 2 with their values: text, or [url, offset, length]."""
        yield ".zgroup", json.dumps({"zarr_format": 2})
        for name, positions, units in coordinates(self.plan.axes):
            shape = positions.shape
            yield from _array_metadata(name, (name,), shape, positions.dtype, shape, units)
            raw = positions.astype("<f8").tobytes()
            yield f"{name}/0", f"base64:{base64.b64encode(raw).decode()}"
        names = tuple(axis.name for axis in self.plan.axes)
        yield from _array_metadata(
            VARIABLE, names, self.plan.shape, self.stored, self.chunk_shape, self.attributes
        )
        for index, file in np.ndenumerate(self.files):
            key = f"{VARIABLE}/{'.'.join(map(str, index))}"
            yield key, [self.urls[file], int(self.offsets[index]), self.chunk_bytes]


def find_references(plan: Plan) -> References:
    """Return the locations of chunks, with a shape close to the plan's chunks.

    Raises `ArgumentError` if the pixels are not contiguous byte ranges of the files.
    """
    layout = plan.layout
    frames = layout.frames(tuple(map(range, layout.navigation_shape)), plan.source.table)
    if (cause := _obstacle(plan, frames)) is not None:
        raise ArgumentError(
            f"{plan.location.shown} cannot be referenced",
            code="references-impossible",
            argument="url_or_plan",
            cause=cause,
            remedy="use mrcdist.zarr_store, which needs no references",
        )
    parts = plan.source.parts
    n_frames = np.array([part.frames for part in parts])
    ends = np.cumsum(n_frames)
    files = np.searchsorted(ends, frames, side="right").ravel()
    offsets = np.array([part.offset for part in parts])[files]
    offsets += (frames.ravel() - (ends - n_frames)[files]) * layout.frame_bytes
    shape = _contiguous_shape(plan.shape, [max(axis) for axis in plan.chunks])
    n_navigation = len(layout.navigation_shape)
    frames_per_chunk = math.prod(shape[:n_navigation])
    steps, changes = (np.diff(a.reshape(-1, frames_per_chunk)) for a in (offsets, files))
    if (steps != layout.frame_bytes).any() or changes.any():  # not in file order, or across files
        shape, frames_per_chunk = (*(1 for _ in layout.navigation_shape), *shape[n_navigation:]), 1
    chunk_bytes = math.prod(shape) * np.dtype(layout.pixels.stored).itemsize
    within_frame = np.arange(max(layout.frame_bytes // chunk_bytes, 1)) * chunk_bytes
    grid = [size // length for size, length in zip(plan.shape, shape, strict=True)]
    urls = (part.file.location.url for part in parts)
    return References(
        plan,
        shape,
        tuple(url if "://" in url else f"file://{url}" for url in urls),
        np.repeat(files[::frames_per_chunk], within_frame.size).reshape(grid),
        np.add.outer(offsets[::frames_per_chunk], within_frame).reshape(grid),
    )


def _obstacle(plan: Plan, frames: Frames) -> str | None:
    """Return why the pixels are not byte ranges of the files, or None if they are."""
    pixels = plan.layout.pixels
    if 0 in plan.shape:
        return "there are no frames"
    for part in plan.source.parts:
        if part.compression is not None:
            return f"the file is one {part.compression} stream"
        if part.sections is not None:
            return "its sections are compressed"
        if part.pixels is not None:
            return "its files store their pixels in different ways"
        location = part.file.location
        if "::" in location.url:
            return "references cannot point into archives or caches"
        if not location.is_local and location.shown != location.url:
            return "its URL contains a user, a password or a query, which references would expose"
    if pixels.packed:
        return "two pixels share a byte"
    if not pixels.plain:
        return "Zarr has no type for complex numbers of two integers"
    if (frames < 0).any():  # xarray would replace Zarr's fill value by NaN
        return "there are scan points without a frame"
    return None


def _contiguous_shape(shape: tuple[int, ...], max_shape: list[int]) -> tuple[int, ...]:
    """Return the largest contiguous chunks up to `max_shape` that divide the shape.

    They are complete along the fastest axes, split one axis, and have length 1 along slower axes.
    """
    lengths: list[int] = []
    whole = True
    for size, most in zip(reversed(shape), reversed(max_shape), strict=True):
        length = next(n for n in range(min(most, size), 0, -1) if size % n == 0) if whole else 1
        whole = whole and length == size
        lengths.append(length)
    return tuple(reversed(lengths))


def _array_metadata(
    name: str,
    dimensions: tuple[str, ...],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    attributes: dict[str, Any],
) -> Iterator[tuple[str, str]]:
    """Yield keys and metadata of an array in Zarr format 2."""
    document = {
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunks,
        "dtype": dtype.str,
        "compressor": None,
        "filters": None,
        "fill_value": None,
        "order": "C",
    }
    yield f"{name}/.zarray", json.dumps(document)
    yield f"{name}/.zattrs", json.dumps({"_ARRAY_DIMENSIONS": dimensions, **attributes})
