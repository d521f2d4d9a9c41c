"""What a browser shows of a scan: a sparse grid of its frames in memory, any other on demand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import Ring
from mrcdist.dask_array import to_dask
from mrcdist.dataset import Plan
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis, scan_plane
from mrcdist.interop.rosettasciio import axes_from_dicts
from mrcdist.plan.layout import Frames
from mrcdist.preview.choices import Limits, ScanChoice
from mrcdist.preview.choose import choose
from mrcdist.preview.pieces import Band, spread
from mrcdist.preview.reading import Taken, in_file_order, magnitude, read_pieces
from mrcdist.preview.views import Content
from mrcdist.progress import Progress
from mrcdist.read.source import MrcSource

__all__ = ["Scan", "scan_of"]

Array = npt.NDArray[Any]


@dataclass
class Scan:
    """A scan whose frames are read one by one, but for a sparse grid that is in memory.

    Parameters
    ----------
    name : str
        Of the file; may be shown.
    axes : sequence of Axis
        (y, x, ky, kx).
    ys, xs : range
        The grid's scan points.
    """

    name: str
    axes: Sequence[Axis]
    ys: range
    xs: range
    _data: MrcSource | Array = field(repr=False)
    _plane: tuple[int, int]
    _grid: dict[tuple[int, int], Array] = field(repr=False)

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
        centre = (self.ys[len(self.ys) // 2], self.xs[len(self.xs) // 2])
        return min(self._grid, key=lambda at: abs(at[0] - centre[0]) + abs(at[1] - centre[1]))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the grid's image, in scan points."""
        half = max(self.ys.step, self.xs.step) / 2
        return (
            self.xs[0] - half,
            self.xs[-1] + half,
            self.ys[-1] + half,
            self.ys[0] - half,
        )

    @property
    def grid_words(self) -> str:
        """Say how sparse the grid is."""
        step = max(self.ys.step, self.xs.step)
        return "every scan point" if step == 1 else f"1 of {step} × {step} scan points"

    def frame_words(self, y: int, x: int) -> str:
        """Say which pattern this is, and whether the file has it."""
        there = True
        if isinstance(self._data, MrcSource):
            point = tuple(range(at, at + 1) for at in self._index(y, x))
            there = bool(self._data.layout.frames(point, self._data.table)[0] >= 0)
        return f"pattern at y {y}, x {x}" + ("" if there else ": the file has none")

    @cached_property
    def mean(self) -> Array:
        """Mean of the grid's patterns, shape (ky, kx)."""
        total = np.zeros(self.frame_shape)
        for frame in self._grid.values():
            total += frame
        return total / len(self._grid)

    def frame(self, y: int, x: int) -> Array:
        """Return the pattern of a scan point, shape (ky, kx): from memory, or by one request."""
        if (y, x) in self._grid:
            return self._grid[y, x]
        return magnitude(np.asarray(self._data[self._index(y, x)]))

    def _index(self, y: int, x: int) -> tuple[int, ...]:
        """Navigation axes other than (y, x) stay at their first point."""
        index = [0] * (self._data.ndim - 2)
        index[self._plane[0]], index[self._plane[1]] = y, x
        return tuple(index)

    def virtual_image(self, detector: Ring) -> Array:
        """Return the mean over a detector's pixels at every point of the grid.

        Returns
        -------
        ndarray, shape (len(ys), len(xs))
            NaN where there is no frame.

        Raises
        ------
        ArgumentError
            The detector has no pixel.
        """
        rows, columns = detector.window(self.frame_shape)
        mask = detector.weights(rows, columns) > 0
        part = (slice(rows.start, rows.stop), slice(columns.start, columns.stop))
        image = np.full((len(self.ys), len(self.xs)), np.nan)
        for i, y in enumerate(self.ys):
            for j, x in enumerate(self.xs):
                if (y, x) in self._grid:
                    image[i, j] = self._grid[y, x][part][mask].mean(dtype=np.float64)
        return image


