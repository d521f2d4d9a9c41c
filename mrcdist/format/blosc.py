"""One blosc chunk: parsing its header, compression and decompression.

Sources: c-blosc's README_CHUNK_FORMAT and c-blosc2's.
"""

from __future__ import annotations

import importlib
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

from mrcdist.errors import FormatError, MissingExtraError
from mrcdist.extras import install_command

CHUNK_HEADER_BYTES = 16

# The stream format of a chunk, bits 5-7 of its flags; lz4hc writes that of lz4.
_STREAMS = ("blosclz", "lz4", "snappy", "zlib", "zstd")
# Chunk format version -> packages that read it, the preferred one first.
_LIBRARIES = {2: ("blosc", "blosc2"), 5: ("blosc2",)}
_INSTALL = {"blosc": install_command("mrcz"), "blosc2": "pip install blosc2"}


@dataclass(frozen=True)
class BloscHeader:
    """The first 16 bytes of a blosc chunk."""

    version: int  # chunk format: 2 for blosc, 5 for blosc2
    flags: int  # bit 1: the bytes are stored uncompressed; bits 5-7: the stream format
    # Size of the shuffled items. It may differ from the size of a pixel: mrcz gives the size before
    # the pixels were cast.
    typesize: int
    nbytes: int  # decompressed size
    blocksize: int  # of the blocks that were compressed one at a time
    ctbytes: int  # size of the chunk, including its header

    @property
    def stored(self) -> bool:
        """Whether the bytes are stored uncompressed, on request or because it is shorter."""
        return bool(self.flags & 2)

    @property
    def stream(self) -> str:
        """Name of the stream format: "lz4" also for lz4hc, "other" for those of blosc2."""
        number = self.flags >> 5
        return _STREAMS[number] if number < len(_STREAMS) else "other"


def parse_chunk_header(raw: bytes) -> BloscHeader:
    """Parse the first 16 bytes of a chunk; `FormatError` if they are not a valid header.

    Layout, always little-endian: version, stream version, flags, typesize (u1 each), nbytes,
    blocksize, ctbytes (i4 each).
    """
    if len(raw) < CHUNK_HEADER_BYTES:
        raise _not_a_chunk(raw, f"{len(raw)} bytes are too few")
    version, _, flags, typesize, nbytes, blocksize, ctbytes = struct.unpack_from("<4B3i", raw)
    header = BloscHeader(version, flags, typesize, nbytes, blocksize, ctbytes)
    if version not in _LIBRARIES:
        raise _not_a_chunk(raw, f"version {version} is not 2 or 5")
    if nbytes < 0:
        raise _not_a_chunk(raw, f"{nbytes} decompressed bytes")
    if ctbytes < CHUNK_HEADER_BYTES:
        raise _not_a_chunk(raw, f"a chunk of {ctbytes} bytes, less than its header")
    if typesize == 0 or (nbytes > 0 and not 0 < blocksize <= nbytes):
        raise _not_a_chunk(raw, f"typesize {typesize}, blocksize {blocksize} of {nbytes} bytes")
    # The header of blosc2 is longer and has more flags, which its library checks.
    if version == 2 and header.stored and ctbytes != nbytes + CHUNK_HEADER_BYTES:
        raise _not_a_chunk(raw, f"{nbytes} bytes stored uncompressed in a chunk of {ctbytes}")
    if version == 2 and header.stream == "other":
        raise _not_a_chunk(raw, f"stream format {flags >> 5} is unknown")
    return header


def decompress(raw: bytes, header: BloscHeader) -> bytearray:
    """Decompress exactly one chunk, whose header has been checked.

    Raises `FormatError` if it is damaged, and `MissingExtraError` without a library that reads it.
    """
    library = _first_installed(*_LIBRARIES[header.version])
    try:
        pixels: bytearray = library.decompress(raw, as_bytearray=True)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (each library has its own class, blosc's not public)
        snappy = header.stream == "snappy"
        raise FormatError(
            f"the compressed section ({header.stream}) cannot be decompressed: {error}",
            code="mrcz-section-damaged",
            cause=f"the installed {library.__name__} has no snappy" if snappy else "it is damaged",
            remedy="write the file again with zstd" if snappy else "copy the file again",
        ) from None
    return pixels


def compress(raw: memoryview, codec: str, typesize: int) -> bytes:
    """Compress bytes to one chunk of version 2, which all readers support, with bit shuffling."""
    library = _first_installed("blosc")
    chunk: bytes = library.compress(raw, typesize, 1, library.BITSHUFFLE, codec)
    return chunk


def require_codec(codec: str) -> None:
    """Raise `MissingExtraError` if a codec is not installed."""
    library = _first_installed("blosc")
    if codec not in library.compressor_list():
        raise MissingExtraError(
            f"the installed {library.__name__} has no {codec}",
            code="package-missing",
            cause="builds of the package support different codecs",
            remedy="choose another codec, such as zstd",
        )


def _first_installed(*names: str) -> Any:
    for name in names:
        try:
            return _library(name)
        except ImportError:
            continue
    raise MissingExtraError(
        f"MRCZ sections of this kind need the package {names[0]}, which is not installed here",
        code="package-missing",
        cause="compression is optional",
        remedy=f"{_INSTALL[names[0]]}, on every worker",
    )


@cache
def _library(name: str) -> Any:
    """Import a library, once per process, to use one thread and release the GIL.

    The tasks of a worker already run in parallel.
    """
    library = importlib.import_module(name)
    library.set_releasegil(True)
    library.set_nthreads(1)
    return library


def _not_a_chunk(raw: bytes, reason: str) -> FormatError:
    content = raw[:CHUNK_HEADER_BYTES].hex(" ") or "no bytes"
    return FormatError(
        f"not a readable blosc chunk: {reason}; found {content}",
        code="blosc-chunk-invalid",
        cause="the file is damaged, or NSYMBT or MODE is wrong",
        remedy="copy the file again, or write it again with mrcz",
    )
