"""MRCZ: codecs, compressed sections, which are joined in the end, and the JSON header."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError
from mrcdist.format.blosc import compress, require_codec
from mrcdist.format.encode import NewHeader, Storage, encode_pixels
from mrcdist.format.modes import CODECS
from mrcdist.format.mrcz import LARGEST_SECTION

# Those that the mrcz package reads as they are meant.
_MODES = (0, 1, 2, 4, 6)


def choose_compressor(name: str, compressor: str | None) -> str | None:
    """Return the compressor of a file; a name that ends in ``.mrcz`` is that of MRCZ."""
    return "zstd" if compressor is None and name.lower().endswith(".mrcz") else compressor


def find_codec(compressor: str | None, storage: Storage, frame: tuple[int, int]) -> int:
    """Return MRCZ's number of a codec; 0 for a file that is not compressed.

    Frames, of so many rows and columns, that cannot be compressed are an `ArgumentError`, and a
    `MissingExtraError` says that the library for it is not installed.
    """
    if compressor is None:
        return 0
    if compressor not in CODECS:
        why = "MRCZ has no such codec"
    elif storage.mode not in _MODES or storage.imod_flags is not None:
        why = f"the mrcz package cannot read {'4-bit' if storage.packed else storage.dtype} pixels"
    elif frame[0] * storage.row_bytes(frame[1]) > LARGEST_SECTION:
        why = f"a section is one chunk of blosc, of at most {LARGEST_SECTION} bytes"
    else:
        require_codec(compressor)
        return CODECS.index(compressor) + 1
    raise ArgumentError(
        f"compressor={compressor!r}",
        code="compressor-invalid",
        argument="compressor",
        cause=why,
        remedy=f"pass one of {', '.join(CODECS)}, with int8, int16, uint16, float32 or complex64, "
        "or leave it out, and write to a name that ends in .mrc",
    )


def compressed_sections(frames: npt.NDArray[Any], header: NewHeader) -> Iterator[bytes]:
    """Yield the sections of an array of shape (..., rows, columns) as they are stored."""
    codec, pixel = CODECS[header.codec - 1], np.dtype(header.storage.dtype).itemsize
    for frame in frames.reshape(-1, *frames.shape[-2:]):
        raw = encode_pixels(frame, header.storage, header.byteorder)
        yield compress(raw.reshape(-1).data, codec, pixel)


def json_header(metadata: Mapping[str, Any]) -> bytes:
    """Return HyperSpy's metadata as the mrcz package stores them: JSON, EXTTYP "json"."""
    public = {key: value for key, value in metadata.items() if not str(key).startswith("_")}
    return json.dumps(_plain(public)).encode() if public else b""


def _plain(value: Any) -> Any:
    """The value in types that JSON has; text for any other."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