def scan_of(data: Plan | Mapping[str, Any], budget: int) -> Scan:
    """Take what `plan_mrc` or `read_mrc` gives, and read the grid's frames.

    Raises
    ------
    ArgumentError
        It is neither, the data are no scan, or were changed after reading.
    """
    if isinstance(data, Plan):
        return _of_source(data.source, data.axes, data.location.shown, budget)
    if not isinstance(data, Mapping) or "data" not in data or "axes" not in data:
        raise ArgumentError(
            f"a {type(data).__name__} cannot be browsed",
            code="data-not-browsable",
            cause="a plan or a dataset is needed",
            remedy="pass plan_mrc(url), or one of the dicts that read_mrc(url) returns",
        )
    array, axes = data["data"], axes_from_dicts(data["axes"])
    name = str(data.get("metadata", {}).get("General", {}).get("original_filename", "the data"))
    if isinstance(array, np.ndarray):
        return _of_array(array, axes, name, budget)
    source = source_of(array) if isinstance(array, da.Array) else None
    if source is None:
        raise ArgumentError(
            "the data are not those that were read",
            code="data-not-browsable",
            cause="they were sliced, computed with or rechunked since",
            remedy="pass plan_mrc(url), or a computed (numpy) array in the dict",
        )
    return _of_source(source, axes, source.parts[0].file.location.shown, budget)


def source_of(array: da.Array) -> MrcSource | None:
    """Find what an untouched array of `read_mrc` reads from; None for any other array."""
    (one,) = dask.optimize(array.blocks[(0,) * array.ndim])
    for source in _sources(dict(one.__dask_graph__())):
        # The name is a token of source and chunks: what was done to the array since has another.
        same = source.shape == array.shape
        if same and to_dask(source, array.chunks).name == array.name:
            return source
    return None


def _sources(node: Any) -> Iterator[MrcSource]:
    if isinstance(node, MrcSource):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _sources(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _sources(value)
    else:  # a task holds what it is called with
        for name in ("args", "kwargs", "value"):
            yield from _sources(getattr(node, name, ()))


def _of_source(source: MrcSource, axes: Sequence[Axis], name: str, budget: int) -> Scan:
    plane = _plane(axes)
    part = source.parts[0]
    limits = Limits(budget, whole=True, stream=part.compression is not None)
    scan = Content("scan", plane, reciprocal=True)
    choice = choose(source.layout, scan, limits, table=source.table)
    if not isinstance(choice, ScanChoice):
        raise ArgumentError(
            f"{name} is one {part.compression} stream of more than {budget:,} bytes",
            code="budget-too-small",
            argument="budget",
            cause="each frame would be reached through all frames before it",
            remedy="decompress the file, or raise the budget to hold all of it",
        )
    with Progress("reading", len(choice.pieces)) as progress:
        taken = read_pieces(in_file_order(source), choice.pieces, progress)
    grid = _grid(choice.ys, choice.xs, choice.frames, taken, source.layout.frame_shape[0])
    return Scan(name, _four(axes, plane), choice.ys, choice.xs, source, plane, grid)


def _of_array(array: Array, axes: Sequence[Axis], name: str, budget: int) -> Scan:
    plane = _plane(axes)
    sizes = [array.shape[axis] for axis in plane]
    room = max(budget // max(array[(0,) * (array.ndim - 2)].nbytes, 1), 1)
    step = 1
    while np.prod([-(-size // step) for size in sizes]) > room:
        step += 1
    ys, xs = (spread(size, step) for size in sizes)
    scan = Scan(name, _four(axes, plane), ys, xs, array, plane, {})
    scan._grid.update({(y, x): scan.frame(y, x) for y in ys for x in xs})
    return scan


def _grid(
    ys: range, xs: range, frames: Frames, taken: Taken, rows: int
) -> dict[tuple[int, int], Array]:
    full = Band(0, rows)
    return {
        (ys[i], xs[j]): magnitude(taken.rows(int(frame), full))
        for (i, j), frame in np.ndenumerate(frames)
        if frame >= 0
    }


def _plane(axes: Sequence[Axis]) -> tuple[int, int]:
    """Return the positions of (y, x) among the navigation axes."""
    plane = scan_plane(axes)
    if plane is None or sum(not axis.navigate for axis in axes) != 2:
        there = ", ".join(f"{axis.name} ({axis.size})" for axis in axes)
        raise ArgumentError(
            f"an array with the axes {there} is no scan of patterns",
            code="data-not-browsable",
            cause="navigation axes y and x are needed, and frames of two axes",
            remedy="give the scan's shape with {navigation_shape=(x, y)}; `mrcdist preview` shows "
            "volumes and stacks",
        )
    return plane


def _four(axes: Sequence[Axis], plane: tuple[int, int]) -> list[Axis]:
    return [axes[plane[0]], axes[plane[1]], *(axis for axis in axes if not axis.navigate)]
