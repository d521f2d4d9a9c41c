"""Data to be written: an array, a dict as `read_mrc` returns it, or a HyperSpy signal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis

# Units of length in Å, as HyperSpy, pint and sidecars spell them. Both micro signs are in use.
_ANGSTROM = {
    "å": 1.0, "a": 1.0, "angstrom": 1.0, "ångström": 1.0, "pm": 0.01, "nm": 10.0, "um": 1e4,
    "µm": 1e4, "μm": 1e4, "micrometer": 1e4, "mm": 1e7, "m": 1e10,
}  # fmt: skip


@dataclass(frozen=True)
class Contents:
    """An array, its axes, uncalibrated where nothing is known, and metadata as of RosettaSciIO."""

    array: da.Array
    axes: tuple[Axis, ...]
    metadata: Mapping[str, Any]
    original_metadata: Mapping[str, Any]

    @property
    def navigation(self) -> tuple[Axis, ...]:
        """All axes but the last two."""
        return self.axes[:-2]

    @property
    def sections(self) -> int:
        """Number of frames."""
        return math.prod(self.array.shape[:-2])


def contents_of(
    data: Any,
    axes: Sequence[Mapping[str, Any]] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Contents:
    """Interpret the data, axes and metadata that a caller passes: see `mrcdist.write_mrc`.

    Of a mapping and a signal, navigation axes are moved before signal axes. Axes and metadata that
    are given take the place of the data's own.
    """
    if isinstance(data, Mapping):
        found = dict(data)
    elif hasattr(data, "axes_manager") and hasattr(data, "original_metadata"):
        found = {  # without an import of HyperSpy
            "data": data.data,
            "axes": list(data.axes_manager.as_dictionary().values()),
            "metadata": data.metadata.as_dictionary(),
            "original_metadata": data.original_metadata.as_dictionary(),
        }
    else:
        found = {"data": data}
    array = _as_dask(found.get("data"))
    described = axes if axes is not None else found.get("axes")
    understood, order = _axes(described, array.shape)
    return Contents(
        array.transpose(order),
        understood,
        metadata if metadata is not None else found.get("metadata") or {},
        found.get("original_metadata") or {},
    )


def _as_dask(data: Any) -> da.Array:
    refuse_mask(data._meta if isinstance(data, da.Array) else data)
    if not isinstance(data, da.Array):
        array = np.asanyarray(data)
        if array.dtype.kind not in "biufc":
            raise _unwritable(f"data is of type {type(data).__name__} and dtype {array.dtype}")
        data = da.from_array(array, chunks="auto", asarray=False) if array.ndim else array
    if data.ndim < 2:
        raise _unwritable(f"data has {data.ndim} axes")
    if any(math.isnan(size) for size in data.shape):
        raise _unwritable(
            f"data has the shape {data.shape}",
            "the header, which comes first in the file, contains the lengths of all axes",
            "call compute_chunk_sizes() of the dask array first",
        )
    if 0 in data.shape:
        raise _unwritable(f"data has the shape {data.shape}")
    return data


def refuse_mask(numbers: Any) -> None:
    """Raise `ArgumentError` for a masked array; dask may not know of one before it is computed."""
    if np.ma.isMaskedArray(numbers):
        raise _unwritable(
            "data is a masked array",
            "an MRC file cannot store a mask",
            "fill the masked values first, as with data.filled(0) or dask.array.ma.filled",
        )


def _unwritable(
    problem: str,
    cause: str = "an MRC file holds frames of numbers: arrays of two or more axes, none of length "
    "0",
    remedy: str = "pass a numpy or dask array, a dict from read_mrc, or a HyperSpy signal",
) -> ArgumentError:
    return ArgumentError(
        problem, code="data-not-writable", argument="data", cause=cause, remedy=remedy
    )


def _axes(
    described: Sequence[Mapping[str, Any]] | None, shape: tuple[int, ...]
) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
    """The axes with navigation before signal, and the order in which they are the array's."""
    described = described or [{}] * len(shape)
    if len(described) != len(shape):
        raise ArgumentError(
            f"axes: {len(described)} of them for an array of {len(shape)}",
            code="axes-mismatch",
            argument="axes",
            cause="each axis of the array needs one",
            remedy="pass one dict per axis, in array order",
        )
    axes = [
        Axis.from_dict({"navigate": i < len(shape) - 2, **each, "size": size})
        for i, (each, size) in enumerate(zip(described, shape, strict=True))
    ]
    if any(axis.name == "rgb" for axis in axes):
        raise _unwritable(
            f"data has the shape {shape} with an axis of colours",
            "colours would become an axis of the frames: mode 16 is read, not written",
            "write one colour, data[..., 0], or a sum over the colours, with its own axes",
        )
    order = tuple(range(len(axes)))
    # Else spectra or single images: the last two axes are the frames', as in any array.
    if sum(not axis.navigate for axis in axes) == 2:
        order = tuple(sorted(order, key=lambda i: not axes[i].navigate))
    return tuple(
        replace(axes[i], navigate=position < len(axes) - 2) for position, i in enumerate(order)
    ), order


def in_angstrom(axis: Axis) -> tuple[float | None, float]:
    """Return pixel size and offset in Å; None and 0 where the axis is no calibrated length."""
    factor = _ANGSTROM.get((axis.units or "").strip().lower())
    if factor is None or not axis.scale > 0 or axis.values is not None:
        return None, 0.0
    return axis.scale * factor, axis.offset * factor
