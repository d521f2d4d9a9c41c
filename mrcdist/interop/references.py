"""The chunks of a dataset as byte ranges of its files, for tools that read Zarr by references."""

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

# The array, beside those of its coordinates.
VARIABLE = "data"


@dataclass(frozen=True)
class References:
    """Locations of an array's chunks, in C order, each one byte range of one file.

    `chunk_shape` divides the shape of the array, so that no chunk is short. `files` has the number
    of the file, in `urls`, that each chunk is in, and `offsets` the first byte of the chunk there:
    arrays with as many axes as the array has.
    """

    plan: Plan
    chunk_shape: tuple[int, ...]
    urls: tuple[str, ...]
    files: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    @property
    def stored(self) -> np.dtype[Any]:
        """The dtype in the files, with its byte order."""
        return np.dtype(self.plan.layout.pixels.stored)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of every chunk."""
        return math.prod(self.chunk_shape) * self.stored.itemsize

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the array: its axes, and the versions of the files."""
        files = zip(self.urls, self.plan.source.parts, strict=True)
        versions = [{"url": url, **asdict(part.file.version)} for url, part in files]
        return {"axes": axes_attribute(self.plan.axes), "files": versions}

    def items(self) -> Iterator[tuple[str, str | list[Any]]]:
        """Yield keys of Zarr's format 2, and what is there: text, or a byte range of a URL."""
        yield ".zgroup", json.dumps({"zarr_format": 2})
        for name, positions, units in coordinates(self.plan.axes):
            yield from _array(name, (name,), positions, positions.shape, units)
            raw = positions.astype("<f8").tobytes()
            yield f"{name}/0", f"base64:{base64.b64encode(raw).decode()}"
        names = tuple(axis.name for axis in self.plan.axes)
        whole = np.broadcast_to(np.empty((), self.stored), self.plan.shape)
        yield from _array(VARIABLE, names, whole, self.chunk_shape, self.attributes)
        for index, file in np.ndenumerate(self.files):
            key = f"{VARIABLE}/{'.'.join(map(str, index))}"
            yield key, [self.urls[file], int(self.offsets[index]), self.chunk_bytes]


def find_references(plan: Plan) -> References:
    """Return where the chunks of a plan are, in chunks near its own.

    Raises an `ArgumentError` if chunks of pixels are no byte ranges of the files.
    """
    layout = plan.layout
    numbers = layout.frames(tuple(map(range, layout.navigation_shape)), plan.source.table)
    if (cause := _hindrance(plan, numbers)) is not None:
        raise ArgumentError(
            f"{plan.location.shown} cannot be referenced",
            code="references-impossible",
            argument="url_or_plan",
            cause=cause,
            remedy="use mrcdist.zarr_store, which needs no references",
        )
    parts = plan.source.parts
    ends = np.cumsum([part.frames for part in parts])
    files = np.searchsorted(ends, numbers, side="right").ravel()
    first = np.array(
        [
            part.offset - (end - part.frames) * layout.frame_bytes
            for part, end in zip(parts, ends, strict=True)
        ]
    )
    offsets = first[files] + numbers.ravel() * layout.frame_bytes
    shape = _contiguous_shape(plan.shape, [max(axis) for axis in plan.chunks])
    n_navigation = len(layout.navigation_shape)
    frames = math.prod(shape[:n_navigation])
    steps, changes = (np.diff(of.reshape(-1, frames)) for of in (offsets, files))
    if (steps != layout.frame_bytes).any() or changes.any():  # not in file order, or across files
        shape, frames = (*(1 for _ in layout.navigation_shape), *shape[n_navigation:]), 1
    chunk_bytes = math.prod(shape) * np.dtype(layout.pixels.stored).itemsize
    within = np.arange(max(layout.frame_bytes // chunk_bytes, 1)) * chunk_bytes
    grid = [size // length for size, length in zip(plan.shape, shape, strict=True)]
    urls = (part.file.location.url for part in parts)
    return References(
        plan,
        shape,
        tuple(url if "://" in url else f"file://{url}" for url in urls),
        np.repeat(files[::frames], within.size).reshape(grid),
        np.add.outer(offsets[::frames], within).reshape(grid),
    )


def _hindrance(plan: Plan, numbers: Frames) -> str | None:
    """Reason why byte ranges of the files are not pixels; None if they are."""
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
            return "references cannot lead into archives or through caches"
        if not location.is_local and location.shown != location.url:
            return "its URL contains a user, a password or a query, which references would show"
    if pixels.packed:
        return "two pixels share a byte"
    if not pixels.plain:
        return "Zarr has no type for complex numbers of two integers"
    if (numbers < 0).any():  # xarray takes Zarr's fill value for that of missing numbers: for NaN
        return "there are scan points without a frame"
    return None


def _contiguous_shape(shape: tuple[int, ...], wanted: list[int]) -> tuple[int, ...]:
    """Return the longest chunks that divide the shape, have at most this shape, and are contiguous.

    The fastest axes are whole, one is split, and slower ones have the length 1.
    """
    lengths: list[int] = []
    whole = True
    for size, most in zip(reversed(shape), reversed(wanted), strict=True):
        length = next(n for n in range(min(most, size), 0, -1) if size % n == 0) if whole else 1
        whole = whole and length == size
        lengths.append(length)
    return tuple(reversed(lengths))


def _array(
    name: str,
    dimensions: tuple[str, ...],
    like: npt.NDArray[Any],
    chunks: tuple[int, ...],
    attributes: dict[str, Any],
) -> Iterator[tuple[str, str]]:
    """Yield the metadata of an array of Zarr's format 2."""
    document = {
        "zarr_format": 2,
        "shape": like.shape,
        "chunks": chunks,
        "dtype": like.dtype.str,
        "compressor": None,
        "filters": None,
        "fill_value": None,
        "order": "C",
    }
    yield f"{name}/.zarray", json.dumps(document)
    yield f"{name}/.zattrs", json.dumps({"_ARRAY_DIMENSIONS": dimensions, **attributes})
