"""Frames of a scan for the browser: a sparse grid in memory, all others on demand."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    mean_on_grid,
    read_pieces,
)
from mrcdist.preview.sample import SampleLimits, ScanSample, View
from mrcdist.progress import Progress
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import Plan, origin_of, source_of
from mrcdist.storage.redact import command_line_options
from mrcdist.storage.url import is_filename

Array = npt.NDArray[Any]


@dataclass
class ScanData:
    """A scan whose frames are read one at a time, except for a sparse grid held in memory.

    `arguments` read the same data on the command line; they contain no secrets. `axes` are (y, x,
    ky, kx). `data` contains all frames; `plane` has the positions of y and x among its navigation
    axes, and the others stay at their first point. `ys` and `xs` are the scan points of the grid,
    `grid` has its frames by positions in these, and `start` is the scan point to show first.
    """

    arguments: Sequence[str]
    axes: Sequence[Axis]
    data: MrcSource | Array = field(repr=False)
    plane: tuple[int, int]
    ys: range
    xs: range
    grid: dict[Point, Array] = field(repr=False)
    start: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Scan points along y and x."""
        return self.axes[0].size, self.axes[1].size

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a pattern."""
        return self.axes[2].size, self.axes[3].size

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the grid's image, in scan points."""
        ys, xs, half = self.ys, self.xs, self.ys.step / 2
        return xs[0] - half, xs[-1] + half, ys[-1] + half, ys[0] - half

    def describe_frame(self, y: int, x: int) -> str:
        """Return a title for a pattern, which also says whether its frame is missing."""
        missing = False
        if isinstance(self.data, MrcSource):
            point = tuple(range(i, i + 1) for i in self._index(y, x))
            missing = bool(self.data.layout.frames(point, self.data.table)[0] < 0)
        return f"pattern at y {y}, x {x}" + (": the file has none" if missing else "")

    def frame(self, y: int, x: int) -> Array:
        """Return the pattern of a scan point, shape (ky, kx): from memory, or with one request."""
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
        """Return the mean over a detector's pixels at each point of the grid.

        The shape is (len(ys), len(xs)), with NaN for missing frames. A detector without pixels
        raises `ArgumentError`.
        """
        rows, columns = detector.window(self.frame_shape)
        window = (slice(rows.start, rows.stop), slice(columns.start, columns.stop))
        frames = {point: frame[window] for point, frame in self.grid.items()}
        mask = detector.weights(rows, columns) > 0
        return mean_on_grid(frames, mask, (len(self.ys), len(self.xs)))


def open_scan(data: str | os.PathLike[str] | Plan | Mapping[str, Any], budget: int) -> ScanData:
    """Read the grid of a file, of a plan from `plan_mrc`, or of a dict from `read_mrc`.

    Raises `ArgumentError` for anything else, and if the data are not a scan or were modified after
    reading.
    """
    if is_filename(data):
        data = plan_mrc(data)
    if isinstance(data, Plan):
        return _from_source(data.source, data.axes, data.options, budget)
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
    origin = origin_of(array) if isinstance(array, da.Array | np.ndarray) else None
    if isinstance(array, np.ndarray):
        general = data.get("metadata", {}).get("General", {})
        name = str(general.get("original_filename", "the data"))
        return _from_array(array, axes, _arguments(*origin) if origin else (name,), budget)
    source = source_of(array) if isinstance(array, da.Array) else None
    if source is None:
        raise ArgumentError(
            "the data were modified after they were read",
            code="data-not-browsable",
            argument="data",
            cause="they have been sliced, rechunked or used in a computation",
            remedy="pass plan_mrc(url), or a computed (numpy) array in the dict",
        )
    options: Sequence[str] = origin[1] if origin else ()
    if origin is None:
        # Recover the navigation_shape from the axes; other options are unknown.
        sizes = [str(axis.size) for axis in axes if axis.navigate and axis.name.startswith("scan_")]
        options = (f"--navigation-shape={','.join(reversed(sizes))}",) if sizes else ()
    return _from_source(source, axes, options, budget)


def _from_source(
    source: MrcSource, axes: Sequence[Axis], options: Sequence[str], budget: int
) -> ScanData:
    plane, axes = _scan_axes(axes)
    part = source.parts[0]
    limits = SampleLimits(budget, whole_frames=True, stream=part.compression is not None)
    sample = choose_sample(source.layout, View("scan", plane), limits, table=source.table)
    if not isinstance(sample, ScanSample):
        raise ArgumentError(
            f"{part.file.location.shown} is one {part.compression} stream of more than "
            f"{budget:,} bytes",
            code="budget-too-small",
            argument="budget",
            cause="reaching a frame means decompressing all frames before it",
            remedy="decompress the file, or raise the budget to hold all of it",
        )
    with Progress("reading", len(sample.pieces)) as progress:
        pixels = read_pieces(source, sample.pieces, progress)
    grid = frames_of_grid(sample, pixels, range(source.layout.frame_shape[0]))
    y, x = len(sample.ys) // 2, len(sample.xs) // 2
    i, j = min(grid, key=lambda point: abs(point[0] - y) + abs(point[1] - x))
    start = sample.ys[i], sample.xs[j]
    arguments = _arguments(source, options)
    return ScanData(arguments, axes, source, plane, sample.ys, sample.xs, grid, start)


def _arguments(source: MrcSource, options: Sequence[str]) -> tuple[str, ...]:
    """Return the command-line arguments that read a source."""
    files = [part.file.location for part in source.parts]
    # A path contains no secrets, and escaping would change its name.
    names = [file.url if file.is_local else file.shown for file in files]
    stored = command_line_options(files[0].storage_options)
    return (*names, *options, *(f"--storage-option={option}" for option in stored))


def _from_array(
    array: Array, axes: Sequence[Axis], arguments: Sequence[str], budget: int
) -> ScanData:
    plane, axes = _scan_axes(axes)
    sizes = [array.shape[axis] for axis in plane]
    max_points = max(budget // max(array[(0,) * (array.ndim - 2)].nbytes, 1), 1)
    ys, xs = (spread(size, min_step(sizes, max_points)) for size in sizes)
    start = (ys[len(ys) // 2], xs[len(xs) // 2])
    scan = ScanData(arguments, axes, array, plane, ys, xs, grid={}, start=start)
    scan.grid = {(i, j): scan.frame(y, x) for i, y in enumerate(ys) for j, x in enumerate(xs)}
    return scan


def _scan_axes(axes: Sequence[Axis]) -> tuple[tuple[int, int], list[Axis]]:
    """Return the positions of (y, x) among the navigation axes, and the axes (y, x, ky, kx)."""
    plane = scan_plane(axes)
    signal = [axis for axis in axes if not axis.navigate]
    if plane is None or len(signal) != 2:
        shape = ", ".join(f"{axis.name} ({axis.size})" for axis in axes)
        raise ArgumentError(
            f"an array with the axes {shape} is not a scan of patterns",
            code="data-not-browsable",
            argument="data",
            cause="navigation axes y and x are needed, and frames of two axes",
            remedy="pass the scan's shape as `navigation_shape=(x, y)`; `mrcdist preview` shows "
            "volumes and stacks",
        )
    return plane, [axes[plane[0]], axes[plane[1]], *signal]
