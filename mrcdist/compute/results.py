"""Results as arrays with calibrated axes, and the parts of a plan that they depend on."""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import ArrayFile
from mrcdist.errors import ArgumentError, MissingExtraError
from mrcdist.format.axis import Axis
from mrcdist.interop.rosettasciio import axes_dicts
from mrcdist.plan.chunks import Chunks
from mrcdist.plan.layout import Layout
from mrcdist.plotting import Contrast
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import select_frames

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is read, and the parts of its plan that results depend on.

    Axes are in array order, chunks the block lengths along each of them. An `ArgumentError` is
    raised if nothing can be computed from such data.
    """

    source: MrcSource
    axes: tuple[Axis, ...]
    chunks: Chunks

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
                argument="chunks",
                cause="sums are computed over whole frames",
                remedy="give -1 for the signal axes, or a size such as 256 MiB",
            )

    @property
    def layout(self) -> Layout:
        """Shape and order of frames."""
        return self.source.layout

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

    def positions_present(self) -> range | npt.NDArray[np.int64]:
        """Positions that have a frame, counted in array order."""
        layout, table = self.layout, self.source.table
        if table is None:
            return range(min(layout.present, layout.n_frames))
        return np.flatnonzero((table >= 0) & (table < layout.present))

    def frames_present(self) -> int:
        """Number of positions that have a frame."""
        return len(self.positions_present())

    def zeros_note(self) -> tuple[str, ...]:
        """Return how many values of a map are of no frame."""
        missing = self.layout.n_frames - self.frames_present()
        return (f"positions without a frame, which are 0: {missing:,}",) if missing else ()

    def missing_note(self, title: str) -> tuple[str, ...]:
        """Return how many frames a result of all frames is of."""
        present = self.frames_present()
        missing = self.layout.n_frames - present
        if not missing:
            return ()
        return (
            f"the {title} is over the {present:,} frames that are there; {missing:,} are missing",
        )


def limited(
    source: MrcSource,
    axes: tuple[Axis, ...],
    chunks: Chunks,
    *,
    region: Any = None,
    frames: Any = None,
) -> Dataset:
    """Return the data of a plan, or of a region or a range of frames in it, in the order given.

    These are as for `Plan.frames`; a region may also be an `ArrayFile`.
    """
    if region is None and frames is None:
        return Dataset(source, axes, chunks)
    if region is not None and frames is not None:
        raise ArgumentError(
            "both region and frames are given",
            code="frames-invalid",
            argument="frames",
            cause="frames could refer to the whole scan or to the region",
            remedy="give {region} or {frames}",
        )
    name, which = ("frames", frames) if region is None else ("region", region)
    try:
        if isinstance(which, ArrayFile):
            which = which.load("region")
        source, axes, chunks = select_frames(source, axes, which)
    except ArgumentError as error:
        error.argument = name
        raise
    if not source.layout.n_frames:
        raise ArgumentError(
            f"{name} selects nothing",
            code="frames-invalid",
            argument=name,
            cause="it is empty, or a mask without a true value",
            remedy=f"select at least one frame, or leave {{{name}}} out",
        )
    return Dataset(source, axes, chunks)


@dataclass(frozen=True, eq=False)
class Result:
    """An array with its calibrated axes and a description of its values.

    Attributes
    ----------
    title : str
    values : ndarray
    axes : tuple of Axis
        The last ``len(axes)`` axes of `values`.
    names : tuple of str
        Names of the elements of the first axis of `values`, if it has one more axis than `axes`.
    units : tuple of str
        Units of the values: one for each of `names`, or a single one.
    label : str
        Label of a colour bar; by default the units.
    contrast : Contrast
        How it is drawn: "log" for diffraction patterns; "signed" for positions, which are shown
        as signed deviations from the median.
    notes : tuple of str
        Warnings about the result.
    """

    title: str
    values: Array = field(repr=False)
    axes: tuple[Axis, ...]
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ("counts",)
    label: str = ""
    contrast: Contrast = "linear"
    notes: tuple[str, ...] = ()

    def __array__(self, dtype: npt.DTypeLike | None = None, *, copy: bool | None = None) -> Array:
        """Return the values, for `numpy.asarray`."""
        if copy is None:  # no value of numpy 1's `copy`
            return np.asarray(self.values, dtype)
        return np.array(self.values, dtype, copy=copy)

    def to_xarray(self) -> Any:
        """Return an `xarray.DataArray`, with calibrated coordinates.

        Raises
        ------
        MissingExtraError
            xarray is not installed.
        """
        try:
            xarray = importlib.import_module("xarray")
        except ImportError:
            raise MissingExtraError(
                "xarray is not installed",
                code="package-missing",
                cause="to_xarray requires it",
                remedy="pip install xarray",
            ) from None
        named = self.values.ndim > len(self.axes)
        coords: dict[str, Any] = {"component": list(self.names)} if named else {}
        for axis in self.axes:
            positions = axis.values or axis.offset + axis.scale * np.arange(axis.size)
            coords[axis.name] = (axis.name, np.asarray(positions), {"units": axis.units or "px"})
        return xarray.DataArray(
            self.values,
            coords,
            dims=(*(["component"] if named else []), *(axis.name for axis in self.axes)),
            name=self.title,
            attrs={"units": ", ".join(self.units)},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a dict in RosettaSciIO's form, as accepted by `write_mrc`.

        All axes are signal axes, except the one for `names`.
        """
        more = self.values.ndim - len(self.axes)
        first = [Axis("component", len(self.names), navigate=True)] if more else []
        axes = [dataclasses.replace(axis, navigate=False) for axis in self.axes]
        return {
            "data": self.values,
            "axes": axes_dicts([*first, *axes]),
            "metadata": {"General": {"title": self.title}},
            "original_metadata": {},
        }
