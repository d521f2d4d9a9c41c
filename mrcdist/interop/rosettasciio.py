"""RosettaSciIO: axes and metadata as dicts, and registration with HyperSpy."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

import numpy as np

from mrcdist.errors import MissingExtraError
from mrcdist.extras import install_command
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.scan import sidecar_metadata
from mrcdist.format.extended.registry import extended_metadata
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.format.header import Header
from mrcdist.format.header_words import header_words, imod_fields, mrcz_fields, mrcz_metadata
from mrcdist.read_plan import Plan
from mrcdist.write.contents import metadata_items

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
    dicts = []
    for index, given in enumerate(axes):
        axis = given if given.monotonic else Axis(given.name, given.size, given.navigate)
        even = {"scale": axis.scale, "offset": axis.offset}
        dicts.append(
            {
                "name": axis.name,
                "units": axis.units,
                "size": axis.size,
                **(even if axis.values is None else {"axis": np.array(axis.values)}),
                "index_in_array": index,
                "navigate": axis.navigate,
            }
        )
    return dicts


def axes_attribute(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return the same as JSON has it, with lists instead of arrays."""
    dicts = axes_dicts(axes)
    for axis in dicts:
        if "axis" in axis:
            axis["axis"] = axis["axis"].tolist()
    return dicts


def plan_metadata(plan: Plan) -> dict[str, Any]:
    """Return ``metadata``: General, Signal and, if known, the instrument.

    The sidecar takes precedence over the extended header, and this over what the mrcz package
    writes to the main header. If the angles of a tilt series are not monotonic, the tilt of the
    stage is a list, one angle per section.
    """
    name = plan.location.name
    metadata: dict[str, Any] = {
        "General": {"title": name.rpartition(".")[0] or name, "original_filename": name},
        "Signal": {"signal_type": ""},
    }
    if plan.header.by_mrcz:
        _merge(metadata, mrcz_metadata(mrcz_fields(plan.header.raw, plan.header.byteorder)))
    if plan.extended is not None:
        _merge(metadata, extended_metadata(plan.extended))
    if plan.tilts is not None and not plan.tilts.axis().monotonic:
        stage = {"Stage": {"tilt_alpha": list(plan.tilts.angles)}}
        _merge(metadata, {"Acquisition_instrument": {"TEM": stage}})
    return _merge(metadata, sidecar_metadata(plan.sidecar) if plan.sidecar else {})


def flat_attributes(plan: Plan) -> dict[str, Any]:
    """Return metadata as every format of Zarr and xarray can keep it: numbers, strings, lists.

    Names are paths, such as ``Acquisition_instrument.TEM.beam_energy``; the original metadata are
    one JSON string.
    """
    attributes = {".".join(path): value for path, value in metadata_items(plan_metadata(plan))}
    original = json.dumps(plan_original_metadata(plan), allow_nan=False)
    return {**attributes, "original_metadata": original}


def plan_original_metadata(plan: Plan, records: StoredRecords | None = None) -> dict[str, Any]:
    """Return ``original_metadata``, which is JSON-serialisable.

    Keys are ``std_header``; ``mrcz_header`` for files of the mrcz package (voltage, C3 and gain);
    ``de_metadata`` if there is a sidecar; ``extended_header`` if there is one, with its type, its
    records as columns with one value per section in file order, its text and, if it contains
    JSON, ``json``; ``tilt_series`` if there is one, with columns in array order. `records`, in
    array order, are ``stored`` with the extended header, for `write_mrc`.
    """
    header, extended, tilts = plan.header, plan.extended, plan.tilts
    original: dict[str, Any] = {"std_header": _std_header(header)}
    if header.by_mrcz:
        original["mrcz_header"] = mrcz_fields(header.raw, header.byteorder)
    if plan.sidecar is not None:
        original["de_metadata"] = dict(plan.sidecar.values)
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
    return [_known(value) for value in column]


def _known(value: Any) -> Any:
    if isinstance(value, list):  # several numbers a record
        return _column(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested dicts; values of `more` take precedence."""
    for key, value in more.items():
        both = isinstance(into.get(key), dict) and isinstance(value, Mapping)
        into[key] = _merge(into[key], value) if both else value
    return into


def _std_header(header: Header) -> dict[str, Any]:
    values = header_words(header.raw, header.byteorder)
    found = [reduce(getitem, path.split("."), values).item() for _, path in _WORDS]
    words: dict[str, Any] = dict(zip((name for name, _ in _WORDS), _column(found), strict=True))
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
