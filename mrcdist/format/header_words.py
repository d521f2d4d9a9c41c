"""The words of the main header: MRC2014's, and those added by IMOD and the mrcz package.

MRC2014's are those of `mrcfile.dtypes.HEADER_DTYPE`. IMOD's, in the EXTRA areas, are from its
description of its MRC files. Files of the mrcz package, and so HyperSpy's ``.mrcz`` files,
compressed or not, have MX = MY = 0 and pixel size × number of pixels as cell edges; MZ is the
number of slices of a frame, or 0. Voltage, spherical aberration and gain are at byte 132. The first
label is "MRCZ" and the version; EXTTYP is "json" if the extended header contains JSON.
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
    "packed_bytes": ("i8", 144),  # total size of the compressed sections (MRCZ)
    "imod_stamp": ("i4", 152),
    "imod_flags": ("i4", 156),
    "imod_kind": ("6i2", 160),
    "imod_angles": ("6f4", 172),
    "stored_origin": ("3f4", 196),
    "origin_before_2000": ("3f4", 208),  # z, x, y; since then the word MAP, the stamp and RMS
}
# Made once: reversing so many words takes longer than reading them.
_DTYPES = {order: np.dtype(_WORDS).newbyteorder(order) for order in ("<", ">")}

_IMOD_KIND = ("IDTYPE", "LENS", "ND1", "ND2", "VD1", "VD2")
IMOD_WORDS = (*_IMOD_KIND, "TILTANGLES")

_MRCZ_WORDS = ("voltage", "C3", "gain")
# Their paths in HyperSpy's metadata, which has no name for C3.
_VOLTAGE = ("Acquisition_instrument", "TEM", "beam_energy")
_GAIN = ("Signal", "Noise_properties", "Variance_linear_model", "gain_factor")
_MAX_VOLTAGE = 10_000.0  # kV


def header_words(raw: bytes | bytearray, byteorder: ByteOrder) -> Any:
    """Return all words of a main header by name; those of a bytearray are writable."""
    return np.frombuffer(raw, _DTYPES[byteorder])[0]


def imod_fields(raw: bytes, byteorder: ByteOrder) -> dict[str, Any]:
    """Return IMOD's kind of data, lens, tilt axis and rotations, with RosettaSciIO's names.

    They are valid only with IMOD's stamp.
    """
    words = header_words(raw, byteorder)
    kind = dict(zip(_IMOD_KIND, words["imod_kind"].tolist(), strict=True))
    return {**kind, "TILTANGLES": _finite(words["imod_angles"])}


def mrcz_fields(raw: bytes, byteorder: ByteOrder) -> dict[str, float | None]:
    """Return ``voltage`` (kV), ``C3`` (mm) and ``gain`` (counts per electron), or None."""
    return dict(zip(_MRCZ_WORDS, _finite(header_words(raw, byteorder)["mrcz"]), strict=True))


def without_differing_fields(headers: Sequence[tuple[bytes, ByteOrder]]) -> bytes:
    """Return the first of several main headers, with 0 for words of mrcz that differ."""
    raw = bytearray(headers[0][0])
    fields = [mrcz_fields(*header) for header in headers]
    for number, name in enumerate(_MRCZ_WORDS):
        if len({words[name] for words in fields}) > 1:
            header_words(raw, headers[0][1])["mrcz"][number] = 0
    return bytes(raw)


def mrcz_metadata(words: Mapping[str, float | None]) -> dict[str, Any]:
    """Return the result of `mrcz_fields` with HyperSpy's names; 0 and less means "not set"."""
    voltage, gain = words["voltage"] or 0.0, words["gain"] or 0.0
    metadata: dict[str, Any] = {}
    if 0 < voltage <= _MAX_VOLTAGE:
        metadata["Acquisition_instrument"] = {"TEM": {"beam_energy": voltage}}
    if gain > 0:
        noise = {"Variance_linear_model": {"gain_factor": gain}}
        metadata["Signal"] = {"Noise_properties": noise}
    return metadata


def mrcz_words(metadata: Mapping[str, Any], source_fields: Any) -> tuple[float, float, float]:
    """Return voltage, C3 and gain for a new file, the inverse of `mrcz_metadata`; 0 if unknown.

    Values missing in HyperSpy's `metadata` are taken from the file that the data were read from:
    ``original_metadata.mrcz_header``, a mapping or None.
    """
    fields = source_fields if isinstance(source_fields, Mapping) else {}
    words = []
    for name, path in zip(_MRCZ_WORDS, (_VOLTAGE, (), _GAIN), strict=True):
        value: Any = metadata if path else None
        for branch in path:
            value = value.get(branch) if isinstance(value, Mapping) else None
        numbers = (each for each in (value, fields.get(name)) if isinstance(each, int | float))
        words.append(next((float(number) for number in numbers if math.isfinite(number)), 0.0))
    return words[0], words[1], words[2]


def _finite(numbers: Any) -> list[float | None]:
    """Return Python numbers, with None for NaN and infinity, which JSON lacks."""
    return [number if math.isfinite(number) else None for number in numbers.tolist()]
