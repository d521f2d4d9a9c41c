"""Dicts of axes and metadata as in RosettaSciIO, and registration with HyperSpy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mrcdist.extras import import_optional, install_command
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.scan import sidecar_metadata
from mrcdist.format.extended.registry import extended_metadata
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.format.header_words import mrcz_fields, mrcz_metadata
from mrcdist.format.std_header import std_header
from mrcdist.read_plan import Plan
from mrcdist.write.contents import metadata_items, to_json

_NAME = "mrcdist"
_MAX_AXES = 8


def axes_dicts(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return one dict per axis, in array order.

    Keys are name, units, size, index_in_array, navigate, and scale and offset; if the axis is not
    uniform, ``axis`` with its values replaces scale and offset. HyperSpy requires monotonic values:
    other axes, such as the angles of a dose-symmetric tilt series, count from 0 without units.
    """
    dicts = []
    for index, axis in enumerate(axes):
        if not axis.monotonic:
            axis = Axis(axis.name, axis.size, axis.navigate)
        uniform = {"scale": axis.scale, "offset": axis.offset}
        dicts.append(
            {
                "name": axis.name,
                "units": axis.units,
                "size": axis.size,
                **(uniform if axis.values is None else {"axis": axis.positions}),
                "index_in_array": index,
                "navigate": axis.navigate,
            }
        )
    return dicts


def axes_attribute(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return `axes_dicts` for JSON, with lists instead of arrays."""
    attribute: list[dict[str, Any]] = to_json(axes_dicts(axes))
    return attribute


def plan_metadata(plan: Plan) -> dict[str, Any]:
    """Return ``metadata``: General, Signal and, if known, the instrument.

    The sidecar takes precedence over the extended header, which takes precedence over the fields of
    the mrcz package in the main header. If the angles of a tilt series are not monotonic, the tilt
    of the stage is a list with one angle per section.
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
    """Return the metadata as attributes for Zarr and xarray: numbers, strings and lists.

    Names are paths, such as ``Acquisition_instrument.TEM.beam_energy``; the original metadata is
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
    array order, are added to the extended header as ``stored``, for `write_mrc`.
    """
    header, extended, tilts = plan.header, plan.extended, plan.tilts
    original: dict[str, Any] = {"std_header": std_header(header)}
    if header.by_mrcz:
        original["mrcz_header"] = mrcz_fields(header.raw, header.byteorder)
    if plan.sidecar is not None:
        original["de_metadata"] = dict(plan.sidecar.values)
    if extended is not None:
        original["extended_header"] = {
            "type": extended.kind,
            "records": to_json(extended.columns),
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


def _merge(target: dict[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested dicts in place; values of `update` take precedence."""
    for key, value in update.items():
        nested = isinstance(target.get(key), dict) and isinstance(value, Mapping)
        target[key] = _merge(target[key], value) if nested else value
    return target


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
    rsciio = import_optional(
        "rsciio",
        "HyperSpy takes its list of file formats from RosettaSciIO",
        install_command("hyperspy"),
    )
    formats: list[dict[str, Any]] = rsciio.IO_PLUGINS
    if any(plugin["name"] == _NAME for plugin in formats):
        return
    formats.append(
        {
            "name": _NAME,
            "name_aliases": [],
            "description": "MRC files, read and written in parallel by dask workers.",
            "full_support": False,
            # HyperSpy selects formats by extension, and requires one. No file has this extension,
            # so mrcdist is used only on request.
            "file_extensions": [_NAME],
            "default_extension": 0,
            # Numbers of signal and navigation axes.
            "writes": [[2, navigation] for navigation in range(_MAX_AXES)],
            "non_uniform_axis": True,
            "api": "mrcdist.api",
        }
    )
