"""The public face: arguments in, the two phases in order."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError, MrcdistWarning
from mrcdist.format.header import ByteOrder
from mrcdist.format.pixels import Mode0
from mrcdist.planner import MetadataFile, Plan, PlanOptions, make_plan
from mrcdist.read.local import map_writable
from mrcdist.read.location import Location
from mrcdist.result.axes import axes_dicts
from mrcdist.result.metadata import metadata_dict, original_metadata_dict

__all__ = ["file_reader", "plan_mrc", "read_mrc"]

MmapMode = Literal["r", "c", "r+"]


def read_mrc(
    url: str | os.PathLike[str],
    *,
    distributed: bool = True,
    lazy: bool | None = None,
    chunks: Any = "auto",
    navigation_shape: Sequence[int] | None = None,
    metadata_file: MetadataFile = "auto",
    endianness: ByteOrder | None = None,
    mode0: Mode0 | None = None,
    allow_truncated: bool = False,
    mmap_mode: MmapMode | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Read an MRC file, by default as a lazy dask array that workers read in parallel.

    Parameters
    ----------
    url : str or PathLike
        A path, or any fsspec URL (``s3://``, ``https://``, ``memory://``, chained ``simplecache::``).
    distributed : bool, default True
        Plan tasks that each open the file themselves, on whichever worker they run.
    lazy : bool, optional
        Return a dask array (True) or numbers (False). Default: as `distributed`.
    chunks : "auto", None, str, int, tuple or dict, default "auto"
        Block lengths in array order. "auto" and None: whole frames, contiguous in the file, near dask's
        ``array.chunk-size`` (128 MiB); a size such as "256 MiB": the same near that size; otherwise as
        `dask.array.from_array` takes them, -1 being a whole axis.
    navigation_shape : sequence of int, optional
        Lengths of the navigation axes in HyperSpy's order, fastest first: (x, y, ...). One may be -1. Wins over
        the sidecar.
    metadata_file : "auto", None, path, URL or open file, default "auto"
        The Direct Electron sidecar. "auto" looks beside a ``*_movie.mrc``; None uses none.
    endianness : {"<", ">"}, optional
        Byte order where the file itself does not tell; else the file wins, with a warning.
    mode0 : {"int8", "uint8"}, optional
        Sign of mode 0. Default: by the file.
    allow_truncated : bool, default False
        Load an unfinished file: whole frames that are there; a scan's missing frames read as 0.
    mmap_mode : {"r", "c", "r+"}, optional
        For a local file that is not lazy: read-only, copy on write (default) or writing through.
    storage_options : mapping, optional
        For fsspec: credentials, endpoint. Never shown. Workers need none that they find themselves.

    Returns
    -------
    list of dict
        One dict: ``data`` (array of shape navigation axes + rows, columns), ``axes``, ``metadata``,
        ``original_metadata``.

    Raises
    ------
    ArgumentError, MissingFileError, AccessDeniedError, FormatError, TruncatedFileError, SidecarError
        Before any task runs. Tasks raise `FileChangedError` for a file that changed since,
        and `ReadError` where the storage fails for good.

    Examples
    --------
    >>> [ds] = read_mrc("s3://bucket/20241021_00405_movie.mrc", chunks=(32, 256, -1, -1))  # doctest: +SKIP
    >>> ds["data"].mean(axis=(0, 1)).compute()  # doctest: +SKIP
    """
    lazy = distributed if lazy is None else lazy
    _check_mode(mmap_mode, lazy=lazy, distributed=distributed)
    plan = plan_mrc(
        url,
        chunks=chunks,
        navigation_shape=navigation_shape,
        metadata_file=metadata_file,
        endianness=endianness,
        mode0=mode0,
        allow_truncated=allow_truncated,
        storage_options=storage_options,
    )
    return [
        {
            "data": _data(plan, lazy=lazy, distributed=distributed, mmap_mode=mmap_mode),
            "axes": axes_dicts(plan.axes),
            "metadata": metadata_dict(plan.location.name, plan.sidecar),
            "original_metadata": original_metadata_dict(plan.header, plan.sidecar),
        }
    ]


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    mmap_mode: MmapMode | None = None,
    endianess: ByteOrder = "<",
    navigation_shape: Sequence[int] | None = None,
    distributed: bool = False,
    chunks: Any = "auto",
    metadata_file: MetadataFile = None,
    *,
    endianness: ByteOrder | None = None,
    mode0: Mode0 | None = None,
    allow_truncated: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Read an MRC file with RosettaSciIO's signature, for HyperSpy and for scripts.

    Parameters are those of `read_mrc`, but for their defaults: nothing is lazy and no sidecar is looked for unless
    asked. `endianess` is RosettaSciIO's spelling; its default "<" is taken as no opinion.

    Returns
    -------
    list of dict
        See `read_mrc`.
    """
    return read_mrc(
        filename,
        distributed=distributed,
        lazy=lazy or distributed,
        chunks=chunks,
        navigation_shape=navigation_shape,
        metadata_file=metadata_file,
        endianness=endianness or (None if endianess == "<" else endianess),
        mode0=mode0,
        allow_truncated=allow_truncated,
        mmap_mode=mmap_mode,
        storage_options=storage_options,
    )


def plan_mrc(
    url: str | os.PathLike[str],
    *,
    chunks: Any = "auto",
    navigation_shape: Sequence[int] | None = None,
    metadata_file: MetadataFile = "auto",
    endianness: ByteOrder | None = None,
    mode0: Mode0 | None = None,
    allow_truncated: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Plan:
    """Plan the reading of an MRC file without reading a pixel.

    Parameters are those of `read_mrc`.

    Returns
    -------
    Plan
        Its ``explain()`` says what computing will cost; ``to_dask()`` gives the lazy array.

    Examples
    --------
    >>> print(plan_mrc("movie.mrc", chunks="256 MiB").explain())  # doctest: +SKIP
    """
    if endianness not in (None, "<", ">"):
        raise ArgumentError(
            f"endianness={endianness!r}",
            cause="a byte order is needed",
            remedy='pass "<", ">" or None, which goes by the file',
        )
    options = PlanOptions(
        chunks=chunks,
        navigation_shape=navigation_shape,
        metadata_file=metadata_file,
        endianness=endianness,
        mode0=mode0,
        allow_truncated=allow_truncated,
    )
    plan = make_plan(Location.of(url, storage_options), options)
    for note in plan.notes:
        warnings.warn(f"{plan.location.shown}: {note}", MrcdistWarning, stacklevel=_outside())
    return plan


def _data(plan: Plan, *, lazy: bool, distributed: bool, mmap_mode: MmapMode | None) -> Any:
    if lazy:
        return plan.to_dask()
    if distributed:
        return plan.to_dask().compute()
    if mmap_mode != "r+" and not plan.location.is_local:
        return plan.source[...]
    return _eager_local(plan, mmap_mode or "c")


def _eager_local(plan: Plan, mode: MmapMode) -> npt.NDArray[Any]:
    """Map a local file as numpy would; read it where the bytes are not the numbers."""
    layout = plan.layout
    as_numbers = layout.pixels.plain and layout.present >= layout.n_frames
    if mode == "r+" and not (plan.location.is_local and as_numbers):
        raise ArgumentError(
            f'mmap_mode="r+" for {plan.location.shown}',
            cause="writing through needs a local file whose bytes are the numbers",
            remedy='use mmap_mode="c", and write the result to a new file',
        )
    stored = np.dtype(layout.pixels.stored)
    if not as_numbers or (mode != "r+" and not stored.isnative) or plan.layout.nbytes == 0:
        return plan.source[...]
    return map_writable(plan.location, plan.identity, plan.part.offset, layout, mode)


def _check_mode(mode: str | None, *, lazy: bool, distributed: bool) -> None:
    remedy = 'use None, "r" or "c"; "r+" writes through and needs lazy=False and distributed=False'
    if mode == "w+":
        raise ArgumentError('mmap_mode="w+"', cause="it would erase the file", remedy=remedy)
    if mode not in (None, "r", "c", "r+"):
        raise ArgumentError(f"mmap_mode={mode!r}", cause="no such mode", remedy=remedy)
    if mode == "r+" and (lazy or distributed):
        raise ArgumentError(
            'mmap_mode="r+" with a lazy array', cause="tasks never write to the file", remedy=remedy
        )


def _outside() -> int:
    """Stack level of the first caller outside this module, so that a warning points at the user's line."""
    import sys

    level = 2
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("mrcdist."):
        frame, level = frame.f_back, level + 1
    return level
