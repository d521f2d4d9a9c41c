"""RosettaSciIO: axes and metadata as dicts, and registration with HyperSpy."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mrcdist.errors import MissingExtraError
from mrcdist.extras import install_command
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.scan import sidecar_metadata
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.format.extended.registry import ExtendedHeader, extended_metadata
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.format.header import Header
from mrcdist.format.header_words import header_words, imod_fields, mrcz_fields, mrcz_metadata
from mrcdist.plan.tilt_series import TiltSeries
from mrcdist.read_plan import Plan

__all__ = [
    "axes_dicts",
    "flat_attributes",
    "metadata_dict",
    "original_metadata_dict",
    "plan_metadata",
    "plan_original_metadata",
    "register_hyperspy",
]

_NAME = "mrcdist"
_MAX_AXES = 8

# RosettaSciIO's names for the header fields, in header order; from byte 196 on, its layout agrees
# with MRC2014.
_WORDS = (
    ("NX", "nx"), ("NY", "ny"), ("NZ", "nz"), ("MODE", "mode"),
    ("NXSTART", "nxstart"), ("NYSTART", "nystart"), ("NZSTART", "nzstart"),
    ("MX", "mx"), ("MY", "my"), ("MZ", "mz"),
    ("Xlen", "cella.x"), ("Ylen", "cella.y"), ("Zlen", "cella.z"),
    ("ALPHA", "cellb.alpha"), ("BETA", "cellb.beta"), ("GAMMA", "cellb.gamma"),
    ("MAPC", "mapc"), ("MAPR", "mapr"), ("MAPS", "maps"),
    ("AMIN", "dmin"), ("AMAX", "dmax"), ("AMEAN", "dmean"),
    ("ISPG", "ispg"), ("NSYMBT", "nsymbt"), ("NVERSION", "nversion"),
    ("XORIGIN", "origin.x"), ("YORIGIN", "origin.y"), ("ZORIGIN", "origin.z"),
    ("RMS", "rms"), ("NLABL", "nlabl"),
)  # fmt: skip


def axes_dicts(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return one dict per axis, in array order.

    Keys are name, units, size, index_in_array, navigate, and scale and offset; if the axis is not
    uniform, ``axis`` with its values replaces scale and offset. HyperSpy accepts only values that
    increase or decrease: an axis of others, such as the angles of a dose-symmetric tilt series,
    counts from 0 without units.
    """
    return [
        {
            "name": axis.name,
            "units": axis.units,
            "size": axis.size,
            **_positions(axis),
            "index_in_array": index,
            "navigate": axis.navigate,
        }
        for index, axis in enumerate(map(_ordered, axes))
    ]


def axes_from_dicts(axes: Iterable[Mapping[str, Any]]) -> list[Axis]:
    """Return the axes described by dicts from `axes_dicts`."""
    return [
        Axis(
            str(axis["name"]),
            int(axis["size"]),
            navigate=bool(axis["navigate"]),
            scale=float(axis.get("scale", 1.0)),
            offset=float(axis.get("offset", 0.0)),
            units=axis["units"] or None,
            values=None if axis.get("axis") is None else tuple(axis["axis"]),
        )
        for axis in axes
    ]


def _positions(axis: Axis) -> dict[str, Any]:
    if axis.values is not None:
        return {"axis": np.array(axis.values)}
    return {"scale": axis.scale, "offset": axis.offset}


def _ordered(axis: Axis) -> Axis:
    """Return an axis that HyperSpy accepts: positions that go up and down are only counted."""
    return axis if axis.monotonic else Axis(axis.name, axis.size, axis.navigate)


def metadata_dict(
    name: str,
    sidecar: Sidecar | None = None,
    extended: ExtendedHeader | None = None,
    header: Header | None = None,
    tilts: TiltSeries | None = None,
) -> dict[str, Any]:
    """Return ``metadata``: General, Signal and, if known, the instrument.

    Parameters
    ----------
    name : str
        Name of the file.
    sidecar : Sidecar, optional
        Takes precedence over the extended header.
    extended : ExtendedHeader, optional
        Takes precedence over the main header.
    header : Header, optional
        For voltage and gain written by the mrcz package.
    tilts : TiltSeries, optional
        If its angles are not monotonic, the tilt of the stage is a list, one angle per section.
    """
    metadata: dict[str, Any] = {
        "General": {"title": name.rpartition(".")[0] or name, "original_filename": name},
        "Signal": {"signal_type": ""},
    }
    if header is not None and header.by_mrcz:
        merge(metadata, mrcz_metadata(mrcz_fields(header.raw, header.byteorder)))
    merge(metadata, extended_metadata(extended) if extended else {})
    if tilts is not None and not tilts.axis().monotonic:
        stage = {"Stage": {"tilt_alpha": list(tilts.angles)}}
        merge(metadata, {"Acquisition_instrument": {"TEM": stage}})
    return merge(metadata, sidecar_metadata(sidecar) if sidecar else {})


def plan_metadata(plan: Plan) -> dict[str, Any]:
    """Return ``metadata`` of a plan."""
    return metadata_dict(plan.location.name, plan.sidecar, plan.extended, plan.header, plan.tilts)


def plan_original_metadata(plan: Plan, records: StoredRecords | None = None) -> dict[str, Any]:
    """Return ``original_metadata`` of a plan, with the records to be written again, if given."""
    return original_metadata_dict(plan.header, plan.sidecar, plan.extended, plan.tilts, records)


