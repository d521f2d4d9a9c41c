"""Public function `convert`: an MRC file as Zarr, or as another MRC file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TextIO

import dask
import numpy as np
from dask.array.core import slices_from_chunks

from mrcdist.api import plan_mrc
from mrcdist.discover.files import Filename
from mrcdist.errors import ArgumentError, MissingExtraError, MrcdistWarning
from mrcdist.extras import install_command
from mrcdist.format.axis import Axis
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.encode import dtype_name
from mrcdist.format.modes import CODECS
from mrcdist.interop.ome_zarr import ome_zarr_layout
from mrcdist.interop.rosettasciio import axes_dicts, plan_metadata, plan_original_metadata
from mrcdist.interop.zarr_destination import ZarrDestination, zarr_major
from mrcdist.interop.zarr_layouts import Selected, zarr_layout, zspy_layout
from mrcdist.interop.zarr_writer import ZarrReport, differs, unlike, write_zarr
from mrcdist.plan.chunks import Chunks
from mrcdist.plan.selection import Box, crop_axis, flat_indices, selected_box
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import Plan, plan_to_resume
from mrcdist.storage.location import Location
from mrcdist.storage.url import text_of
from mrcdist.warning_notes import warn
from mrcdist.write.errors import require_other
from mrcdist.write.grid import Grid
from mrcdist.write.local import LocalDestination
from mrcdist.write.mrcz import choose_compressor
from mrcdist.write.place import check_place
from mrcdist.write.plan import WritePlan, WriteReport
from mrcdist.write.s3 import is_s3
from mrcdist.write.s3_beside import S3Beside
from mrcdist.write_api import plan_write


def convert(
    url_or_plan: Filename | Plan,
    destination: str | os.PathLike[str],
    *,
    select: str | Sequence[slice] = (),
    dtype: str | None = None,
    chunks: Any = "auto",
    compressor: str | None = None,
    byteorder: ByteOrder | None = None,
    statistics: bool = True,
    overwrite: bool = False,
    resume: bool = False,
    verify: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> ZarrReport | WriteReport:
    """Convert an MRC file, or a part of it, to Zarr or to another MRC file, in parallel.

    The suffix of the destination selects the format. Tasks on the connected cluster read and write
    block by block; the destination gets its name once it is complete.

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
    if isinstance(url_or_plan, Plan):
        plan = url_or_plan
    else:

        def made(of: Any) -> Plan:
            return plan_mrc(url_or_plan, chunks=of, storage_options=storage_options)

        kept = begun_chunks(destination, storage_options) if resume else None
        plan = plan_to_resume(made, chunks, kept)
    conversion = plan_conversion(
        plan,
        destination,
        select=select,
        dtype=dtype,
        compressor=compressor,
        byteorder=byteorder,
        statistics=statistics,
        overwrite=overwrite,
        resume=resume,
        verify=verify,
        storage_options=storage_options,
    )
    warn(conversion.location.shown, conversion.notes)
    return conversion.run()


def begun_chunks(
    destination: str | os.PathLike[str], storage_options: Mapping[str, Any] | None
) -> Chunks | None:
    """Return the chunks in which an unfinished conversion reads its source, if there is one."""
    location = Location.of(destination, storage_options)
    if _zarr_ending(location) is not None:
        earlier = ZarrDestination(location).earlier()
    elif location.is_local:
        earlier = LocalDestination(location, Grid(0, 1, 0)).earlier()
    else:
        earlier = S3Beside(location).plan() if is_s3(location) else None
    about = (earlier or {}).get("about") or {}
    return tuple(map(tuple, about.get("read_chunks", ()))) or None


@dataclass(frozen=True)
class Conversion:
    """A planned conversion, with what the new file cannot store.

    `run` carries it out; its argument `stream`, if given, is told of the progress.
    """

    location: Location
    run: Callable[..., ZarrReport | WriteReport]
    notes: tuple[str, ...] = ()


def plan_conversion(
    plan: Plan,
    destination: str | os.PathLike[str],
    *,
    select: str | Sequence[slice],
    dtype: str | None,
    compressor: str | None,
    byteorder: ByteOrder | None,
    statistics: bool,
    overwrite: bool,
    resume: bool,
    verify: bool,
    storage_options: Mapping[str, Any] | None,
) -> Conversion:
    """Plan a conversion without writing anything."""
    location = Location.of(destination, storage_options)
    for part in plan.source.parts:
        require_other(location, part.file.location, location.shown, "destination")
    ending = _zarr_ending(location)
    # Before a cluster is waited for, and again when writing begins.
    if ending is None:
        check_place(location, overwrite=overwrite)
    else:
        _check_zarr(ending, dtype, compressor, byteorder)
        ZarrDestination(location).check_place(overwrite=overwrite)
    index = selected_box(select, plan.shape)
    axes = tuple(crop_axis(axis, part) for axis, part in zip(plan.axes, index, strict=True))
    start = tuple(part.start for part in index)
    how: dict[str, Any] = {"overwrite": overwrite, "resume": resume}
    if ending is None:
        how |= {"dtype": dtype, "byteorder": byteorder, "statistics": statistics}
        how |= {"compressor": compressor, "storage_options": storage_options}
        writing = _plan_mrc(plan, destination, index, axes, **how)
        source = Selected(plan.source, start, writing.header.storage.dtype)
        return Conversion(
            location, partial(_write_mrc, location, writing, source, verify), writing.notes
        )
    source = Selected(plan.source, start, np.dtype(dtype or plan.dtype).name)
    how |= {"compressor": compressor or "zstd", "verify": verify, "read_chunks": plan.chunks}
    return Conversion(
        location, partial(write_zarr, location, _ZARR[ending](plan, source, axes), **how)
    )


