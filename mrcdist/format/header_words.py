"""The words of the main header: MRC2014's, and those that programs add to it.

MRC2014's are those of `mrcfile.dtypes.HEADER_DTYPE`. In its EXTRA areas are IMOD's, after its
description of its MRC files, and the mrcz package's, and so HyperSpy's ``.mrcz`` files': MX and MY
are 0 and the cell's edges are pixel size × number of pixels, in compressed and in plain files; MZ
is the slices of a frame, or 0. Voltage, spherical aberration and gain follow one another at byte
132. The first label is "MRCZ" and the version; EXTTYP is "json" where there is JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from mrcdist.format.byte_order import ByteOrder

# Format and first byte of each.
_WORDS: Any = {
    **HEADER_DTYPE.fields,
    "start": ("3i4", 16),
    "intervals": ("3i4", 28),
    "cell": ("3f4", 40),
    "angles": ("3f4", 52),
    "axis_order": ("3i4", 64),
    "nint": ("i2", 128),
    "nreal": ("i2", 130),
    "mrcz": ("3f4", 132),  # voltage in kV, C3 in mm, gain in counts per electron
    "packed_bytes": ("i8", 144),  # of all sections of MRCZ
    "imod_stamp": ("i4", 152),
    "imod_flags": ("i4", 156),
    "imod_kind": ("6i2", 160),
    "imod_angles": ("6f4", 172),
    "stored_origin": ("3f4", 196),
    "origin_before_2000": ("3f4", 208),  # z, x, y: later the word MAP, the stamp and RMS
}
# Made once: to reverse so many words takes longer than to read them.
_DTYPES = {order: np.dtype(_WORDS).newbyteorder(order) for order in ("<", ">")}

_IMOD_KIND = ("IDTYPE", "LENS", "ND1", "ND2", "VD1", "VD2")
IMOD_WORDS = (*_IMOD_KIND, "TILTANGLES")

# Where HyperSpy has them; it has no name for C3.
_MRCZ: dict[str, tuple[str, ...]] = {
    "voltage": ("Acquisition_instrument", "TEM", "beam_energy"),
    "C3": (),
    "gain": ("Signal", "Noise_properties", "Variance_linear_model", "gain_factor"),
}
_LARGEST = {"voltage": 10_000.0}  # kV


def header_words(raw: bytes | bytearray, byteorder: ByteOrder) -> Any:
    """Return all words of a main header, by name; they can be changed in a bytearray."""
    return np.frombuffer(raw, _DTYPES[byteorder])[0]


def imod_fields(raw: bytes, byteorder: ByteOrder) -> dict[str, Any]:
    """Return kind of the data, lens, tilt axis and rotations of a volume, by RosettaSciIO's names.

    They are there beside IMOD's stamp.
    """
    words = header_words(raw, byteorder)
    kind = dict(zip(_IMOD_KIND, words["imod_kind"].tolist(), strict=True))
    return {**kind, "TILTANGLES": _finite(words["imod_angles"])}


def mrcz_fields(raw: bytes, byteorder: ByteOrder) -> dict[str, float | None]:
    """Return ``voltage`` (kV), ``C3`` (mm) and ``gain`` (counts per electron), or None."""
    return dict(zip(_MRCZ, _finite(header_words(raw, byteorder)["mrcz"]), strict=True))


def without_differing_fields(headers: Sequence[tuple[bytes, ByteOrder]]) -> bytes:
    """Return the first of several main headers with 0 for mrcz's words in which they differ."""
    raw = bytearray(headers[0][0])
    found = [mrcz_fields(*header) for header in headers]
    for number, name in enumerate(_MRCZ):
        if len({words[name] for words in found}) > 1:
            header_words(raw, headers[0][1])["mrcz"][number] = 0
    return bytes(raw)


def mrcz_metadata(words: dict[str, float | None]) -> dict[str, Any]:
    """Return what `mrcz_fields` found by HyperSpy's names; what is 0 or below was never set."""
    metadata: dict[str, Any] = {}
    for name, (*branches, leaf) in ((name, path) for name, path in _MRCZ.items() if path):
        word = words[name] or 0
        if 0 < word <= _LARGEST.get(name, math.inf):
            node = metadata
            for branch in branches:
                node = node.setdefault(branch, {})
            node[leaf] = word
    return metadata


def mrcz_words(metadata: Mapping[str, Any], read: Any) -> tuple[float, float, float]:
    """Return voltage, C3 and gain for a new file: the way back of `mrcz_metadata`.

    What HyperSpy's `metadata` lack is taken from what was `read`, a mapping or None:
    ``original_metadata.mrcz_header``. What is unknown is 0.
    """
    known = read if isinstance(read, Mapping) else {}
    words = []
    for word, path in _MRCZ.items():
        found: Any = metadata if path else None
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        values = (value for value in (found, known.get(word)) if isinstance(value, int | float))
        words.append(next((float(value) for value in values if math.isfinite(value)), 0.0))
    return words[0], words[1], words[2]


def _finite(numbers: Any) -> list[float | None]:
    """Numbers as Python has them; JSON has no NaN or infinity."""
    return [number if math.isfinite(number) else None for number in numbers.tolist()]
