"""Header and sidecar as RosettaSciIO's ``metadata`` and ``original_metadata``."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from mrcdist.format.direct_electron import Sidecar, sidecar_metadata
from mrcdist.format.header import Header

__all__ = ["metadata_dict", "original_metadata_dict"]

# RosettaSciIO's names of the header's words, in the header's order; from 196 on MRC2014 and its layout agree.
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


def metadata_dict(name: str, sidecar: Sidecar | None) -> dict[str, Any]:
    """Return ``metadata``: General, Signal, and the instrument where a sidecar tells.

    Parameters
    ----------
    name : str
        The file's name.
    sidecar : Sidecar or None
    """
    title = name.rpartition(".")[0] or name
    metadata: dict[str, Any] = {
        "General": {"title": title, "original_filename": name},
        "Signal": {"signal_type": ""},
    }
    return merge(metadata, sidecar_metadata(sidecar)) if sidecar else metadata


def original_metadata_dict(header: Header, sidecar: Sidecar | None) -> dict[str, Any]:
    """Return ``original_metadata``: std_header, and de_metadata where there is a sidecar. JSON-serialisable."""
    original: dict[str, Any] = {"std_header": _std_header(header)}
    if sidecar is not None:
        original["de_metadata"] = dict(sidecar.values)
    return original


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
    words["IMODSTAMP"], words["IMODFLAGS"] = struct.unpack(
        header.byteorder + "ii", header.raw[152:160]
    )
    words["LABELS"] = list(header.labels)
    return words