# How a hierarchy is laid out, by the ending of its name.
_ZARR = {".ome.zarr": ome_zarr_layout, ".zarr": zarr_layout, ".zspy": zspy_layout}


def _zarr_ending(location: Location) -> str | None:
    return next((ending for ending in _ZARR if location.name.lower().endswith(ending)), None)


def _check_zarr(
    ending: str, dtype: str | None, compressor: str | None, byteorder: ByteOrder | None
) -> None:
    """Raise if these options, or the zarr that is installed, do not go with the ending."""
    for name, value, wrong, cause in (
        ("dtype", dtype, dtype == "uint4", "Zarr has no 4-bit integers"),
        ("byteorder", byteorder, byteorder is not None, "Zarr's chunks are little-endian"),
    ):
        if wrong:
            raise ArgumentError(
                f"{name}={value}",
                code="destination-unsuited",
                argument=name,
                cause=f"{cause}, and the destination ends in {ending}",
                remedy=f"leave {{{name}}} out, or convert to .mrc",
            )
    if compressor not in (None, *CODECS):
        raise ArgumentError(
            f"compressor={compressor!r}",
            code="compressor-invalid",
            argument="compressor",
            cause="Blosc has no such codec",
            remedy=f"pass one of {', '.join(CODECS)}",
        )
    if dtype is not None:
        dtype_name(dtype)
    found = zarr_major()
    if found == 0:
        raise MissingExtraError(
            "zarr is not installed",
            cause="Zarr hierarchies are written with it",
            remedy=f"{install_command('xarray')} for .zarr and .ome.zarr, or, with HyperSpy, "
            f"{install_command('zarr')} for .zspy",
        )
    if found < 3 and ending != ".zspy":
        raise MissingExtraError(
            f"zarr {found} is installed: {ending} needs version 3",
            cause="only Zarr format 3 has shards, without which a scan would be millions of files",
            remedy=f"{install_command('xarray')} in an environment without HyperSpy 2, which "
            "needs zarr 2, or convert to .zspy",
        )


def _plan_mrc(
    plan: Plan,
    destination: str | os.PathLike[str],
    index: Box,
    axes: tuple[Axis, ...],
    **options: Any,
) -> WritePlan:
    records, tilts = plan.stored_records, plan.tilts
    if tilts is not None:
        angles, numbers = (np.array(of)[index[0]] for of in (tilts.angles, tilts.sections))
        tilts = replace(tilts, angles=tuple(angles.tolist()), sections=tuple(numbers.tolist()))
    sections: list[int] | None = None
    if (
        records is not None
        and records.per_section
        and choose_compressor(text_of(destination), options["compressor"]) is None
    ):  # the numbers of the selected sections, along the whole array
        navigation = plan.layout.navigation_shape
        sections = flat_indices(index[: len(navigation)], navigation).ravel().tolist()
    signal = {
        "data": plan.to_dask()[index],
        "axes": axes_dicts(axes),
        "metadata": plan_metadata(replace(plan, tilts=tilts)),
        "original_metadata": plan_original_metadata(replace(plan, tilts=None), records),
    }
    writing = plan_write(destination, signal, extended_header=sections, **options)
    return replace(writing, read_chunks=plan.chunks)


def _write_mrc(
    location: Location,
    writing: WritePlan,
    source: Selected,
    verify: bool,
    stream: TextIO | None = None,
) -> WriteReport:
    """Write the file and, if wanted, compare its frames with the source, block by block."""
    report = writing.write(stream)
    if not verify:
        return report
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        files: dict[str, Any] = {"metadata_file": None, "tilt_file": None, "scan_file": None}
        new = plan_mrc(location.url, storage_options=location.storage_options, **files).source
    check = dask.delayed(_verify_block, pure=False)
    array = writing.array
    tasks = [
        check(new, source, box, array.shape[:-2], location.shown)
        for box in slices_from_chunks(array.chunks)
    ]
    dask.compute(*tasks)
    return replace(report, verified=True)


def _verify_block(
    new: MrcSource, source: Selected, box: Box, navigation: tuple[int, ...], shown: str
) -> None:
    frames = new.select(flat_indices(box[:-2], navigation))
    if differs(frames[(..., *box[-2:])], source.read(box)):
        raise unlike(shown, box)
