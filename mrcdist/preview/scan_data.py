"""Frames of a scan for the browser: a sparse grid in memory, all others on demand."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from mrcdist.api import plan_mrc
from mrcdist.compute.detectors import Ring
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis, scan_plane
from mrcdist.preview.choose_sample import choose_sample, min_step, spread
from mrcdist.preview.reading import (
    Point,
    frames_of_grid,
    magnitude,
    mean_frame,
    mean_on_grid,
    read_pieces,
)
from mrcdist.preview.sample import PreviewBudget, ScanSample, View
from mrcdist.progress import Progress
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import Plan, origin_of, source_of
from mrcdist.storage.redact import command_line_options
from mrcdist.storage.url import is_filename

Array = npt.NDArray[Any]


@dataclass
class ScanData:
    """A scan whose frames are read one by one, but for a sparse grid that is in memory.

    `arguments` are those by which the command line reads the same data, and may be shown. `axes`
    are (y, x, ky, kx); `plane` says which of the navigation axes of `data`, all frames, y and x
    are, and the others stay at their first point. `ys` and `xs` are the grid's scan points, `grid`
    its frames by positions in these.
    """

    arguments: Sequence[str]
    axes: Sequence[Axis]
    ys: range
    xs: range
    data: MrcSource | Array = field(repr=False)
    plane: tuple[int, int]
    grid: dict[Point, Array] = field(repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Scan points along y and x."""
        return self.axes[0].size, self.axes[1].size

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a pattern."""
        return self.axes[2].size, self.axes[3].size

    @property
    def middle(self) -> tuple[int, int]:
        """The scan point of the grid that is nearest to its middle, of those with a frame."""
        centre = (len(self.ys) // 2, len(self.xs) // 2)
        i, j = min(self.grid, key=lambda at: abs(at[0] - centre[0]) + abs(at[1] - centre[1]))
        return self.ys[i], self.xs[j]

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the grid's image, in scan points."""
        half = max(self.ys.step, self.xs.step) / 2
        ys, xs = self.ys, self.xs
        return xs[0] - half, xs[-1] + half, ys[-1] + half, ys[0] - half

    def describe_frame(self, y: int, x: int) -> str:
        """Return which pattern this is, and whether the file has it."""
        there = True
        if isinstance(self.data, MrcSource):
            point = tuple(range(at, at + 1) for at in self._index(y, x))
            there = bool(self.data.layout.frames(point, self.data.table)[0] >= 0)
        return f"pattern at y {y}, x {x}" + ("" if there else ": the file has none")

    @cached_property
    def mean(self) -> Array:
        """Mean of the grid's patterns, shape (ky, kx)."""
        return mean_frame(self.grid.values())

    def frame(self, y: int, x: int) -> Array:
        """Return the pattern of a scan point, shape (ky, kx): from memory, or by one request."""
        if y in self.ys and x in self.xs:
            point = (self.ys.index(y), self.xs.index(x))
            if point in self.grid:
                return self.grid[point]
        return magnitude(np.asarray(self.data[self._index(y, x)]))

    def _index(self, y: int, x: int) -> tuple[int, ...]:
        index = [0] * (self.data.ndim - 2)
        index[self.plane[0]], index[self.plane[1]] = y, x
        return tuple(index)

    def virtual_image(self, detector: Ring) -> Array:
        """Return the mean over a detector's pixels at every point of the grid.

        Its shape is (len(ys), len(xs)), with NaN where there is no frame. A detector without a
        pixel raises `ArgumentError`.
        """
        rows, columns = detector.window(self.frame_shape)
        part = (slice(rows.start, rows.stop), slice(columns.start, columns.stop))
        frames = {point: frame[part] for point, frame in self.grid.items()}
        mask = detector.weights(rows, columns) > 0
        return mean_on_grid(frames, mask, (len(self.ys), len(self.xs)))


