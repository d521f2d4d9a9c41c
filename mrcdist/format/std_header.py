"""``original_metadata.std_header``: the words of the main header with RosettaSciIO's names.

It is written when a file is read, and read when its data are written to a new file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

import numpy as np

from mrcdist.errors import FormatError
from mrcdist.format.header import HEADER_BYTES, Header, parse_header
from mrcdist.format.header_words import header_words, imod_fields

# RosettaSciIO's names of the words and those of `header_words`, in header order.
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
# By kind of dtype: int32 and float32.
_LARGEST = {"i": 2**31 - 1, "f": float(np.finfo(np.float32).max)}


def std_header(header: Header) -> dict[str, Any]:
    """Return the words of a header, which are JSON-serialisable: None for NaN and infinity."""
    values = header_words(header.raw, header.byteorder)
    words: dict[str, Any] = {}
    for name, path in _WORDS:
        number = reduce(getitem, path.split("."), values).item()
        words[name] = number if math.isfinite(number) else None
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


def header_of(words: Any) -> Header | None:
    """Return the header that the result of `std_header` describes; None for anything else.

    That includes RosettaSciIO's own result, whose words are numbers of 32 bits. Words that are
    missing, or not numbers that a header can store, are 0.
    """
    if not isinstance(words, Mapping) or "NX" not in words:
        return None
    raw = bytearray(HEADER_BYTES)
    values = header_words(raw, "<")
    for name, path in (*_WORDS, ("IMODSTAMP", "imod_stamp"), ("IMODFLAGS", "imod_flags")):
        *parents, leaf = path.split(".")
        number, fields = words.get(name), reduce(getitem, parents, values)
        largest = _LARGEST[fields.dtype[leaf].kind]
        # HyperSpy's HDF5 files return int64. Comparison with NaN is False.
        if isinstance(number, int | float | np.int64) and -largest <= number <= largest:
            fields[leaf] = number
    values["map"], values["machst"] = b"MAP ", (0x44, 0x44, 0, 0)
    values["exttyp"] = str(words.get("EXTTYP", "")).encode("ascii", "replace")
    try:
        return parse_header(bytes(raw), file_size=None, endianness="<")
    except FormatError:
        return None
