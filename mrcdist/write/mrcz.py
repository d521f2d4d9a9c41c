"""MRCZ: choice of the codec, compressed sections, and the JSON header."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError
from mrcdist.format.encode import NewHeader, Storage, encode_pixels
from mrcdist.format.modes import CODECS
from mrcdist.format.mrcz import LARGEST_SECTION, compress, require_codec
from mrcdist.write.contents import to_json

# The modes that the mrcz package reads correctly.
_MODES = (0, 1, 2, 4, 6)


def choose_compressor(name: str, compressor: str | None) -> str | None:
    """Return the compressor of a file: "zstd" by default if its name ends in ``.mrcz``."""
    return "zstd" if compressor is None and name.lower().endswith(".mrcz") else compressor


def find_codec(compressor: str | None, storage: Storage, frame_shape: tuple[int, int]) -> int:
    """Return MRCZ's number of a codec, or 0 for an uncompressed file.

    Raises `ArgumentError` if frames of this shape cannot be compressed, and `MissingExtraError` if
    the compression library is not installed.
    """
    if compressor is None:
        return 0
    rows, columns = frame_shape
    if compressor not in CODECS:
        cause = "MRCZ has no such codec"
    elif storage.mode not in _MODES or storage.imod_flags is not None:
        pixels = "4-bit" if storage.packed else storage.dtype
        cause = f"the mrcz package cannot read {pixels} pixels"
    elif rows * storage.row_bytes(columns) > LARGEST_SECTION:
        cause = f"a section is one chunk of blosc, which holds at most {LARGEST_SECTION} bytes"
    else:
        require_codec(compressor)
        return CODECS.index(compressor) + 1
    raise ArgumentError(
        f"`compressor={compressor!r}`",
        code="compressor-invalid",
        argument="compressor",
        cause=cause,
        remedy=f"pass one of {', '.join(CODECS)}, with int8, int16, uint16, float32 or complex64, "
        "or leave it out, and write to a name that ends in .mrc",
    )


def compressed_sections(frames: npt.NDArray[Any], header: NewHeader) -> Iterator[bytes]:
    """Yield the compressed sections of an array of shape (..., rows, columns)."""
    codec, itemsize = CODECS[header.codec - 1], np.dtype(header.storage.dtype).itemsize
    for frame in frames.reshape(-1, *frames.shape[-2:]):
        raw = encode_pixels(frame, header.storage, header.byteorder)
        yield compress(raw.reshape(-1).data, codec, itemsize)


def json_header(metadata: Mapping[str, Any]) -> bytes:
    """Return HyperSpy's metadata in the form of the mrcz package: JSON, with EXTTYP "json"."""
    public = {key: value for key, value in metadata.items() if not str(key).startswith("_")}
    return json.dumps(to_json(public)).encode() if public else b""
