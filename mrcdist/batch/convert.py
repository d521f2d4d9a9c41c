"""Write what an MRC file holds, or a part of it, as another MRC file, on any kind of cluster."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TextIO

import numpy as np

from mrcdist.batch.clusters import ClusterOptions
from mrcdist.batch.run_job import computing
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.format.byte_order import ByteOrder
from mrcdist.interop.rosettasciio import axes_dicts, metadata_dict, original_metadata_dict
from mrcdist.read_plan import Plan
from mrcdist.write.estimate import WriteReport
from mrcdist.write_api import plan_write

__all__ = ["Conversion", "convert", "parse_select"]

Index = tuple[slice, ...]


@dataclass(frozen=True)
class Conversion:
    """Options of a conversion: data and destination.

    Attributes
    ----------
    url : str
        The new file.
    select : tuple of slice
        Along the leading axes of the array; () for all of it.
    dtype : str or None
    byteorder : {"<", ">"} or None
        None for the source's own where its extended header is carried over, else "<".
    statistics, overwrite, resume : bool
    compressor : str or None
        To write MRCZ.
    storage_options : mapping
        Of the new file.
    """

    url: str | os.PathLike[str]
    select: Index = ()
    dtype: str | None = None
    byteorder: ByteOrder | None = None
    statistics: bool = True
    overwrite: bool = False
    resume: bool = False
    compressor: str | None = None
    storage_options: Mapping[str, Any] | None = None


def parse_select(text: str) -> Index:
    """Read ``0:10,:,64:192,64:192``, one range an axis, as Python's slices without a step.

    Raises
    ------
    ArgumentError
    """
    try:
        return tuple(_range(part) for part in text.split(","))
    except ValueError:
        raise ArgumentError(
            f"select={text}",
            code="select-invalid",
            argument="select",
            cause="it has one range an axis, slowest first: start:stop, either of which may be "
            "left out",
            remedy="pass something like 0:10,:,64:192,64:192",
        ) from None


def _range(part: str) -> slice:
    start, colon, stop = part.strip().partition(":")
    if not colon:
        raise ValueError(part)
    return slice(int(start) if start else None, int(stop) if stop else None)


def convert(
    plan: Plan, conversion: Conversion, cluster_options: ClusterOptions, stream: TextIO
) -> WriteReport:
    """Write the selected part of a file as another one.

    Parameters
    ----------
    plan : Plan
        The source.
    conversion : Conversion
    cluster_options : ClusterOptions
        The cluster.
    stream : text stream
        Where progress is told.

    Raises
    ------
    MrcdistError
    """
    index = _checked(conversion.select, plan.shape)
    axes = [_cropped(axis, part) for axis, part in zip(plan.axes, index, strict=True)]
    records = plan.stored_records
    mrcz = conversion.compressor is not None
    by_section = records is not None and records.per_section
    writing = plan_write(
        conversion.url,
        {
            "data": plan.to_dask()[index],
            "axes": axes_dicts(axes),
            "metadata": metadata_dict(plan.location.name, plan.sidecar, plan.extended),
            "original_metadata": original_metadata_dict(
                plan.header, plan.sidecar, plan.extended, records=records
            ),
        },
        dtype=conversion.dtype,
        extended_header=_sections(plan, index) if by_section and not mrcz else None,
        byteorder=conversion.byteorder,
        statistics=conversion.statistics,
        overwrite=conversion.overwrite,
        resume=conversion.resume,
        compressor=conversion.compressor,
        storage_options=conversion.storage_options,
    )
    for note in (*plan.notes, *writing.notes):
        print(f"note: {note}", file=stream, flush=True)

    def say(text: str) -> None:
        print(text, file=stream, flush=True)

    with computing(cluster_options, say):
        return writing.write(stream)


def _checked(select: Index, shape: tuple[int, ...]) -> Index:
    if len(select) > len(shape):
        raise ArgumentError(
            f"select: {len(select)} ranges for an array of {len(shape)} axes",
            code="select-invalid",
            argument="select",
            cause=f"the array has the shape {shape}",
            remedy="give at most one range an axis",
        )
    index = (*select, *(slice(None),) * (len(shape) - len(select)))
    whole = tuple(slice(*part.indices(size)) for part, size in zip(index, shape, strict=True))
    if any(part.stop <= part.start for part in whole):
        raise ArgumentError(
            f"select leaves nothing of an array of the shape {shape}",
            code="select-invalid",
            argument="select",
            cause="a range is empty",
            remedy="give ranges with at least one position",
        )
    return whole


def _cropped(axis: Axis, part: slice) -> Axis:
    values = None if axis.values is None else axis.values[part]
    offset = axis.offset + part.start * axis.scale
    return replace(axis, size=part.stop - part.start, offset=offset, values=values)


def _sections(plan: Plan, index: Index) -> list[int]:
    """The numbers of the selected sections, along the whole array."""
    navigation = plan.layout.navigation_shape
    numbers = np.arange(math.prod(navigation)).reshape(navigation)
    selected: list[int] = numbers[index[: len(navigation)]].ravel().tolist()
    return selected
