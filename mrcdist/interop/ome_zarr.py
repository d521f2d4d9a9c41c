"""OME-Zarr: a volume, tilt series or image in several resolutions, each made from a finer one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError
from mrcdist.extras import import_optional, install_command
from mrcdist.format.axis import Axis
from mrcdist.interop.rosettasciio import axes_attribute, flat_attributes, plan_metadata
from mrcdist.interop.zarr_layouts import (
    TILE,
    Hierarchy,
    Level,
    NewArray,
    ReadWritten,
    Selected,
    Source,
    block_bytes,
    grow_chunk,
    small_chunk,
    split_box,
)
from mrcdist.plan.selection import Box
from mrcdist.read_plan import Plan

NGFF_VERSION = "0.5"
_UNITS = {"nm": "nanometer", "s": "second", "deg": "degree"}
_TYPES = {"nm": "space", "s": "time", "deg": "angle"}
_SPACE = {"x", "y", "z"}


@dataclass(frozen=True)
class Coarsened:
    """Means of boxes of `factors` pixels of another array of the hierarchy, at `path`.

    Pixels at the end of an axis that do not fill a box are not used. Means are computed for a few
    whole `chunks` at a time, so that the pixels read for them take less memory than a block, and no
    pixel is read twice.
    """

    path: str
    factors: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]

    def read(self, box: Box, read_written: ReadWritten) -> npt.NDArray[Any]:
        """Return the means in a box."""
        coarse = np.empty([part.stop - part.start for part in box], self.dtype)
        for piece in split_box(box, self.chunks):
            pairs = zip(piece, box, strict=True)
            inside = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in pairs)
            coarse[inside] = self._means(piece, read_written)
        return coarse

    def _means(self, box: Box, read_written: ReadWritten) -> npt.NDArray[Any]:
        pairs = zip(box, self.factors, strict=True)
        fine = read_written(self.path, tuple(slice(p.start * f, p.stop * f) for p, f in pairs))
        # The fastest way in numpy is to add strided views.
        first, *others = (
            fine[tuple(map(slice, corner, [None] * fine.ndim, self.factors))]
            for corner in np.ndindex(self.factors)
        )
        means = first.astype(np.result_type(fine.dtype, np.float64))
        for corner in others:
            means += corner
        means /= math.prod(self.factors)
        return np.rint(means, out=means) if fine.dtype.kind in "iu" else means


def ome_zarr_layout(plan: Plan, source: Selected, axes: tuple[Axis, ...]) -> Hierarchy:
    """Return an image of OME-Zarr 0.5, with coarser levels until one fits in a single tile.

    Raises `ArgumentError` unless the axes are those of a volume, tilt series or image, and
    `MissingExtraError` if ome-zarr-models is not installed.
    """
    _check_axes(axes)
    dimensions, dtype = tuple(axis.name for axis in axes), source.dtype
    itemsize, nbytes = np.dtype(dtype).itemsize, block_bytes(plan)
    chunk = small_chunk(axes, itemsize)
    # Sections without a known spacing may show different objects, so they are not averaged.
    averaged = [
        axis.name in ("x", "y") or (axis.name == "z" and axis.units is not None) for axis in axes
    ]
    shape = tuple(axis.size for axis in axes)
    level_source: Source = source
    levels: list[Level] = []
    factors = (1,) * len(shape)
    totals = [factors]  # factors of each level, relative to the first one
    while True:
        # Blocks of coarser levels are smaller, so that no task reads more.
        chunks = tuple(map(min, chunk, shape))
        shards = grow_chunk(chunks, shape, itemsize, nbytes // math.prod(factors))
        described = {} if levels else {"axes": axes_attribute(axes)}
        array = NewArray(str(len(levels)), shape, dtype, chunks, shards, dimensions, described)
        levels.append(Level(array, level_source, shards))
        if max(shape[-2:]) <= TILE:
            break
        factors = tuple(2 if a and n > 1 else 1 for a, n in zip(averaged, shape, strict=True))
        shape = tuple(n // f for n, f in zip(shape, factors, strict=True))
        level_source = Coarsened(array.path, factors, dtype, tuple(map(min, chunk, shape)))
        totals.append(tuple(t * f for t, f in zip(totals[-1], factors, strict=True)))
    title = str(plan_metadata(plan)["General"]["title"])
    attributes = {"ome": _ome_attribute(title, axes, totals), **flat_attributes(plan)}
    return Hierarchy(3, {"": attributes}, (), tuple(levels))


def _check_axes(axes: tuple[Axis, ...]) -> None:
    names = [axis.name for axis in axes]
    space = [name for name in names if name in _SPACE]
    n_others = len(names) - len(space)
    if names[n_others:] == space and len(space) > 1 and n_others < 2 and "rgb" not in names:
        return
    raise ArgumentError(
        f"`destination`: OME-Zarr cannot store the axes {', '.join(names)}",
        code="destination-unsuited",
        argument="destination",
        cause="it has two or three spatial axes, and at most one other axis before them",
        remedy="choose a name that ends in .zarr or .zspy",
    )


def _ome_attribute(
    title: str, axes: tuple[Axis, ...], totals: list[tuple[int, ...]]
) -> dict[str, Any]:
    """Return the attribute "ome" of the group, validated by the models of the specification."""
    image = import_optional(
        "ome_zarr_models.v05.image",
        "it checks the metadata of OME-Zarr",
        install_command("ome-zarr"),
    )
    datasets = {str(number): total for number, total in enumerate(totals)}
    levels = {**multiscale(axes, datasets), "name": title, "type": "mean"}
    model = image.ImageAttrs(version=NGFF_VERSION, multiscales=[levels])
    attribute: dict[str, Any] = model.model_dump(mode="json", exclude_none=True)
    return attribute


def multiscale(axes: tuple[Axis, ...], datasets: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return OME-NGFF's axes and datasets.

    `datasets` has, for each path, the size of its pixels along each axis, in pixels of the data.
    """
    axes_list = []
    for axis in axes:
        units = axis.units or ""
        kind = "space" if axis.name in _SPACE else _TYPES.get(units)
        # Irregular angles have no scale; the axes attribute of the array contains them.
        unit = None if axis.values else _UNITS.get(units)
        entries = {"name": axis.name, "type": kind, "unit": unit}
        axes_list.append({key: value for key, value in entries.items() if value is not None})
    datasets_list = []
    for path, total in datasets.items():
        pairs = list(zip(axes, total, strict=True))
        scale = [float(axis.scale * t) for axis, t in pairs]
        # Centre of the pixels whose mean is the first pixel.
        centre = [float(axis.offset + axis.scale * (t - 1) / 2) for axis, t in pairs]
        steps = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": centre},
        ]
        datasets_list.append({"path": path, "coordinateTransformations": steps})
    return {"axes": axes_list, "datasets": datasets_list}
