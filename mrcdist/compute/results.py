"""Results, as arrays with calibrated axes, and the data that they are computed from."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import ArrayFile
from mrcdist.errors import ArgumentError
from mrcdist.extras import import_optional
from mrcdist.format.axis import Axis
from mrcdist.interop.rosettasciio import axes_dicts
from mrcdist.plan.chunks import Chunks
from mrcdist.plan.layout import Layout
from mrcdist.plotting import Contrast
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import select_frames
from mrcdist.warning_notes import Note

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """The data of a pass: its source, with the axes and the chunks of the plan.

    An `ArgumentError` is raised if they cannot be reduced.
    """

    source: MrcSource
    axes: tuple[Axis, ...]
    chunks: Chunks

    def __post_init__(self) -> None:
        layout = self.layout
        faults = {
            "they are a single image, without navigation axes": not layout.navigation_shape,
            "they contain no frames": 0 in layout.shape,
            "their pixels are colours": layout.pixels.components,
            "their pixels are complex numbers": layout.dtype.kind == "c",
        }
        if any(faults.values()):
            raise ArgumentError(
                f"`data` of shape {layout.shape} and dtype {layout.dtype} cannot be reduced",
                code="data-not-reducible",
                argument="data",
                cause=next(fault for fault, applies in faults.items() if applies),
                remedy="use mrcdist.read_mrc and dask.array for other computations",
            )
        if any(len(axis) > 1 for axis in self.chunks[self.n_navigation :]):
            raise ArgumentError(
                f"`chunks` that split frames of {layout.frame_shape[0]} × {layout.frame_shape[1]}",
                code="chunks-split-frames",
                argument="chunks",
                cause="sums are computed over whole frames",
                remedy="pass -1 for the signal axes, or a size such as 256 MiB",
            )

    @property
    def layout(self) -> Layout:
        """Shape and order of the frames."""
        return self.source.layout

    @property
    def n_navigation(self) -> int:
        """Number of navigation axes."""
        return len(self.layout.navigation_shape)

    @property
    def navigation_axes(self) -> tuple[Axis, ...]:
        """Axes of a map."""
        return self.axes[: self.n_navigation]

    @property
    def signal_axes(self) -> tuple[Axis, ...]:
        """Axes of a frame: rows, columns."""
        return self.axes[self.n_navigation : self.n_navigation + 2]

    @functools.cached_property
    def present(self) -> range | npt.NDArray[np.int64]:
        """Positions that have a frame, counted in array order."""
        layout, table = self.layout, self.source.table
        if table is None:
            return range(min(layout.present, layout.n_frames))
        return np.flatnonzero((table >= 0) & (table < layout.present))

    def require_frames(self) -> None:
        """Raise an error if no position has a frame."""
        if not len(self.present):
            raise ArgumentError(
                "there are no frames to reduce",
                code="data-not-reducible",
                argument="data",
                cause="the file contains none of the frames at the selected positions",
                remedy="select other frames, or wait until the file is complete",
            )

    def missing_note(self, title: str = "") -> tuple[Note, ...]:
        """Return a note if frames are missing from a map or, with a title, from another result."""
        n_present = len(self.present)
        missing = self.layout.n_frames - n_present
        text = f"positions without a frame (set to 0): {missing:,}"
        if title:
            text = f"the {title} is computed from {n_present:,} frames; {missing:,} are missing"
        return (Note("frames-missing", text),) if missing else ()


def select_data(
    source: MrcSource,
    axes: tuple[Axis, ...],
    chunks: Chunks,
    *,
    region: Any = None,
    frames: Any = None,
) -> Dataset:
    """Return the data of a plan, or those of a region or a range of frames, in the given order.

    `region` and `frames` are as for `Plan.frames`; a region may also be an `ArrayFile`.
    """
    if region is None and frames is None:
        return Dataset(source, axes, chunks)
    if region is not None and frames is not None:
        raise ArgumentError(
            "both `region` and `frames` are given",
            code="frames-invalid",
            argument="frames",
            cause="`frames` could refer to the whole scan or to the region",
            remedy="pass either `region` or `frames`",
        )
    argument, selected = ("frames", frames) if region is None else ("region", region)
    try:
        if isinstance(selected, ArrayFile):
            selected = selected.load("region", source.parts[0].file.location)
        source, axes, chunks = select_frames(source, axes, selected)
    except ArgumentError as error:
        error.argument = argument
        raise
    if not source.layout.n_frames:
        raise ArgumentError(
            f"`{argument}` selects nothing",
            code="frames-invalid",
            argument=argument,
            cause="it is empty, or a mask without a true value",
            remedy=f"select at least one frame, or omit `{argument}`",
        )
    return Dataset(source, axes, chunks)


@dataclass(frozen=True, eq=False)
class Result:
    """An array with calibrated axes and a description of its values.

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
        Label of the colour bar; by default the units.
    contrast : Contrast
        How to draw it: "log" for diffraction patterns; "signed" for positions, drawn as signed
        deviations from the median.
    notes : tuple of Note
        Warnings about the result.
    """

    title: str
    values: Array = field(repr=False)
    axes: tuple[Axis, ...]
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ("counts",)
    label: str = ""
    contrast: Contrast = "linear"
    notes: tuple[Note, ...] = ()

    def __array__(self, dtype: npt.DTypeLike | None = None, *, copy: bool | None = None) -> Array:
        """Return the values, for `numpy.asarray`."""
        if copy is None:  # not accepted by `numpy.array` in numpy 1
            return np.asarray(self.values, dtype)
        return np.array(self.values, dtype, copy=copy)

    def to_xarray(self) -> Any:
        """Return an `xarray.DataArray`, with calibrated coordinates.

        Raises
        ------
        MissingExtraError
            xarray is not installed.
        """
        xarray = import_optional("xarray", "to_xarray requires it", "pip install xarray")
        dims = [axis.name for axis in self.axes]
        coords: dict[str, Any] = {}
        if self._has_components:
            dims.insert(0, "component")
            coords["component"] = list(self.names)
        for axis in self.axes:
            coords[axis.name] = (axis.name, axis.positions, {"units": axis.units or "px"})
        attributes = {"units": ", ".join(self.units)}
        return xarray.DataArray(self.values, coords, dims=dims, name=self.title, attrs=attributes)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict in RosettaSciIO's form, as accepted by `write_mrc`.

        All axes are signal axes, except the one for `names`.
        """
        axes = [dataclasses.replace(axis, navigate=False) for axis in self.axes]
        if self._has_components:
            axes.insert(0, Axis("component", len(self.names), navigate=True))
        return {
            "data": self.values,
            "axes": axes_dicts(axes),
            "metadata": {"General": {"title": self.title}},
            "original_metadata": {},
        }

    @property
    def _has_components(self) -> bool:
        return self.values.ndim > len(self.axes)