def metadata_items(
    metadata: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield path and value of each non-empty entry of nested metadata."""
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            yield from metadata_items(value, (*path, key))
        elif value is not None and not (isinstance(value, str) and not value):
            yield (*path, key), value


def flat_attributes(metadata: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as every format of Zarr and xarray can keep it: numbers, strings, lists.

    Names are paths, such as ``Acquisition_instrument.TEM.beam_energy``; the original metadata are
    one JSON string.
    """
    attributes = {".".join(path): value for path, value in metadata_items(metadata)}
    return {**attributes, "original_metadata": json.dumps(original, allow_nan=False)}


def original_metadata_dict(
    header: Header,
    sidecar: Sidecar | None = None,
    extended: ExtendedHeader | None = None,
    tilts: TiltSeries | None = None,
    records: StoredRecords | None = None,
) -> dict[str, Any]:
    """Return ``original_metadata``, which is JSON-serialisable.

    Keys are ``std_header``; ``mrcz_header`` for files of the mrcz package (voltage, C3 and gain);
    ``de_metadata`` if there is a sidecar; ``extended_header`` if there is one, with its type, its
    records as columns with one value per section in file order, its text and, if it contains
    JSON, ``json``; ``tilt_series`` if there is one, with columns in array order. `records`, in
    array order, are ``stored`` with the extended header, for `write_mrc`.
    """
    original: dict[str, Any] = {"std_header": _std_header(header)}
    if header.by_mrcz:
        original["mrcz_header"] = mrcz_fields(header.raw, header.byteorder)
    if sidecar is not None:
        original["de_metadata"] = dict(sidecar.values)
    if extended is not None:
        original["extended_header"] = {
            "type": extended.kind,
            "records": {name: _column(values) for name, values in extended.columns.items()},
            "text": list(extended.text),
        }
        if extended.document is not None:
            original["extended_header"]["json"] = dict(extended.document)
        if records is not None:
            original["extended_header"]["stored"] = records.to_dict()
    if tilts is not None:
        original["tilt_series"] = {
            "tilt_angle": list(tilts.angles),
            "section": list(tilts.sections),
            "source": tilts.source,
        }
    return original


def _column(values: Any) -> list[Any]:
    """Return a column as a list, with None for NaN and infinity, which JSON lacks."""
    column = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return [None if isinstance(v, float) and not np.isfinite(v) else v for v in column]


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested dicts; values of `more` take precedence."""
    for key, value in more.items():
        old = into.get(key)
        into[key] = (
            merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
        )
    return into


def _std_header(header: Header) -> dict[str, Any]:
    values = header_words(header.raw, header.byteorder)
    words: dict[str, Any] = {}
    for name, path in _WORDS:
        value = values
        for part in path.split("."):
            value = value[part]
        number = value.item()
        # JSON has no NaN or infinity.
        words[name] = number if isinstance(number, int) or np.isfinite(number) else None
    words["EXTTYP"] = header.exttyp
    words["MAP"] = header.raw[208:212].decode("latin-1").rstrip("\0")
    words["MACHST"] = header.raw[212:216].hex(" ")
    if header.before_2000:
        words |= zip(("XORIGIN", "YORIGIN", "ZORIGIN"), header.stored_origin, strict=True)
        words |= {"MAP": "", "MACHST": "", "RMS": -1.0}  # undetermined (MRC2014)
    words["IMODSTAMP"], words["IMODFLAGS"] = int(values["imod_stamp"]), int(values["imod_flags"])
    if header.imod_flags is not None:
        words |= imod_fields(header.raw, header.byteorder)
    words["LABELS"] = list(header.labels)
    return words


def register_hyperspy() -> None:
    """Register "mrcdist" as a file format of HyperSpy in this process.

    Without ``file_format="mrcdist"``, HyperSpy still opens ``.mrc`` files with its own reader.
    Calling this function again has no effect.

    Raises
    ------
    MissingExtraError
        RosettaSciIO, HyperSpy's collection of readers, is not installed.

    See Also
    --------
    mrcdist.file_reader : used without registration by ``hs.load(path, file_format=mrcdist)``.

    Notes
    -----
    `hyperspy.api.load` accepts local files only. For a URL, use
    ``hyperspy.io.load_with_reader(url, mrcdist, lazy=True)``.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> import mrcdist
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> movie = write_acquisition("demo", scan_shape=(3, 4), frame_shape=(16, 16)).movie
    >>> mrcdist.register_hyperspy()
    >>> hs.load(movie, file_format="mrcdist", lazy=True)
    <LazySignal2D, title: 20260101_00001_movie, dimensions: (4, 3|16, 16)>
    """
    try:
        formats: list[dict[str, Any]] = importlib.import_module("rsciio").IO_PLUGINS
    except ImportError:
        raise MissingExtraError(
            "RosettaSciIO is not installed",
            code="package-missing",
            cause="HyperSpy takes its list of file formats from it",
            remedy=install_command("hyperspy"),
        ) from None
    if any(known["name"] == _NAME for known in formats):
        return
    formats.append(
        {
            "name": _NAME,
            "name_aliases": [],
            "description": "MRC files, read and written in parallel by dask workers.",
            "full_support": False,
            # HyperSpy requires an extension for each format, and selects formats by it. No file has
            # this one, so mrcdist is only used if it is requested.
            "file_extensions": [_NAME],
            "default_extension": 0,
            # Signals of images, with any number of navigation axes: (signal, navigation).
            "writes": [[2, navigation] for navigation in range(_MAX_AXES)],
            "non_uniform_axis": True,
            "api": "mrcdist.api",
        }
    )
