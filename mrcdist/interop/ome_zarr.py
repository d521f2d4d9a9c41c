"""OME-Zarr: a volume, tilt series or image in several resolutions, each from the one before."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError, MissingExtraError
from mrcdist.extras import install_command
from mrcdist.format.axis import Axis
from mrcdist.interop.zarr_layouts import (
    TILE,
    Content,
    Hierarchy,
    Level,
    NewArray,
    Source,
    Written,
    grown,
    pieces,
    small_chunk,
)
from mrcdist.interop.zarr_metadata import NGFF_UNITS, NGFF_VERSION, axes_attribute
from mrcdist.plan.selected_box import Box

__all__ = ["Coarsened", "ome_zarr_layout"]

_TYPES = {"nm": "space", "s": "time", "deg": "angle"}
_SPACE = {"x", "y", "z"}


@dataclass(frozen=True)
class Coarsened:
    """The means of small boxes of an array of the same hierarchy.

    Attributes
    ----------
    path : str
        Of that array.
    factors : tuple of int
        Lengths of these boxes. What is left over at the end of an axis is not used.
    dtype : str
    chunks : tuple of int
        Of the means. They are made a few whole chunks at a time, so that what they are made of
        takes less memory than a block of that array, and none of it is read twice.
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


def ome_zarr_layout(content: Content) -> Hierarchy:
    """Return an image of OME-Zarr 0.5, until a level fits into one tile.

    Raises
    ------
    ArgumentError
        The axes are no volume, tilt series or image.
    MissingExtraError
    """
    _check_axes(content.axes)
    itemsize, block_bytes = content.dtype.itemsize, content.block_bytes
    chunk = small_chunk(content.axes, itemsize)
    # Sections without a distance may be images of different things, which have no mean.
    space = [axis.name in ("x", "y") or _is_depth(axis) for axis in content.axes]
    shape = content.shape
    source: Source = content.source
    levels: list[Level] = []
    totals = [(1,) * len(shape)]
    while True:
        # Blocks of coarser levels are smaller, so that no task reads more.
        chunks = tuple(map(min, chunk, shape))
        shards = grown(chunks, shape, itemsize, block_bytes)
        array = NewArray(
            str(len(levels)),
            shape,
            content.dtype.name,
            chunks,
            shards,
            tuple(axis.name for axis in content.axes),
            {} if levels else {"axes": axes_attribute(content.axes)},
        )
        levels.append(Level(array, source, shards))
        if max(shape[-2:]) <= TILE:
            break
        factors = tuple(2 if s and n > 1 else 1 for s, n in zip(space, shape, strict=True))
        block_bytes = content.block_bytes // int(np.prod(factors))
        shape = tuple(n // f for n, f in zip(shape, factors, strict=True))
        source = Coarsened(array.path, factors, array.dtype, tuple(map(min, chunk, shape)))
        totals.append(tuple(t * f for t, f in zip(totals[-1], factors, strict=True)))
    title = str(content.metadata["General"]["title"])
    attributes = {"ome": _metadata(title, content.axes, totals), **content.attributes}
    return Hierarchy(3, {"": attributes}, (), tuple(levels))


def _is_depth(axis: Axis) -> bool:
    return axis.name == "z" and axis.units is not None


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
        multiscales = importlib.import_module("ome_zarr_models.v05.multiscales")
        image = importlib.import_module("ome_zarr_models.v05.image")
        axis_model = importlib.import_module("ome_zarr_models.v05.axes").Axis
    except ImportError:
        raise MissingExtraError(
            "ome-zarr-models is not installed",
            code="package-missing",
            cause="it creates the metadata of OME-Zarr",
            remedy=install_command("ome-zarr"),
        ) from None
    datasets = [
        multiscales.Dataset.build(
            path=str(number),
            scale=[float(axis.scale * t) for axis, t in zip(axes, total, strict=True)],
            # The centre of the first box of pixels.
            translation=[
                float(axis.offset + axis.scale * (t - 1) / 2)
                for axis, t in zip(axes, total, strict=True)
            ],
        )
        for number, total in enumerate(totals)
    ]
    multiscale = multiscales.Multiscale(
        axes=[
            axis_model(
                name=axis.name,
                type="space" if axis.name in _SPACE else _TYPES.get(axis.units or ""),
                # Uneven angles have no scale: they are in the array's own axes.
                unit=None if axis.values else NGFF_UNITS.get(axis.units or ""),
            )
            for axis in axes
        ],
        datasets=tuple(datasets),
        name=title,
        type="mean",
    )
    found = image.ImageAttrs(version=NGFF_VERSION, multiscales=[multiscale])
    attributes: dict[str, Any] = found.model_dump(mode="json", exclude_none=True)
    return attributes
