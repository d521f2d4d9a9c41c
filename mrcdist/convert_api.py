"""Public function `convert`: convert an MRC file to Zarr or to another MRC file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TextIO

import dask
import numpy as np
from dask.array.core import slices_from_chunks

from mrcdist.api import plan_mrc
from mrcdist.discover.files import Filename
from mrcdist.errors import ArgumentError, MrcdistWarning
from mrcdist.extras import import_optional, install_command
from mrcdist.format.axis import Axis
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.encode import dtype_name
from mrcdist.format.modes import CODECS
from mrcdist.interop.ome_zarr import ome_zarr_layout
from mrcdist.interop.rosettasciio import axes_dicts, plan_metadata, plan_original_metadata
from mrcdist.interop.zarr_destination import ZarrDestination, require_zarr3
from mrcdist.interop.zarr_layouts import Selected, zarr_layout, zspy_layout
from mrcdist.interop.zarr_writer import ZarrReport, require_equal, write_zarr
from mrcdist.options import ReadOptions
from mrcdist.plan.selection import Box, crop_axis, flat_indices, selected_box
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import Plan, plan_to_resume
from mrcdist.signature import signature_of
from mrcdist.storage.location import Location
from mrcdist.storage.url import text_of
from mrcdist.warning_notes import Note, warn
from mrcdist.write.checks import check_destination, check_not_input
from mrcdist.write.mrcz import choose_compressor
from mrcdist.write.plan import WritePlan, WriteReport
from mrcdist.write.work_folder import WorkFolder
from mrcdist.write_api import plan_write


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ConvertArguments:
    """The arguments of `convert`."""

    url_or_plan: Filename | Plan = field(kw_only=False)
    destination: str | os.PathLike[str] = field(kw_only=False)
    select: str | Sequence[slice] = ()
    dtype: str | None = None
    chunks: Any = ReadOptions.chunks
    compressor: str | None = None
    byteorder: ByteOrder | None = None
    statistics: bool = True
    overwrite: bool = False
    resume: bool = False
    verify: bool = False
    storage_options: Mapping[str, Any] | None = None

    @property
    def location(self) -> Location:
        """Location of the destination."""
        return Location.of(self.destination, self.storage_options, "destination")


@signature_of(ConvertArguments)
def convert(arguments: ConvertArguments) -> ZarrReport | WriteReport:
    """Convert an MRC file, or a part of it, to Zarr or to another MRC file, in parallel.

    The suffix of the destination selects the format. Tasks on the connected cluster read and write
    block by block; the destination appears under its name once it is complete.

    Parameters
    ----------
    url_or_plan : str, PathLike, sequence of them, or Plan
        As for `read_mrc`. To set other options of `plan_mrc`, pass a plan.
    destination : str or PathLike
        A path or URL that ends in ``.zarr`` (Zarr format 3 with shards, for zarr, xarray and dask;
        requires zarr 3), in ``.ome.zarr`` (OME-Zarr 0.5 for volumes, tilt series and images;
        requires ``mrcdist[ome-zarr]``), or in ``.zspy`` (for HyperSpy; Zarr format 2, written with
        zarr 2 or 3). Any other suffix: an MRC file, as with `write_mrc`.
    select : str or sequence of slice, optional
        Part of the array: a slice per axis, slowest first, or the same as a string such as
        ``"0:10,:,64:192,64:192"``.
    dtype : str, optional
        Data type of the new file. A value that does not fit raises an error.
    chunks : default "auto"
        Chunks that a task reads and writes, as for `read_mrc`. The shards of ``.zarr`` have about
        the same size. Not used with a plan, which has its own chunks.
    compressor : {"zstd", "lz4", "lz4hc", "zlib", "blosclz"}, optional
        For Zarr: the codec of Blosc, with bit shuffle; default "zstd". For an MRC file: write MRCZ,
        which is also the default if the name ends in ``.mrcz``.
    byteorder : {"<", ">"}, optional
        Byte order of an MRC file.
    statistics : bool, default True
        Compute the statistics in the header of an MRC file.
    overwrite : bool, default False
        Replace an existing destination.
    resume : bool, default False
        Keep finished blocks if this call is interrupted, and continue with those kept by an
        earlier call, in its chunks if `chunks` is "auto".
    verify : bool, default False
        Read the destination back, and compare it with the source.
    storage_options : mapping, optional
        Options for fsspec, for both files; a plan has its own for the source. Never shown in any
        output.

    Returns
    -------
    ZarrReport or WriteReport

    Raises
    ------
    ArgumentError
        The destination exists, is the input or cannot hold the data, or a value does not fit.
    MissingExtraError
        zarr is not installed or too old.
    MrcdistError
        Reading, writing or verifying failed.

    Examples
    --------
    >>> import mrcdist
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> movie = write_acquisition("demo", scan_shape=(8, 8), frame_shape=(32, 32)).movie
    >>> report = mrcdist.convert(movie, "crop_movie.mrc", select=":4,:,:16,:16", verify=True)
    >>> report.shape
    (4, 8, 16, 16)
    """
    url, storage_options = arguments.url_or_plan, arguments.storage_options
    if isinstance(url, Plan):
        plan = url
    else:
        plan = plan_source(arguments, partial(plan_mrc, url, storage_options=storage_options))
    conversion = plan_conversion(plan, arguments)
    warn(conversion.location.shown, conversion.notes)
    return conversion.run()


def plan_source(arguments: ConvertArguments, make_plan: Callable[..., Plan]) -> Plan:
    """Plan the source with `make_plan(chunks=...)`.

    If a conversion is resumed and `chunks` is "auto", they are those of the unfinished one.
    """
    work = WorkFolder(arguments.location)
    unfinished = (work.plan() if arguments.resume else None) or {"about": {}}
    previous = tuple(map(tuple, unfinished["about"].get("read_chunks", ()))) or None
    return plan_to_resume(make_plan, arguments.chunks, previous)


@dataclass(frozen=True)
class Conversion:
    """A planned conversion, with notes about information that the new file cannot store.

    `run` carries it out; its optional argument `stream` displays the progress.
    """

    location: Location
    run: Callable[..., ZarrReport | WriteReport]
    notes: tuple[Note, ...] = ()


def plan_conversion(plan: Plan, arguments: ConvertArguments) -> Conversion:
    """Plan a conversion without writing anything."""
    location = arguments.location
    for part in plan.source.parts:
        check_not_input(location, part.file.location, "destination")
    suffix = _zarr_suffix(location)
    # Checked here, before waiting for a cluster, and again when writing begins.
    if suffix is None:
        check_destination(location, overwrite=arguments.overwrite)
    else:
        _check_zarr(suffix, arguments)
        ZarrDestination(location).check(overwrite=arguments.overwrite)
    box = selected_box(arguments.select, plan.shape)
    axes = tuple(crop_axis(axis, part) for axis, part in zip(plan.axes, box, strict=True))
    start = tuple(part.start for part in box)
    if suffix is None:
        write_plan = _plan_mrc(plan, arguments, box, axes)
        source = Selected(plan.source, start, write_plan.header.storage.dtype)
        run = partial(_write_mrc, location, write_plan, source, arguments.verify)
        return Conversion(location, run, write_plan.notes)
    source = Selected(plan.source, start, np.dtype(arguments.dtype or plan.dtype).name)
    write = partial(
        write_zarr,
        location,
        _ZARR_LAYOUTS[suffix](plan, source, axes),
        overwrite=arguments.overwrite,
        resume=arguments.resume,
        compressor=arguments.compressor or "zstd",
        verify=arguments.verify,
        read_chunks=plan.chunks,
    )
    return Conversion(location, write)


# Layout of the hierarchy by the suffix of its name.
_ZARR_LAYOUTS = {".ome.zarr": ome_zarr_layout, ".zarr": zarr_layout, ".zspy": zspy_layout}


def _zarr_suffix(location: Location) -> str | None:
    return next((end for end in _ZARR_LAYOUTS if location.name.lower().endswith(end)), None)


def _check_zarr(suffix: str, arguments: ConvertArguments) -> None:
    """Raise if the format does not support an option, or the installed zarr the format."""
    dtype, compressor, byteorder = arguments.dtype, arguments.compressor, arguments.byteorder
    for name, value, is_unsupported, cause in (
        ("dtype", dtype, dtype == "uint4", "Zarr has no 4-bit integers"),
        ("byteorder", byteorder, byteorder is not None, "Zarr's chunks are little-endian"),
    ):
        if is_unsupported:
            raise ArgumentError(
                f"`{name}={value!r}`",
                code="destination-unsuited",
                argument=name,
                cause=f"{cause}, and the destination ends in {suffix}",
                remedy=f"leave `{name}` out, or convert to .mrc",
            )
    if compressor not in (None, *CODECS):
        raise ArgumentError(
            f"`compressor={compressor!r}`",
            code="compressor-invalid",
            argument="compressor",
            cause="Blosc has no such codec",
            remedy=f"pass one of {', '.join(CODECS)}",
        )
    if dtype is not None:
        dtype_name(dtype)
    if suffix == ".zspy":
        remedy = f"{install_command('xarray')}, or, with HyperSpy, {install_command('zarr')}"
        import_optional("zarr", "Zarr hierarchies are written with it", remedy)
    else:
        cause = "only Zarr format 3 has shards, without which a scan would be millions of files"
        require_zarr3(suffix, cause, ", or convert to .zspy")


def _plan_mrc(
    plan: Plan, arguments: ConvertArguments, box: Box, axes: tuple[Axis, ...]
) -> WritePlan:
    records, tilts = plan.stored_records, plan.tilts
    if tilts is not None:
        angles, numbers = (np.array(column)[box[0]] for column in (tilts.angles, tilts.sections))
        tilts = replace(tilts, angles=tuple(angles.tolist()), sections=tuple(numbers.tolist()))
    sections: list[int] | None = None
    compressor = choose_compressor(text_of(arguments.destination), arguments.compressor)
    if records is not None and records.per_section and compressor is None:
        navigation = plan.layout.navigation_shape
        sections = flat_indices(box[: len(navigation)], navigation).ravel().tolist()
    signal = {
        "data": plan.to_dask()[box],
        "axes": axes_dicts(axes),
        "metadata": plan_metadata(replace(plan, tilts=tilts)),
        "original_metadata": plan_original_metadata(replace(plan, tilts=None), records),
    }
    write_plan = plan_write(
        arguments.destination,
        signal,
        dtype=arguments.dtype,
        statistics=arguments.statistics,
        extended_header=sections,
        byteorder=arguments.byteorder,
        overwrite=arguments.overwrite,
        resume=arguments.resume,
        compressor=compressor,
        storage_options=arguments.storage_options,
    )
    return replace(write_plan, read_chunks=plan.chunks)


def _write_mrc(
    location: Location,
    write_plan: WritePlan,
    source: Selected,
    verify: bool,
    stream: TextIO | None = None,
) -> WriteReport:
    """Write the file and, if requested, compare its frames with the source, block by block."""
    report = write_plan.write(stream)
    if not verify:
        return report
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        ignored: dict[str, Any] = {"metadata_file": None, "tilt_file": None, "scan_file": None}
        new = plan_mrc(location.url, storage_options=location.storage_options, **ignored).source
    array = write_plan.array
    new = replace(new, layout=replace(new.layout, navigation_shape=array.shape[:-2]))
    check = dask.delayed(_verify_block, pure=False)
    boxes = slices_from_chunks(array.chunks)
    dask.compute(*(check(new, source, box, location.shown) for box in boxes))
    return replace(report, verified=True)


def _verify_block(new: MrcSource, source: Selected, box: Box, shown: str) -> None:
    require_equal(new[box], source.read(box), box, shown)
