"""Fields that the mrcz package, and so HyperSpy's .mrcz files, add to the MRC2014 header.

MX and MY are 0 and the cell's edges are pixel size × number of pixels, in compressed and in plain
files; MZ is the slices of a frame, or 0. Voltage, spherical aberration and gain follow one another
at byte 132. The first label is "MRCZ" and the version; EXTTYP is "json" where there is JSON.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from mrcdist.format.byte_order import ByteOrder

__all__ = ["by_mrcz", "mrcz_fields", "mrcz_metadata", "mrcz_words", "without_differing_fields"]

_PLACE = 132
_LARGEST_KILOVOLTS = 10_000


def by_mrcz(mode: int, exttyp: str, labels: Sequence[str]) -> bool:
    """Whether a file has the marks of the mrcz package."""
    return mode >= 1000 or exttyp == "json" or any(label[:4] == "MRCZ" for label in labels[:1])


def mrcz_fields(raw: bytes, byteorder: ByteOrder) -> dict[str, float | None]:
    """Read voltage (kV), spherical aberration C3 (mm) and gain (counts per electron).

    Parameters
    ----------
    raw : bytes
        The main header.
    byteorder : {"<", ">"}

    Returns
    -------
    dict of str to float or None
        ``voltage``, ``C3``, ``gain``; None for what is no number.
    """
    words = struct.unpack_from(f"{byteorder}3f", raw, _PLACE)
    return {
        name: word if math.isfinite(word) else None
        for name, word in zip(("voltage", "C3", "gain"), words, strict=True)
    }


def without_differing_fields(headers: Sequence[tuple[bytes, ByteOrder]]) -> bytes:
    """Return the main header of the first of several files without words that differ in others.

    Parameters
    ----------
    headers : sequence of (bytes, byte order)
        The main header of each file.

    Returns
    -------
    bytes
        With 0 for a word in which the files differ.
    """
    raw = bytearray(headers[0][0])
    words = [mrcz_fields(*header) for header in headers]
    for number, name in enumerate(words[0]):
        if len({found[name] for found in words}) > 1:
            raw[_PLACE + 4 * number : _PLACE + 4 * number + 4] = bytes(4)
    return bytes(raw)


def mrcz_metadata(words: dict[str, float | None]) -> dict[str, Any]:
    """Return these words by HyperSpy's names; what is 0 or below was never set.

    Parameters
    ----------
    words : dict
        From `mrcz_fields`. HyperSpy has no name for C3.
    """
    voltage, gain = words["voltage"] or 0, words["gain"] or 0
    found: dict[str, Any] = {}
    if 0 < voltage <= _LARGEST_KILOVOLTS:
        found["Acquisition_instrument"] = {"TEM": {"beam_energy": voltage}}
    if gain > 0:
        model = {"gain_factor": gain}
        found["Signal"] = {"Noise_properties": {"Variance_linear_model": model}}
    return found


def mrcz_words(metadata: Mapping[str, Any], read: Any) -> tuple[float, float, float]:
    """Return voltage, C3 and gain for a new file: the way back of `mrcz_metadata`.

    Parameters
    ----------
    metadata : mapping
        With HyperSpy's names.
    read : mapping or None
        ``original_metadata.mrcz_header``, for what `metadata` lack.

    Returns
    -------
    tuple of three floats
        0 for what is unknown.
    """
    named = (
        ("voltage", ("Acquisition_instrument", "TEM", "beam_energy")),
        ("C3", ()),
        ("gain", ("Signal", "Noise_properties", "Variance_linear_model", "gain_factor")),
    )
    known = read if isinstance(read, Mapping) else {}
    words = []
    for word, path in named:
        found: Any = metadata if path else None
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        values = (value for value in (found, known.get(word)) if isinstance(value, int | float))
        words.append(next((float(value) for value in values if math.isfinite(value)), 0.0))
    return words[0], words[1], words[2]
