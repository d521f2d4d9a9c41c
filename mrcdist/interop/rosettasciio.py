"""The forms of RosettaSciIO: axes and metadata as dicts, and a name for HyperSpy."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from mrcdist.errors import MissingExtraError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.scan import sidecar_metadata
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.format.extended.registry import ExtendedHeader, extended_metadata
from mrcdist.format.header import Header
from mrcdist.format.mrcz_header import mrcz_metadata, mrcz_words

__all__ = ["axes_dicts", "metadata_dict", "original_metadata_dict", "register_hyperspy"]

_NAME = "mrcdist"

# RosettaSciIO's names of the header's words, in the header's order; from 196 on MRC2014 and its
# layout agree.
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
    """Return one dict an axis, in array order.

    Each has name, units, size, index_in_array, navigate; and scale and offset, or ``axis``, the
    positions themselves, where their steps are uneven.
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
        for index, axis in enumerate(axes)
    ]


def axes_from_dicts(axes: Iterable[Mapping[str, Any]]) -> list[Axis]:
    """Return the axes that the dicts of `axes_dicts` describe."""
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


def metadata_dict(
    name: str,
    sidecar: Sidecar | None = None,
    extended: ExtendedHeader | None = None,
    header: Header | None = None,
) -> dict[str, Any]:
    """Return ``metadata``: General, Signal, and the instrument where something tells of it.

    Parameters
    ----------
    name : str
        The file's name.
    sidecar : Sidecar, optional
        Its words win over the extended header's.
    extended : ExtendedHeader, optional
        Its words win over the main header's.
    header : Header, optional
        The mrcz package writes voltage and gain to it.
    """
    metadata: dict[str, Any] = {
        "General": {"title": name.rpartition(".")[0] or name, "original_filename": name},
        "Signal": {"signal_type": ""},
    }
    if header is not None and header.by_mrcz:
        merge(metadata, mrcz_metadata(mrcz_words(header.raw, header.byteorder)))
    merge(metadata, extended_metadata(extended) if extended else {})
    return merge(metadata, sidecar_metadata(sidecar) if sidecar else {})


def metadata_items(
    metadata: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield path and value of every entry of nested metadata, without empty ones."""
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            yield from metadata_items(value, (*path, key))
        elif value not in ("", None):
            yield (*path, key), value


def original_metadata_dict(
    header: Header, sidecar: Sidecar | None = None, extended: ExtendedHeader | None = None
) -> dict[str, Any]:
    """Return ``original_metadata``, JSON-serialisable.

    ``std_header``; ``mrcz_header`` of the mrcz package's files: voltage, C3 and gain;
    ``de_metadata`` where there is a sidecar; ``extended_header`` where there is one: its type, its
    records as columns with one value a section, its text, and ``json`` where it is that.
    """
    original: dict[str, Any] = {"std_header": _std_header(header)}
    if header.by_mrcz:
        original["mrcz_header"] = mrcz_words(header.raw, header.byteorder)
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
    return original


def _column(values: Any) -> list[Any]:
    """A column as a list; JSON knows no NaN or infinity."""
    column = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return [None if isinstance(v, float) and not np.isfinite(v) else v for v in column]


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested dicts; `more` wins."""
    for key, value in more.items():
        old = into.get(key)
        into[key] = (
            merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
        )
    return into


def _std_header(header: Header) -> dict[str, Any]:
    values = np.frombuffer(header.raw, HEADER_DTYPE.newbyteorder(header.byteorder))[0]
    words: dict[str, Any] = {}
    for name, path in _WORDS:
        value = values
        for part in path.split("."):
            value = value[part]
        number = value.item()
        # JSON knows no NaN or infinity.
        words[name] = number if isinstance(number, int) or np.isfinite(number) else None
    words["EXTTYP"] = header.exttyp
    words["MAP"] = header.raw[208:212].decode("latin-1").rstrip("\0")
    words["MACHST"] = header.raw[212:216].hex(" ")
    if header.before_2000:
        words |= zip(("XORIGIN", "YORIGIN", "ZORIGIN"), header.stored_origin, strict=True)
        words |= {"MAP": "", "MACHST": "", "RMS": -1.0}  # MRC2014's mark for none
    words["IMODSTAMP"], words["IMODFLAGS"] = struct.unpack(
        header.byteorder + "ii", header.raw[152:160]
    )
    words["LABELS"] = list(header.labels)
    return words


def register_hyperspy() -> None:
    """Add "mrcdist" to the file formats that HyperSpy knows, in this process.

    Files that end in ``.mrc`` stay with HyperSpy's own reader unless the format is named. Calling
    this again changes nothing.

    Raises
    ------
    MissingExtraError
        RosettaSciIO, HyperSpy's collection of readers, is not installed.

    See Also
    --------
    mrcdist.file_reader : reads without a name: ``hs.load(path, file_format=mrcdist)``.

    Notes
    -----
    `hyperspy.api.load` takes local files only. For a URL, name the module:
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
            "RosettaSciIO is not installed here",
            code="package-missing",
            cause="HyperSpy finds its file formats in it",
            remedy='pip install "mrcdist[hyperspy]"',
        ) from None
    if any(known["name"] == _NAME for known in formats):
        return
    formats.append(
        {
            "name": _NAME,
            "name_aliases": [],
            "description": "MRC files, read in parallel by dask workers.",
            "full_support": False,
            # HyperSpy wants an extension for every format, and picks formats by it. No file ends
            # in this one, so that none is read by mrcdist unless that is asked for.
            "file_extensions": [_NAME],
            "default_extension": 0,
            "writes": False,
            "non_uniform_axis": True,
            "api": "mrcdist.api",
        }
    )