def open_scan(data: str | os.PathLike[str] | Plan | Mapping[str, Any], budget: int) -> ScanData:
    """Take a file, or what `plan_mrc` or `read_mrc` gives, and read the grid's frames.

    Raises `ArgumentError` if it is neither, if the data are no scan, or were changed after reading.
    """
    if is_filename(data):
        data = plan_mrc(data)
    if isinstance(data, Plan):
        return _of_source(data.source, data.axes, data.options, budget)
    if not isinstance(data, Mapping) or "data" not in data or "axes" not in data:
        raise ArgumentError(
            f"a {type(data).__name__} cannot be browsed",
            code="data-not-browsable",
            argument="data",
            cause="a path, a plan or a dataset is needed",
            remedy="pass a path or URL, plan_mrc(url), or one of the dicts that read_mrc(url) "
            "returns",
        )
    array, axes = data["data"], [Axis.from_dict(axis) for axis in data["axes"]]
    name = str(data.get("metadata", {}).get("General", {}).get("original_filename", "the data"))
    origin = origin_of(array) if isinstance(array, da.Array | np.ndarray) else None
    if isinstance(array, np.ndarray):
        return _of_array(array, axes, _arguments(*origin) if origin else (name,), budget)
    source = source_of(array) if isinstance(array, da.Array) else None
    if source is None:
        raise ArgumentError(
            "the data are not as they were read",
            code="data-not-browsable",
            argument="data",
            cause="they have since been sliced, rechunked or computed with",
            remedy="pass plan_mrc(url), or a computed (numpy) array in the dict",
        )
    options: Sequence[str] = origin[1] if origin else ()
    if origin is None:
        # Its navigation_shape, if it was read with one; the others are not known.
        given = [str(axis.size) for axis in axes if axis.navigate and axis.name.startswith("scan_")]
        options = (f"--navigation-shape={','.join(reversed(given))}",) if given else ()
    return _of_source(source, axes, options, budget)


def _of_source(
    source: MrcSource, axes: Sequence[Axis], options: Sequence[str], budget: int
) -> ScanData:
    plane = _plane(axes)
    part = source.parts[0]
    location = part.file.location
    limits = PreviewBudget(budget, whole=True, stream=part.compression is not None)
    sample = choose_sample(source.layout, View("scan", plane), limits, table=source.table)
    if not isinstance(sample, ScanSample):
        raise ArgumentError(
            f"{location.shown} is one {part.compression} stream of more than {budget:,} bytes",
            code="budget-too-small",
            argument="budget",
            cause="reaching a frame means decompressing all frames before it",
            remedy="decompress the file, or raise the budget to hold all of it",
        )
    with Progress("reading", len(sample.pieces)) as progress:
        pixels = read_pieces(source, sample.pieces, progress)
    grid = frames_of_grid(sample, pixels, range(source.layout.frame_shape[0]))
    arguments = _arguments(source, options)
    return ScanData(arguments, _four(axes, plane), sample.ys, sample.xs, source, plane, grid)


def _arguments(source: MrcSource, options: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments by which the command line reads a source."""
    files = [one.file.location for one in source.parts]
    # A path holds no secret, and escapes would be another name.
    names = [file.url if file.is_local else file.shown for file in files]
    stored = command_line_options(files[0].storage_options)
    return (*names, *options, *(f"--storage-option={word}" for word in stored))


def _of_array(
    array: Array, axes: Sequence[Axis], arguments: Sequence[str], budget: int
) -> ScanData:
    plane = _plane(axes)
    sizes = [array.shape[axis] for axis in plane]
    most = max(budget // max(array[(0,) * (array.ndim - 2)].nbytes, 1), 1)
    ys, xs = (spread(size, min_step(sizes, most)) for size in sizes)
    scan = ScanData(arguments, _four(axes, plane), ys, xs, array, plane, grid={})
    for point in itertools.product(range(len(ys)), range(len(xs))):
        scan.grid[point] = scan.frame(ys[point[0]], xs[point[1]])
    return scan


def _plane(axes: Sequence[Axis]) -> tuple[int, int]:
    """Return the positions of (y, x) among the navigation axes."""
    plane = scan_plane(axes)
    if plane is None or sum(not axis.navigate for axis in axes) != 2:
        there = ", ".join(f"{axis.name} ({axis.size})" for axis in axes)
        raise ArgumentError(
            f"an array with the axes {there} is not a scan of patterns",
            code="data-not-browsable",
            cause="navigation axes y and x are needed, and frames of two axes",
            remedy="pass the scan's shape as {navigation_shape=(x, y)}; `mrcdist preview` shows "
            "volumes and stacks",
        )
    return plane


def _four(axes: Sequence[Axis], plane: tuple[int, int]) -> list[Axis]:
    return [axes[plane[0]], axes[plane[1]], *(axis for axis in axes if not axis.navigate)]
