"""OME-Zarr: a volume, tilt series or image in several resolutions, each from the one before."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError, MissingExtraError
from mrcdist.extras import install_command
from mrcdist.format.axis import Axis
from mrcdist.interop.rosettasciio import axes_attribute, flat_attributes, plan_metadata
from mrcdist.interop.zarr_layouts import (
    TILE,
    Hierarchy,
    Level,
    NewArray,
    Selected,
    Source,
    Written,
    block_bytes,
    grown,
    pieces,
    small_chunk,
)
from mrcdist.plan.selection import Box
from mrcdist.read_plan import Plan

NGFF_VERSION = "0.5"
_UNITS = {"nm": "nanometer", "s": "second", "deg": "degree"}
_TYPES = {"nm": "space", "s": "time", "deg": "angle"}
_SPACE = {"x", "y", "z"}


@dataclass(frozen=True)
class Coarsened:
    """The means of small boxes, `factors` long, of the array at a path of the same hierarchy.

    What is left over at the end of an axis is not used. Means are made a few whole `chunks` of them
    at a time, so that what they are made of takes less memory than a block of that array, and none
    of it is read twice.
    """

    path: str
    factors: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]

    def read(self, box: Box, written: Written) -> npt.NDArray[Any]:
        """Return the numbers in a box."""
        coarse = np.empty([part.stop - part.start for part in box], self.dtype)
        for piece in pieces(box, self.chunks):
            inside = zip(piece, box, strict=True)
            coarse[tuple(slice(p.start - b.start, p.stop - b.start) for p, b in inside)] = (
                self._means(piece, written)
            )
        return coarse

    def _means(self, box: Box, written: Written) -> npt.NDArray[Any]:
        """Return the means in a box, integers rounded; sums of strided views are fastest."""
        pairs = zip(box, self.factors, strict=True)
        finer = written(self.path, tuple(slice(p.start * f, p.stop * f) for p, f in pairs))
        first, *others = (
            finer[tuple(map(slice, corner, [None] * finer.ndim, self.factors))]
            for corner in np.ndindex(self.factors)
        )
        means = first.astype(np.result_type(finer.dtype, np.float64))
        for corner in others:
            means += corner
        means /= math.prod(self.factors)
        return np.rint(means, out=means) if finer.dtype.kind in "iu" else means


def ome_zarr_layout(plan: Plan, source: Selected, axes: tuple[Axis, ...]) -> Hierarchy:
    """Return an image of OME-Zarr 0.5, with levels until one fits into one tile.

    Raises an `ArgumentError` if the axes are no volume, tilt series or image, and a
    `MissingExtraError`.
    """
    _check_axes(axes)
    names, dtype = tuple(axis.name for axis in axes), source.dtype
    itemsize, nbytes = np.dtype(dtype).itemsize, block_bytes(plan)
    chunk = small_chunk(axes, itemsize)
    # Sections without a distance may be images of different things, which have no mean.
    space = [
        axis.name in ("x", "y") or (axis.name == "z" and axis.units is not None) for axis in axes
    ]
    shape = tuple(axis.size for axis in axes)
    finer: Source = source
    levels: list[Level] = []
    factors = (1,) * len(shape)
    totals = [factors]
    while True:
        # Blocks of coarser levels are smaller, so that no task reads more.
        chunks = tuple(map(min, chunk, shape))
        shards = grown(chunks, shape, itemsize, nbytes // math.prod(factors))
        described = {} if levels else {"axes": axes_attribute(axes)}
        array = NewArray(str(len(levels)), shape, dtype, chunks, shards, names, described)
        levels.append(Level(array, finer, shards))
        if max(shape[-2:]) <= TILE:
            break
        factors = tuple(2 if s and n > 1 else 1 for s, n in zip(space, shape, strict=True))
        shape = tuple(n // f for n, f in zip(shape, factors, strict=True))
        finer = Coarsened(array.path, factors, dtype, tuple(map(min, chunk, shape)))
        totals.append(tuple(t * f for t, f in zip(totals[-1], factors, strict=True)))
    title = str(plan_metadata(plan)["General"]["title"])
    attributes = {"ome": _metadata(title, axes, totals), **flat_attributes(plan)}
    return Hierarchy(3, {"": attributes}, (), tuple(levels))


def _check_axes(axes: tuple[Axis, ...]) -> None:
    names = [axis.name for axis in axes]
    space = [name for name in names if name in _SPACE]
    others = len(names) - len(space)
    if names[others:] == space and len(space) > 1 and others < 2 and "rgb" not in names:
        return
    raise ArgumentError(
        f"destination: OME-Zarr cannot hold the axes {', '.join(names)}",
        code="destination-unsuited",
        argument="destination",
        cause="it has two or three spatial axes, and at most one other axis before them",
        remedy="choose a name that ends in .zarr or .zspy",
    )


def _metadata(title: str, axes: tuple[Axis, ...], totals: list[tuple[int, ...]]) -> dict[str, Any]:
    """Return OME-Zarr's attribute, checked by the models of its specification."""
    try:
        image = importlib.import_module("ome_zarr_models.v05.image")
    except ImportError:
        raise MissingExtraError(
            "ome-zarr-models is not installed",
            cause="it checks the metadata of OME-Zarr",
            remedy=install_command("ome-zarr"),
        ) from None
    levels = multiscale(axes, {str(number): total for number, total in enumerate(totals)})
    levels = {**levels, "name": title, "type": "mean"}
    found = image.ImageAttrs(version=NGFF_VERSION, multiscales=[levels])
    attributes: dict[str, Any] = found.model_dump(mode="json", exclude_none=True)
    return attributes


def multiscale(axes: tuple[Axis, ...], datasets: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return OME-NGFF's axes and datasets, whose pixels are as many of these axes long.

    Datasets are given by their paths.
    """
    described = []
    for axis in axes:
        units = axis.units or ""
        kind = "space" if axis.name in _SPACE else _TYPES.get(units)
        # Uneven angles have no scale: they are in the array's own axes.
        unit = None if axis.values else _UNITS.get(units)
        known = {"name": axis.name, "type": kind, "unit": unit}
        described.append({key: value for key, value in known.items() if value is not None})
    transformed = []
    for path, total in datasets.items():
        pairs = list(zip(axes, total, strict=True))
        scale = [float(axis.scale * t) for axis, t in pairs]
        # The centre of the first box of pixels.
        centre = [float(axis.offset + axis.scale * (t - 1) / 2) for axis, t in pairs]
        steps = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": centre},
        ]
        transformed.append({"path": path, "coordinateTransformations": steps})
    return {"axes": described, "datasets": transformed}
