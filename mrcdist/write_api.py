"""Public functions of writing: `write_mrc`, `plan_write` and `file_writer`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dask.delayed import Delayed

from mrcdist.errors import ArgumentError
from mrcdist.format.byte_order import ByteOrder, check_byte_order
from mrcdist.format.encode import choose_storage
from mrcdist.format.header import MRCZ_EXTTYP
from mrcdist.signature import signature_of
from mrcdist.storage.location import Location
from mrcdist.storage.url import text_of
from mrcdist.warning_notes import Note, Notes, warn
from mrcdist.write.auxiliary_files import (
    check_existing_auxiliary,
    choose_auxiliary,
    unstored_metadata,
)
from mrcdist.write.blocks import in_blocks
from mrcdist.write.contents import contents_of
from mrcdist.write.mrcz import choose_compressor, find_codec, json_header
from mrcdist.write.new_header import ImageKind, choose_extended_header, choose_kind, new_header
from mrcdist.write.plan import WritePlan, WriteReport
from mrcdist.write.s3_client import is_s3


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class WriteArguments:
    """The arguments that `write_mrc` and `plan_write` share."""

    url: str | os.PathLike[str] = field(kw_only=False)
    data: Any = field(kw_only=False)
    axes: Sequence[Mapping[str, Any]] | None = None
    metadata: Mapping[str, Any] | None = None
    dtype: str | None = None
    kind: ImageKind | None = None
    statistics: bool = True
    sidecar: Literal["auto"] | bool = "auto"
    extended_header: bytes | Sequence[int] | None = None
    exttyp: str | None = None
    labels: Sequence[str] | None = None
    byteorder: ByteOrder | None = None
    overwrite: bool = False
    resume: bool = False
    compressor: str | None = None
    storage_options: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class WriteMrcArguments(WriteArguments):
    """The arguments of `write_mrc`."""

    compute: bool = True


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class PlanWriteArguments(WriteArguments):
    """The arguments of `plan_write`."""

    records: tuple[int, int] = (0, 0)


@signature_of(WriteMrcArguments)
def write_mrc(arguments: WriteMrcArguments) -> WriteReport | Delayed:
    """Write an MRC file in parallel: each worker of a cluster writes its own blocks.

    The file appears under its name once it is complete; until then, an existing file is kept.

    Parameters
    ----------
    url : str or PathLike
        A path, or any fsspec URL. On a cluster, the folder must exist on every worker. Disks and
        S3 are written in parallel; other stores are written by a single task.
    data : array, mapping or HyperSpy signal
        A numpy or dask array with two or more axes, the last two being rows and columns; a dict
        from `read_mrc`; or a HyperSpy signal. Lazy data are computed block by block.
    axes : sequence of mapping, optional
        One dict per axis, in array order, with ``name``, ``scale``, ``offset`` and ``units``.
        Default: those of `data`.
    metadata : mapping, optional
        Metadata for the sidecar, named as in HyperSpy. Default: that of `data`.
    dtype : str, optional
        "int8", "uint8" (mode 0 with IMOD's stamp), "int16", "uint16", "float16", "float32",
        "complex64" or "uint4". A value that does not fit raises an error. Default: the dtype of the
        array, if MRC has a mode for it; uint8 is then stored as uint16 (mode 6), and bool as int8.
    kind : {"images", "volume", "volumes"}, optional
        Kind of the sections: ISPG 0, 1 or 401. Default: "volume" if the third axis from the end is
        called "z" and has a unit of length, otherwise "images".
    statistics : bool, default True
        Compute DMIN, DMAX, DMEAN and RMS of all values. If False, they are marked as undetermined.
    sidecar : "auto" or bool, default "auto"
        Write information that the header cannot hold: shape and calibration of a scan to the
        ``_info.txt`` of a ``*_movie.mrc``, with Direct Electron's keys; tilt angles to
        ``.rawtlt``. True: also for a scan whose name does not end in ``_movie.mrc``.
    extended_header : bytes or sequence of int, optional
        Default: that of the source file (FEI1, FEI2, SERI, AGAR, CCP4), if the data have all its
        sections. If the data have only some sections, or reordered ones (which is not detected),
        pass their numbers, such as ``range(3, 10)``. Bytes are stored unchanged; ``b""`` for none.
    exttyp : str, optional
        Type of the extended header if it is passed as bytes: up to four characters.
    labels : sequence of str, optional
        Up to nine labels of up to 80 ASCII characters, after the one with mrcdist's version and the
        date. Default: the first nine of the source file; ``()`` for none.
    byteorder : {"<", ">"}, optional
        Default: that of the extended header's records, if they are kept; otherwise "<".
    overwrite : bool, default False
        Replace an existing file, and its sidecar or tilt angles if the new file has some. If data
        that are not a scan replace a scan, its sidecar is replaced by one without the scan, unless
        other movies, parts or images in the folder use it: then it is kept, with a warning.
        Replacing a sidecar that other movies use by that of another scan is an error.
    resume : bool, default False
        Keep finished blocks if this call is interrupted, and continue with those kept by an
        earlier call. The data must be the same.
    compute : bool, default True
        If False, return a Delayed that writes the file when it is computed.
    compressor : {"zstd", "lz4", "lz4hc", "zlib", "blosclz", "snappy"}, optional
        Write MRCZ, with each section compressed and the metadata in a JSON header. Requires the
        extra ``mrcdist[mrcz]``, also on the workers. Default: "zstd" if the name ends in
        ``.mrcz``, otherwise none.
    storage_options : mapping, optional
        Options for fsspec, such as credentials and endpoint. Never shown in any output.

    Returns
    -------
    WriteReport or dask.delayed.Delayed
        The report has url, nbytes, shape, mode, statistics (DMIN, DMAX, DMEAN, RMS) and seconds.

    Raises
    ------
    ArgumentError
        The data cannot be stored in an MRC file, the file exists, or another call is writing it.
    WriteError, AccessDeniedError
        The disk or the store failed, or denied access.

    Warns
    -----
    MrcdistWarning
        Part of the axes, metadata or extended header cannot be stored in the file.

    Examples
    --------
    >>> import dask.array as da
    >>> report = write_mrc("ones.mrc", da.ones((4, 32, 32), chunks=(2, 32, 32), dtype="uint16"))
    >>> report.nbytes, report.mode, report.statistics
    (9216, 6, (1.0, 1.0, 1.0, 0.0))
    """
    plan = _plan(arguments)
    warn(plan.location.shown, plan.notes)
    return plan.write() if arguments.compute else plan.delayed()


@signature_of(PlanWriteArguments)
def plan_write(arguments: PlanWriteArguments) -> WritePlan:
    """Plan the writing of a file, without computing or writing anything.

    Parameters are those of `write_mrc`; `records` are NINT and NREAL of an extended header of type
    SERI or AGAR.

    Returns
    -------
    WritePlan
        ``explain()`` estimates the cost of writing; ``write()`` writes the file.

    Examples
    --------
    >>> import dask.array as da
    >>> plan = plan_write("ones.mrc", da.ones((64, 512, 512), chunks=(32, -1, -1), dtype="uint16"))
    >>> plan.explain().tasks, plan.nbytes
    (2, 33555456)
    """
    return _plan(arguments, arguments.records)


def _plan(arguments: WriteArguments, records: tuple[int, int] = (0, 0)) -> WritePlan:
    location = Location.of(arguments.url, arguments.storage_options, "url")
    _check_not_broken(arguments.url)
    contents = contents_of(arguments.data, arguments.axes, arguments.metadata)
    check_byte_order("byteorder", arguments.byteorder)
    storage = choose_storage(contents.array.dtype, arguments.dtype)
    compressor = choose_compressor(location.name, arguments.compressor)
    codec = find_codec(compressor, storage, contents.array.shape[-2:])
    notes = Notes()
    array, runs = in_blocks(location, contents.array, storage, notes, compressed=bool(codec))
    kind = choose_kind(contents, arguments.kind, codec)
    extended_header, exttyp = arguments.extended_header, arguments.exttyp
    if codec and extended_header is None:
        extended_header = json_header(contents.metadata)
        exttyp = MRCZ_EXTTYP if extended_header else None
    extended = choose_extended_header(
        contents, extended_header, exttyp, records, arguments.byteorder, notes
    )
    header = new_header(contents, storage, kind, extended, arguments.labels, codec, notes)
    auxiliary = choose_auxiliary(location.name, contents, kind, arguments.sidecar, notes)
    if not extended.has_metadata:
        notes.add(*unstored_metadata(contents, auxiliary))
    check_existing_auxiliary(
        location, contents, auxiliary, arguments.sidecar, notes, overwrite=arguments.overwrite
    )
    if sequential := not (location.is_local or is_s3(location)):
        notes.add(*_sequential_notes(arguments.resume, arguments.statistics))
    plan = WritePlan(
        location,
        array,
        header,
        b"".join(extended.records),
        auxiliary,
        arguments.statistics and not sequential and array.dtype.kind != "c",
        arguments.overwrite,
        arguments.resume,
        tuple(notes),
        runs=runs,
    )
    plan.destination()  # raises if the file is too large for its store
    return plan


def _sequential_notes(resume: bool, statistics: bool) -> Iterator[Note]:
    """Yield notes on options that have no effect in a store that is written sequentially."""
    if resume:
        yield Note("resume-ignored", "this store keeps no blocks: `resume` has no effect")
    if statistics:
        sentence = "statistics are marked as undetermined: the header is written first"
        yield Note("statistics-undetermined", sentence)


def _check_not_broken(url: str | os.PathLike[str]) -> None:
    """Raise if a path is a URL in which pathlib has joined the two slashes."""
    name = text_of(url)
    broken = re.search(r"(?:^|/)(s3|s3a|gs|gcs|abfs|az|http|https|memory):/(?!/)", name)
    if broken:
        raise ArgumentError(
            f"`url={name}`",
            code="destination-invalid",
            argument="url",
            cause=f"it is a URL ({broken[1]}://…) that was converted to a path, as "
            "HyperSpy's save does",
            remedy='call mrcdist.write_mrc("s3://bucket/name.mrc", signal) instead',
        )


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    endianness: ByteOrder = "<",
    **extras: Any,
) -> None:
    """Write an MRC file with RosettaSciIO's signature, for HyperSpy and existing scripts.

    Parameters
    ----------
    filename : str or PathLike
        An existing file is replaced; HyperSpy asks for confirmation before it calls this function.
    signal : mapping
        RosettaSciIO's dict: data, axes, metadata, original_metadata.
    endianness : {"<", ">"}, default "<"
    **extras
        Other arguments of `write_mrc`.

    Examples
    --------
    >>> import numpy as np
    >>> from mrcdist import file_reader
    >>> file_writer("stack.mrc", {"data": np.zeros((3, 4, 5), "uint16"), "axes": []})
    >>> file_reader("stack.mrc")[0]["data"].shape
    (3, 4, 5)
    """
    write_mrc(filename, signal, byteorder=endianness, **{"overwrite": True, **extras})
