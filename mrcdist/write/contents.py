"""Data to be written: an array, a dict as returned by `read_mrc`, or a HyperSpy signal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis

# Units of length in Å, as HyperSpy, pint and sidecars spell them; both micro signs are in use.
_ANGSTROM = {
    "å": 1.0, "a": 1.0, "angstrom": 1.0, "ångström": 1.0, "pm": 0.01, "nm": 10.0, "um": 1e4,
    "µm": 1e4, "μm": 1e4, "micrometer": 1e4, "mm": 1e7, "m": 1e10,
}  # fmt: skip


@dataclass(frozen=True)
class Contents:
    """An array with its axes, which may be uncalibrated, and metadata named as in RosettaSciIO."""

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
    """Interpret the arguments `data`, `axes` and `metadata` of `mrcdist.write_mrc`.

    `axes` and `metadata` override those of the data. If exactly two axes are signal axes, the
    array is transposed so that these come last.
    """
    if isinstance(data, Mapping):
        parts = dict(data)
    elif hasattr(data, "axes_manager") and hasattr(data, "original_metadata"):
        parts = {  # without importing HyperSpy
            "data": data.data,
            "axes": list(data.axes_manager.as_dictionary().values()),
            "metadata": data.metadata.as_dictionary(),
            "original_metadata": data.original_metadata.as_dictionary(),
        }
    else:
        parts = {"data": data}
    array = _as_dask(parts.get("data"))
    ordered_axes, order = _ordered_axes(axes if axes is not None else parts.get("axes"), array)
    return Contents(
        array.transpose(order),
        ordered_axes,
        metadata if metadata is not None else parts.get("metadata") or {},
        parts.get("original_metadata") or {},
    )


def _as_dask(data: Any) -> da.Array:
    refuse_mask(data._meta if isinstance(data, da.Array) else data)
    if not isinstance(data, da.Array):
        array = np.asanyarray(data)
        if array.dtype.kind not in "biufc":
            raise _unwritable(f"`data` is of type {type(data).__name__} and dtype {array.dtype}")
        data = da.from_array(array, chunks="auto", asarray=False) if array.ndim else array
    if data.ndim < 2:
        raise _unwritable(f"`data` has {data.ndim} axes")
    if any(math.isnan(size) for size in data.shape):
        raise _unwritable(
            f"`data` has the shape {data.shape}",
            "the header, which comes first in the file, contains the lengths of all axes",
            "call compute_chunk_sizes() of the dask array first",
        )
    if 0 in data.shape:
        raise _unwritable(f"`data` has the shape {data.shape}")
    return data


def refuse_mask(array: Any) -> None:
    """Raise `ArgumentError` for a masked array; a dask array may turn out to be one in a task."""
    if np.ma.isMaskedArray(array):
        raise _unwritable(
            "`data` is a masked array",
            "an MRC file cannot store a mask",
            "fill the masked values first, as with data.filled(0) or dask.array.ma.filled",
        )


def _unwritable(
    problem: str,
    cause: str = "an MRC file stores frames of numbers: an array of two or more axes, none of "
    "length 0",
    remedy: str = "pass a numpy or dask array, a dict from read_mrc, or a HyperSpy signal",
) -> ArgumentError:
    return ArgumentError(
        problem, code="data-not-writable", argument="data", cause=cause, remedy=remedy
    )


def _ordered_axes(
    dicts: Sequence[Mapping[str, Any]] | None, array: da.Array
) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
    """Return the axes, navigation before signal, and the axis order for `transpose`."""
    dicts = dicts or [{}] * array.ndim
    if len(dicts) != array.ndim:
        raise ArgumentError(
            f"`axes`: {len(dicts)} dicts for an array of {array.ndim} axes",
            code="axes-mismatch",
            argument="axes",
            cause="each axis of the array needs one dict",
            remedy="pass one dict per axis, in array order",
        )
    axes = [
        Axis.from_dict({"navigate": i < array.ndim - 2, **axis, "size": size})
        for i, (axis, size) in enumerate(zip(dicts, array.shape, strict=True))
    ]
    if any(axis.name == "rgb" for axis in axes):
        raise _unwritable(
            f"`data` has the shape {array.shape} with an axis of colours",
            "mode 16 (RGB) is read, but not written, and colours must not become columns of frames",
            "write one colour, data[..., 0], or a sum over the colours, with its own axes",
        )
    order: Sequence[int] = range(array.ndim)
    # Otherwise, the data are spectra or single images: the last two axes are those of the frames.
    if sum(not axis.navigate for axis in axes) == 2:
        order = sorted(order, key=lambda i: not axes[i].navigate)
    ordered = (replace(axes[i], navigate=n < array.ndim - 2) for n, i in enumerate(order))
    return tuple(ordered), tuple(order)


def metadata_items(
    metadata: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield path and value of each entry of nested metadata, except None and empty strings."""
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            yield from metadata_items(value, (*path, str(key)))
        elif value is not None and not (isinstance(value, str) and not value):
            yield (*path, str(key)), value


def to_json(value: Any) -> Any:
    """Convert a value to JSON's types: None for NaN and infinity, text for unsupported types."""
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def angstrom_per(unit: str | None) -> float | None:
    """Return the length of a unit in Å, or None if it is not a known unit of length."""
    return _ANGSTROM.get((unit or "").strip().lower())


def in_angstrom(axis: Axis) -> tuple[float | None, float]:
    """Return pixel size and offset in Å; None and 0 if the axis is not a calibrated length."""
    factor = angstrom_per(axis.units)
    if factor is None or not axis.scale > 0 or axis.values is not None:
        return None, 0.0
    return axis.scale * factor, axis.offset * factor
