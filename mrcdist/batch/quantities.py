"""The three results: what tasks compute for them, and how parts of it become an array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from mrcdist.batch.schedule import Part, block_frames, blocks_of, schedule_maps, schedule_sum
from mrcdist.compute.detectors import Detector
from mrcdist.compute.reductions import FrameSum, PixelSums, Reduction
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis, frames_are_patterns
from mrcdist.plan.chunks import Chunks
from mrcdist.plan.layout import FrameTable, Layout
from mrcdist.plotting.contrast import Contrast

__all__ = ["CentreOfMass", "Dataset", "Mean", "Quantity", "Result", "VirtualImage"]

Array = npt.NDArray[Any]
PartLoader = Callable[[int], Array]


@dataclass(frozen=True, eq=False)
class Dataset:
    """What of a plan the results depend on.

    Parameters
    ----------
    layout : Layout
    axes : tuple of Axis
        In array order.
    chunks : tuple of tuple of int
        Block lengths along every axis.
    table : ndarray of int, shape ``layout.navigation_shape``, optional
        The frame at each navigation position, where they are not in the file's order.

    Raises
    ------
    ArgumentError
        Nothing can be computed from such data.
    """

    layout: Layout
    axes: tuple[Axis, ...]
    chunks: Chunks
    table: FrameTable | None = None

    def __post_init__(self) -> None:
        layout = self.layout
        fault = (
            "they have no navigation axis: the file holds a single image"
            if not layout.navigation_shape
            else "there are no frames in it"
            if 0 in layout.shape
            else "their pixels are colours"
            if layout.pixels.components
            else "their pixels are complex numbers"
            if layout.dtype.kind == "c"
            else ""
        )
        if fault:
            raise ArgumentError(
                f"data of shape {layout.shape} and dtype {layout.dtype} cannot be reduced",
                code="data-not-reducible",
                cause=fault,
                remedy="use mrcdist.read_mrc and dask.array for other computations",
            )
        if any(len(axis) > 1 for axis in self.chunks[self.n_navigation :]):
            raise ArgumentError(
                f"chunks that split frames of {layout.frame_shape[0]} × {layout.frame_shape[1]}",
                code="chunks-split-frames",
                cause="sums are over whole frames",
                remedy="give -1 for the signal axes, or a size such as 256 MiB",
            )

    @property
    def n_navigation(self) -> int:
        """Number of navigation axes."""
        return len(self.layout.navigation_shape)

    @property
    def navigation_axes(self) -> tuple[Axis, ...]:
        """The axes of a map."""
        return self.axes[: self.n_navigation]

    @property
    def signal_axes(self) -> tuple[Axis, ...]:
        """The axes of a frame: rows, columns."""
        return self.axes[self.n_navigation : self.n_navigation + 2]

    @property
    def navigation_chunks(self) -> Chunks:
        """Block lengths along the navigation axes."""
        return self.chunks[: self.n_navigation]

    def frames_present(self) -> int:
        """Number of positions that have a frame."""
        layout = self.layout
        if self.table is None:
            return min(layout.present, layout.n_frames)
        return int(np.count_nonzero((self.table >= 0) & (self.table < layout.present)))


@dataclass(frozen=True, eq=False)
class Result:
    """An array, and what its axes and numbers mean.

    Attributes
    ----------
    title : str
    values : ndarray
    axes : tuple of Axis
        The last ``len(axes)`` axes of `values`.
    names : tuple of str
        What the first axis of `values` counts, where it has one more axis than `axes`.
    units : tuple of str
        Of the numbers, for each of `names` or once.
    label : str
        What a colour bar says; by default the units.
    contrast : Contrast
        How it is drawn: "log" if it is a diffraction pattern, "signed" if it is positions, which
        matter by how far they are from the usual one, and to which side.
    notes : tuple of str
        What the reader should know.
    """

    title: str
    values: Array = field(repr=False)
    axes: tuple[Axis, ...]
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ("counts",)
    label: str = ""
    contrast: Contrast = "linear"
    notes: tuple[str, ...] = ()


class Quantity(Protocol):
    """Something to compute."""

    @property
    def title(self) -> str:
        """A few words."""

    def reduction(self, data: Dataset) -> Reduction:
        """What tasks make of frames."""

    def schedule(self, data: Dataset) -> tuple[Part, ...]:
        """Tasks and parts."""

    def finish(self, data: Dataset, parts: tuple[Part, ...], load: PartLoader) -> Result:
        """Make the result of the values of all parts; `load` gives those of one."""


@dataclass(frozen=True)
class _ValuesOfFrames:
    """What is computed from the sums of each frame over a detector."""

    detector: Detector
    moments: ClassVar[bool]

    def reduction(self, data: Dataset) -> Reduction:
        """Sums over the detector, with their first moments if these are needed."""
        window = self.detector.window(data.layout.frame_shape)
        return PixelSums(self.detector, window, moments=self.moments)

    def schedule(self, data: Dataset) -> tuple[Part, ...]:
        """A value, or three, for each frame."""
        return schedule_maps(blocks_of(data.navigation_chunks))


@dataclass(frozen=True)
class VirtualImage(_ValuesOfFrames):
    """The intensity on a virtual detector at each navigation position."""

    title: str = "virtual image"
    moments = False

    def finish(self, data: Dataset, parts: tuple[Part, ...], load: PartLoader) -> Result:
        """For integer data and weights exact integers, uint64 or int64 by sign; else float64."""
        [image] = _maps(data, parts, load)
        if image.dtype == np.int64 and data.layout.dtype.kind == "u" and self.detector.positive:
            image = image.astype(np.uint64)
        missing = data.layout.n_frames - data.frames_present()
        notes = (f"positions without a frame, which are 0: {missing:,}",) if missing else ()
        return Result(
            self.title,
            image,
            data.navigation_axes,
            label="counts, summed over the detector",
            notes=notes,
        )


@dataclass(frozen=True)
class CentreOfMass(_ValuesOfFrames):
    """The centre of mass of each frame on a virtual detector: row and column."""

    title: str = "centre of mass"
    moments = True

    def finish(self, data: Dataset, parts: tuple[Part, ...], load: PartLoader) -> Result:
        """Positions on the signal axes, float64, shape (2,) + navigation; NaN without intensity.

        In an axis' units where it has some, with its scale and offset; else in pixels, the first
        one at 0.
        """
        mass, *moments = _maps(data, parts, load)
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = [np.where(mass == 0, np.nan, moment / mass) for moment in moments]
        values = np.stack(
            [
                axis.offset + axis.scale * position if axis.units else position
                for axis, position in zip(data.signal_axes, pixels, strict=True)
            ]
        )
        empty = int(np.count_nonzero(mass == 0))
        note = f"positions without intensity on the detector, which are NaN: {empty:,}"
        return Result(
            self.title,
            values,
            data.navigation_axes,
            names=("y", "x"),
            units=tuple(axis.units or "px" for axis in data.signal_axes),
            contrast="signed",
            notes=(note,) if empty else (),
        )


@dataclass(frozen=True)
class Mean:
    """The mean of all frames that are there."""

    title: str = "mean"

    def reduction(self, data: Dataset) -> Reduction:
        """Their sum."""
        return FrameSum(data.layout.frame_shape)

    def schedule(self, data: Dataset) -> tuple[Part, ...]:
        """Sums of many frames a task."""
        layout = data.layout
        blocks = blocks_of(data.navigation_chunks)
        pixels = layout.frame_shape[0] * layout.frame_shape[1]
        block_bytes = max(map(block_frames, blocks)) * pixels * layout.dtype.itemsize
        return schedule_sum(blocks, block_bytes=block_bytes, sum_bytes=pixels * 8)

    def finish(self, data: Dataset, parts: tuple[Part, ...], load: PartLoader) -> Result:
        """The sum (exact for integers) over the number of frames that are there, float64."""
        reduction = self.reduction(data)
        total = load(0)
        for part in range(1, len(parts)):
            total = reduction.join([total, load(part)])
        present = data.frames_present()
        if present == 0:
            raise ArgumentError("no frame is there to take the mean of", code="data-not-reducible")
        missing = data.layout.n_frames - present
        notes = (
            (f"the mean is over the {present:,} frames that are there; {missing:,} are missing",)
            if missing
            else ()
        )
        return Result(
            self.title,
            total / present,
            data.signal_axes,
            units=("counts per pixel",),
            contrast="log" if frames_are_patterns(data.axes) else "linear",
            notes=notes,
        )


def _maps(data: Dataset, parts: tuple[Part, ...], load: PartLoader) -> list[Array]:
    """Place the values of all frames, one map for each kind of value."""
    maps: Array | None = None
    for number, part in enumerate(parts):
        values = load(number)
        if maps is None:
            maps = np.empty((values.shape[1], *data.layout.navigation_shape), values.dtype)
        first = 0
        for block in (block for task in part for block in task):
            shape = tuple(stop - start for start, stop in block)
            stop = first + block_frames(block)
            index = (slice(None), *(slice(*span) for span in block))
            maps[index] = values[first:stop].T.reshape(-1, *shape)
            first = stop
        if first != len(values):
            raise AssertionError(f"part {number} has {len(values)} values for {first} frames")
    return [] if maps is None else list(maps)
