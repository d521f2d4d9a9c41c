"""The zarr.json documents of an array and of a group (Zarr format 3), computed from their axes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrcdist.format.axis import Axis
from mrcdist.interop.labelled_array import LabelledArray
from mrcdist.interop.rosettasciio import axes_dicts

__all__ = [
    "CODEC",
    "NGFF_UNITS",
    "NGFF_VERSION",
    "array_document",
    "axes_attribute",
    "group_document",
]

# Little-endian pixels, as of Zarr's codec "bytes", of which parts can be read.
CODEC = "mrcdist.bytes"

NGFF_VERSION = "0.5"
NGFF_UNITS = {"nm": "nanometer", "s": "second", "deg": "degree"}


def array_document(array: LabelledArray) -> bytes:
    """Return the metadata of an array; in its OME-NGFF attribute, its path is that of itself."""
    return _encoded(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(array.shape),
            "data_type": array.dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": list(array.chunk_shape)},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": [0.0, 0.0] if array.dtype.kind == "c" else array.dtype.type(0).item(),
            "codecs": [{"name": CODEC, "configuration": {"endian": "little"}}],
            "attributes": {"axes": axes_attribute(array.axes), **_ngff(array.axes, ".")},
            "dimension_names": list(array.dimensions),
            "storage_transformers": [],
        }
    )


def group_document(arrays: Mapping[str, LabelledArray]) -> bytes:
    """Return the metadata of a group of arrays, with OME-NGFF's of the first one."""
    path, first = next(iter(arrays.items()))
    attributes = _ngff(first.axes, path)
    return _encoded({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False).encode()


def axes_attribute(axes: tuple[Axis, ...]) -> list[dict[str, Any]]:
    """Return RosettaSciIO's dicts, with lists instead of arrays."""
    dicts = axes_dicts(axes)
    for axis in dicts:
        if isinstance(axis.get("axis"), np.ndarray):
            axis["axis"] = axis["axis"].tolist()
    return dicts


def _ngff(axes: tuple[Axis, ...], path: str) -> dict[str, Any]:
    """OME-NGFF's attribute of a volume; nothing for other arrays."""
    if [axis.name for axis in axes] != ["z", "y", "x"]:
        return {}
    multiscale = {
        "axes": [
            {
                "name": axis.name,
                "type": "space",
                **({"unit": NGFF_UNITS[axis.units]} if axis.units in NGFF_UNITS else {}),
            }
            for axis in axes
        ],
        "datasets": [
            {
                "path": path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": [float(axis.scale) for axis in axes]},
                    {"type": "translation", "translation": [float(axis.offset) for axis in axes]},
                ],
            }
        ],
    }
    return {"ome": {"version": NGFF_VERSION, "multiscales": [multiscale]}}
