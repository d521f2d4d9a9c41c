"""Public functions: `read_mrc`, `plan_mrc` and `file_reader`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from dask.array.core import slices_from_chunks

from mrcdist.discover.auxiliary_files import NamedFile
from mrcdist.discover.files import Filename, find_files
from mrcdist.discover.images import Images
from mrcdist.errors import ArgumentError
from mrcdist.format.byte_order import ByteOrder
from mrcdist.interop.navigator_images import load_images
from mrcdist.interop.rosettasciio import axes_dicts, plan_metadata, plan_original_metadata
from mrcdist.options import MmapMode, PlanArguments, ReadArguments, ReadOptions
from mrcdist.planner import make_plan
from mrcdist.progress import Progress
from mrcdist.read.mapped import map_writable
from mrcdist.read_plan import Plan, remember_origin
from mrcdist.signature import signature_of
from mrcdist.warning_notes import Notes, warn


@signature_of(ReadArguments)
def read_mrc(arguments: ReadArguments) -> list[dict[str, Any]]:
    """Return the data, axes and metadata of an MRC file, by default as a lazy dask array.

    Parameters
    ----------
    url : str, PathLike, UPath or sequence of them
        A path or any fsspec URL (``s3://``, ``https://``, ``memory://``, chained
        ``simplecache::``). For a movie in numbered parts: the first part, a glob pattern, or a list
        in the order of the frames. A list may contain any files whose frames have the same size and
        mode; calibration that differs between them is left out. ``000003@stack.mrcs`` is the third
        section of a stack; ``:mrcs`` or ``:mrc`` after a name is ignored.
    distributed : bool, default True
        Read chunk by chunk in dask tasks, each of which opens the file itself on its worker.
    lazy : bool, optional
        Return a dask array (True) or a numpy array (False). Default: the value of `distributed`.
    chunks : "auto", None, str, int, tuple or dict, default "auto"
        "auto" or None: whole frames, contiguous in the file, near dask's ``array.chunk-size``
        (128 MiB). A size such as "256 MiB": the same, near that size. Only frames of more than
        512 MiB are split, into rows. Otherwise chunk lengths in array order, as for
        `dask.array.from_array`; -1 is a whole axis.
    navigation_shape : sequence of int, optional
        Lengths of the navigation axes in HyperSpy's order, fastest first: (x, y, ...). One may be
        -1. Overrides the sidecar; axes of the same length keep their calibration.
    metadata_file : "auto", None, path, URL or open file, default "auto"
        The Direct Electron sidecar. "auto" finds that of a ``*_movie.mrc``; None ignores it.
    scan_file : "auto", None, path, URL or open file, default "auto"
        The points of a custom scan, one line ``x,y`` per frame. "auto" finds the list of the movie.
    virtual_images, external_images : "auto", None or sequence of paths, default "auto"
        Images recorded with a scan, for HyperSpy's navigators. "auto" finds those of a movie with
        a sidecar.
    tilt_file : "auto", None, path, URL or open file, default "auto"
        Tilt angles in degrees: ``.mdoc``, ``.rawtlt``, ``.tlt``, or lines that begin with an
        angle. A file passed here overrides the extended header. "auto" searches the directory of a
        stack whose header has no angles.
    sort_by_tilt : bool, default False
        Sort the sections of a tilt series from the lowest angle to the highest. Default: file
        order.
    endianness : {"<", ">"}, optional
        Byte order to use if the file is ambiguous. Ignored, with a warning, if the file contradicts
        it.
    mode0 : {"int8", "uint8", "uint4"}, optional
        Content of bytes in mode 0: signed or unsigned pixels, or two 4-bit pixels per byte.
        Default: detected from the file.
    allow_truncated : bool, default False
        Load the complete frames of a truncated file, or the complete rows of a single image.
        Missing frames of a scan read as 0.
    skip_frames : int or (int, int), default 0
        Number of frames before the scan; negative if the first scan points have no frames and read
        as 0. As a pair: also the number of extra frames after each line. Frames after the scan are
        then left out with a warning.
    mmap_mode : {"r", "c", "r+"}, optional
        Memory map of a local file if not lazy: read-only, copy-on-write (default) or read-write.
    storage_options : mapping, optional
        Options for fsspec, such as credentials and endpoint. Never shown in any output. Not needed
        if workers find credentials themselves.

    Returns
    -------
    list of dict
        One dict with ``data`` (array of shape navigation axes + rows, columns), ``axes``,
        ``metadata`` and ``original_metadata``, as in RosettaSciIO. The blocks of a dask array are
        read-only; a numpy array can be modified.

    Raises
    ------
    ArgumentError, MissingFileError, AccessDeniedError, FormatError, TruncatedFileError,
    SidecarError
        While planning. Tasks raise `FileChangedError` if the file has changed since, and
        `ReadError` if the storage keeps failing.

    Examples
    --------
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> url = write_acquisition("demo", scan_shape=(4, 8), frame_shape=(8, 16)).movie
    >>> [ds] = read_mrc(url, chunks=(2, 8, -1, -1))
    >>> ds["data"]
    dask.array<read-mrc, shape=(4, 8, 8, 16), dtype=uint16, chunksize=(2, 8, 8, 16), ...>
    >>> [axis["name"] for axis in ds["axes"]]
    ['y', 'x', 'ky', 'kx']
    >>> ds["data"].mean(axis=(0, 1)).compute().shape
    (8, 16)
    """
    distributed, mmap_mode = arguments.distributed, arguments.mmap_mode
    lazy = distributed if arguments.lazy is None else arguments.lazy
    _check_mode(mmap_mode, lazy=lazy, distributed=distributed)
    plan = _plan(arguments)
    metadata = plan_metadata(plan)
    notes = Notes()
    images = load_images(plan, notes, lazy=lazy)
    warn(plan.location.shown, notes)
    data = _data(plan, lazy=lazy, distributed=distributed, mmap_mode=mmap_mode)
    if isinstance(data, np.ndarray):
        remember_origin(data, plan)
    return [
        {
            "data": data,
            "axes": axes_dicts(plan.axes),
            "metadata": {**metadata, **({"_HyperSpy": images} if images else {})},
            "original_metadata": plan_original_metadata(plan, plan.stored_records),
        }
    ]


def file_reader(
    filename: Filename,
    lazy: bool = False,
    mmap_mode: MmapMode | None = None,
    endianess: ByteOrder = "<",
    navigation_shape: Sequence[int] | None = ReadOptions.navigation_shape,
    distributed: bool = False,
    chunks: Any = ReadOptions.chunks,
    metadata_file: NamedFile = ReadOptions.metadata_file,
    scan_file: NamedFile = ReadOptions.scan_file,
    virtual_images: Images = ReadOptions.virtual_images,
    external_images: Images = ReadOptions.external_images,
    *,
    endianness: ByteOrder | None = ReadOptions.endianness,
    **extras: Any,
) -> list[dict[str, Any]]:
    """Read an MRC file with RosettaSciIO's signature, for HyperSpy and existing scripts.

    The parameters are those of `read_mrc`, but the defaults are neither lazy nor distributed:
    without ``lazy=True``, the data are a numpy array, even if they are read by dask tasks.
    `endianess` is RosettaSciIO's spelling; its default "<" means that the byte order is detected
    from the file. `extras` are passed on to `read_mrc`.

    Returns
    -------
    list of dict
        See `read_mrc`.

    Examples
    --------
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> movie = write_acquisition("seen", scan_shape=(4, 8), frame_shape=(16, 16)).movie
    >>> file_reader(movie)[0]["data"].shape
    (4, 8, 16, 16)
    """
    return read_mrc(
        filename,
        distributed=distributed,
        lazy=lazy,
        chunks=chunks,
        navigation_shape=navigation_shape,
        metadata_file=metadata_file,
        scan_file=scan_file,
        virtual_images=virtual_images,
        external_images=external_images,
        endianness=endianness or (None if endianess == "<" else endianess),
        mmap_mode=mmap_mode,
        **extras,
    )


@signature_of(PlanArguments)
def plan_mrc(arguments: PlanArguments) -> Plan:
    """Return a plan for reading an MRC file, without reading any pixels.

    The parameters are those of `read_mrc`.

    Returns
    -------
    Plan
        ``explain()`` estimates the cost of reading; ``to_dask()`` returns the lazy array.

    Examples
    --------
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> movie = write_acquisition("demo", scan_shape=(4, 8), frame_shape=(8, 16)).movie
    >>> plan = plan_mrc(movie, chunks="4 KiB")
    >>> plan.shape, plan.notes
    ((4, 8, 8, 16), ())
    >>> plan.explain().tasks
    2
    """
    return _plan(arguments)


def _plan(arguments: PlanArguments) -> Plan:
    notes = Notes()
    found = find_files(arguments.url, arguments.storage_options, notes)
    plan = make_plan(found, arguments, notes)
    warn(plan.location.shown, plan.notes)
    return plan


def __getattr__(name: str) -> Any:
    """Return `file_writer`, which HyperSpy expects in this module, imported on first use."""
    if name == "file_writer":
        return importlib.import_module("mrcdist.write_api").file_writer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _data(plan: Plan, *, lazy: bool, distributed: bool, mmap_mode: MmapMode | None) -> Any:
    if lazy:
        return plan.to_dask()
    if distributed:
        return _writable(plan.to_dask().compute())
    if _mappable(plan, mmap_mode or "c"):
        [part] = plan.source.parts
        return map_writable(part.file, part.offset, plan.layout, mmap_mode or "c")
    if mmap_mode == "r+":
        raise ArgumentError(
            f"`mmap_mode={mmap_mode!r}` for {plan.location.shown}",
            code="mmap-mode-invalid",
            argument="mmap_mode",
            cause="writing through requires one local file without decompression or conversion",
            remedy='use `mmap_mode="c"`, and write the result to a new file',
        )
    return _read_all(plan)


def _read_all(plan: Plan) -> np.ndarray[Any, Any]:
    """Read the whole array in this process, chunk by chunk, and show progress."""
    boxes = slices_from_chunks(plan.chunks)
    if len(boxes) == 1:
        return _writable(plan.source[...])
    data = np.empty(plan.shape, plan.source.dtype)
    with Progress(f"reading {plan.location.name}", len(boxes)) as progress:
        for box in boxes:
            data[box] = plan.source[box]
            progress.advance()
    return data


def _writable(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array that the caller can modify; blocks are read-only."""
    try:
        data.flags.writeable = True
    except ValueError:  # mapped pages
        data = data.copy()
    return data


def _mappable(plan: Plan, mode: MmapMode) -> bool:
    """Whether the array can be a memory map of the file."""
    layout = plan.layout
    [part, *others] = plan.source.parts
    stored = np.dtype(layout.pixels.stored)
    return (
        not others
        and plan.source.table is None
        and part.file.location.is_local
        and part.compression is None
        and part.sections is None
        and layout.pixels.plain
        and 0 < layout.n_frames <= layout.present
        and (mode == "r+" or stored.isnative)
    )


def _check_mode(mode: str | None, *, lazy: bool, distributed: bool) -> None:
    problem = f"`mmap_mode={mode!r}`"
    if mode == "w+":
        cause = "it would erase the file"
    elif mode not in (None, "r", "c", "r+"):
        cause = "unknown mode"
    elif mode == "r+" and (lazy or distributed):
        problem, cause = f"{problem} with a lazy array", "tasks never write to the file"
    else:
        return
    raise ArgumentError(
        problem,
        code="mmap-mode-invalid",
        argument="mmap_mode",
        cause=cause,
        remedy='use None, "r" or "c"; "r+" (read-write) requires `lazy=False` and '
        "`distributed=False`",
    )
