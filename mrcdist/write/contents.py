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

__all__ = ["Contents", "contents_of", "in_angstrom", "refuse_mask"]

# Units of length in Å, as HyperSpy, pint and sidecars spell them. Both micro signs are in use.
_ANGSTROM = {
    "å": 1.0, "a": 1.0, "angstrom": 1.0, "ångström": 1.0, "pm": 0.01, "nm": 10.0, "um": 1e4,
    "µm": 1e4, "μm": 1e4, "micrometer": 1e4, "mm": 1e7, "m": 1e10,
}  # fmt: skip


@dataclass(frozen=True)
class Contents:
    """An array, and what is known of it.

    Attributes
    ----------
    array : dask.array.Array
    axes : tuple of Axis
        One for each axis of the array; uncalibrated where nothing is known.
    metadata, original_metadata : mapping
        As RosettaSciIO has them.
    """

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
    """Interpret what the caller wants to be written.

    Parameters
    ----------
    data : array, mapping or HyperSpy signal
        At least two axes, the last two being rows and columns of frames. Of a mapping and a signal,
        navigation axes are moved before signal axes.
    axes : sequence of mapping, optional
        One an axis, with ``name``, ``scale``, ``offset``, ``units``; instead of the data's own.
    metadata : mapping, optional
        Instead of the data's own.

    Raises
    ------
    ArgumentError
    """
    if isinstance(data, Mapping):
        found = dict(data)
    elif hasattr(data, "axes_manager") and hasattr(data, "original_metadata"):
        found = _of_signal(data)
    else:
        found = {"data": data}
    array = _as_dask(found.get("data"))
    described = axes if axes is not None else found.get("axes")
    understood, order = _axes(described, array.shape)
    return Contents(
        da.transpose(array, order) if order != tuple(range(array.ndim)) else array,
        understood,
        metadata if metadata is not None else found.get("metadata") or {},
        found.get("original_metadata") or {},
    )


def _of_signal(signal: Any) -> dict[str, Any]:
    """The parts of a HyperSpy signal; HyperSpy itself is not imported."""
    return {
        "data": signal.data,
        "axes": list(signal.axes_manager.as_dictionary().values()),
        "metadata": signal.metadata.as_dictionary(),
        "original_metadata": signal.original_metadata.as_dictionary(),
    }


def _as_dask(data: Any) -> da.Array:
    refuse_mask(data._meta if isinstance(data, da.Array) else data)
    if not isinstance(data, da.Array):
        array = np.asanyarray(data)
        if array.dtype.kind not in "biufc":
            raise _no_array(f"data is of type {type(data).__name__} and dtype {array.dtype}")
        data = da.from_array(array, chunks="auto", asarray=False) if array.ndim else array
    if data.ndim < 2:
        raise _no_array(f"data has {data.ndim} axes")
    if any(math.isnan(size) for size in data.shape):
        raise ArgumentError(
            f"data has the shape {data.shape}",
            code="data-not-writable",
            argument="data",
            cause="the header, which comes first in the file, contains the lengths of all axes",
            remedy="call compute_chunk_sizes() of the dask array first",
        )
    if 0 in data.shape:
        raise _no_array(f"data has the shape {data.shape}")
    return data


def refuse_mask(numbers: Any) -> None:
    """Raise `ArgumentError` for a masked array; dask may not know of one before it is computed."""
    if not np.ma.isMaskedArray(numbers):
        return
    raise ArgumentError(
        "data is a masked array",
        code="data-not-writable",
        argument="data",
        cause="an MRC file cannot store a mask",
        remedy="fill the masked values first, as with data.filled(0) or dask.array.ma.filled",
    )


def _no_array(problem: str) -> ArgumentError:
    return ArgumentError(
        problem,
        code="data-not-writable",
        argument="data",
        cause="an MRC file holds frames of numbers: arrays of two or more axes, none of length 0",
        remedy="pass a numpy or dask array, a dict from read_mrc, or a HyperSpy signal",
    )


def _axes(
    described: Sequence[Mapping[str, Any]] | None, shape: tuple[int, ...]
) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
    """The axes with navigation before signal, and the order in which they are the array's."""
    if not described:
        n = len(shape)
        return tuple(Axis("", size, navigate=i < n - 2) for i, size in enumerate(shape)), tuple(
            range(n)
        )
    if len(described) != len(shape):
        raise ArgumentError(
            f"axes: {len(described)} of them for an array of {len(shape)}",
            code="axes-mismatch",
            argument="axes",
            cause="each axis of the array needs one",
            remedy="pass one dict per axis, in array order",
        )
    axes = [
        _axis(each, size, i < len(shape) - 2)
        for i, (each, size) in enumerate(zip(described, shape, strict=True))
    ]
    if any(axis.name == "rgb" for axis in axes):
        raise ArgumentError(
            f"data has the shape {shape} with an axis of colours",
            code="data-not-writable",
            argument="data",
            cause="colours would become an axis of the frames: mode 16 is read, not written",
            remedy="write one colour, data[..., 0], or a sum over the colours, with its own axes",
        )
    order = tuple(sorted(range(len(axes)), key=lambda i: not axes[i].navigate))
    signal = sum(not axis.navigate for axis in axes)
    if signal != 2:
        # Spectra or single images: the last two axes are the frames', as in any array.
        order = tuple(range(len(axes)))
    return tuple(
        replace(axes[i], navigate=position < len(axes) - 2) for position, i in enumerate(order)
    ), order


def _axis(described: Mapping[str, Any], size: int, navigate: bool) -> Axis:
    given = described.get("axis")
    units = described.get("units")
    return Axis(
        name=_text(described.get("name")),
        size=size,
        navigate=bool(described.get("navigate", navigate)),
        scale=_number(described.get("scale"), 1.0),
        offset=_number(described.get("offset"), 0.0),
        units=_text(units) or None,
        values=None if given is None else tuple(float(value) for value in given),
    )


def _number(value: Any, default: float) -> float:
    return default if value is None else float(value)


def _text(value: Any) -> str:
    """A name or unit; HyperSpy's "undefined" is none."""
    text = "" if value is None else str(value)
    return "" if text == "<undefined>" or "undefined" in text.lower() else text


def in_angstrom(axis: Axis) -> tuple[float | None, float]:
    """Return pixel size and offset in Å; None and 0 where the axis is no calibrated length."""
    factor = _ANGSTROM.get((axis.units or "").strip().lower())
    if factor is None or not axis.scale > 0 or axis.values is not None:
        return None, 0.0
    return axis.scale * factor, axis.offset * factor
