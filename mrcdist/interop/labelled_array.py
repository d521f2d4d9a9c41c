"""An array with its axes, for the lazy arrays of Zarr and xarray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.format.axis import Axis
from mrcdist.read.outer_indexing import OuterIndex, read_outer, take_outer
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import Plan


@dataclass(frozen=True)
class LabelledArray:
    """Picklable array-like of a file, without open handles.

    If the shape of `axes` differs from that of the source, as for an image with the axes of a scan,
    all of it is read at once. `chunk_shape` is the most efficient shape to read; the last chunk
    along an axis may be shorter.
    """

    source: MrcSource
    axes: tuple[Axis, ...] = field(repr=False)
    chunk_shape: tuple[int, ...] = field(repr=False)

    @classmethod
    def of(cls, plan: Plan) -> LabelledArray:
        """Return the array of a plan, with the plan's axes and chunks."""
        shape = tuple(axis.size for axis in plan.axes)
        chunks = plan.chunks if shape == plan.shape else tuple((size,) for size in shape)
        return cls(plan.source, plan.axes, tuple(max(*axis, 1) for axis in chunks))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(axis.size for axis in self.axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native-endian dtype."""
        return self.source.dtype

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(axis.name for axis in self.axes)

    @property
    def has_shape_of_source(self) -> bool:
        """Whether axes and source have the same shape, so that parts can be read."""
        return self.shape == self.source.shape

    def read(self, index: OuterIndex) -> npt.NDArray[Any]:
        """Read positions along each axis: one, a slice or an array of them."""
        if self.has_shape_of_source:
            return read_outer(self.source, index)
        return take_outer(self.source[...].reshape(self.shape), index)


def coordinates(
    axes: Iterable[Axis],
) -> Iterator[tuple[str, npt.NDArray[Any], dict[str, str]]]:
    """Yield the name, the positions and the attribute "units" of each calibrated axis."""
    for axis in axes:
        if axis != Axis(axis.name, axis.size, axis.navigate):
            yield axis.name, axis.positions, {"units": axis.units} if axis.units else {}
