"""One blosc chunk: what its header says, and its bytes compressed and decompressed.

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

# The stream format inside a chunk, bits 5-7 of its flags; lz4hc writes lz4's.
_STREAMS = ("blosclz", "lz4", "snappy", "zlib", "zstd")
# Chunk format version -> the packages that can read it, the one to ask for first.
_LIBRARIES = {2: ("blosc", "blosc2"), 5: ("blosc2",)}
_INSTALL = {"blosc": install_command("mrcz"), "blosc2": "pip install blosc2"}


@dataclass(frozen=True)
class BloscHeader:
    """The first 16 bytes of a blosc chunk."""

    version: int  # chunk format: 2 for blosc, 5 for blosc2
    flags: int  # bit 1: the bytes are stored as they are; bits 5-7: the stream format
    # Bytes of the item that was shuffled. It need not be the pixel's size: mrcz gives the size
    # before the pixels were cast.
    typesize: int
    nbytes: int  # when decompressed
    blocksize: int  # of the blocks that the codec saw one at a time
    ctbytes: int  # of the whole chunk, its header included: the next chunk begins there

    @property
    def stored(self) -> bool:
        """Whether the bytes are only copied, because compression was off or did not help."""
        return bool(self.flags & 2)

    @property
    def stream(self) -> str:
        """Name of the stream format; "lz4" also for lz4hc, "other" for blosc2's own."""
        number = self.flags >> 5
        return _STREAMS[number] if number < len(_STREAMS) else "other"


def parse_chunk_header(raw: bytes) -> BloscHeader:
    """Read the first 16 bytes of a chunk, or raise `FormatError` if they cannot be its header.

    Layout, little-endian whatever the file's byte order: version, stream version, flags, typesize
    (u1 each), nbytes, blocksize, ctbytes (i4 each).
    """
    if len(raw) < CHUNK_HEADER_BYTES:
        raise _not_a_chunk(raw, f"{len(raw)} bytes are too few")
    version, _, flags, typesize, nbytes, blocksize, ctbytes = struct.unpack_from("<4B3i", raw)
    header = BloscHeader(version, flags, typesize, nbytes, blocksize, ctbytes)
    if version not in _LIBRARIES:
        raise _not_a_chunk(raw, f"version {version} is none of {', '.join(map(str, _LIBRARIES))}")
    if nbytes < 0:
        raise _not_a_chunk(raw, f"{nbytes} decompressed bytes")
    if ctbytes < CHUNK_HEADER_BYTES:
        raise _not_a_chunk(raw, f"{ctbytes} bytes of chunk, fewer than its header has")
    if typesize == 0 or (nbytes > 0 and not 0 < blocksize <= nbytes):
        raise _not_a_chunk(raw, f"typesize {typesize}, blocksize {blocksize} of {nbytes} bytes")
    # blosc2's header is longer and its flags mean more, its own library checks them.
    if version == 2 and header.stored and ctbytes != nbytes + CHUNK_HEADER_BYTES:
        raise _not_a_chunk(raw, f"{nbytes} bytes stored as they are in a chunk of {ctbytes}")
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
        absent = header.stream == "snappy"
        raise FormatError(
            f"the compressed section ({header.stream}) cannot be decompressed: {error}",
            code="mrcz-section-damaged",
            cause=f"the installed {library.__name__} has no snappy" if absent else "it is damaged",
            remedy="write the file again with zstd" if absent else "copy the file again",
        ) from None
    return pixels


def compress(raw: memoryview, codec: str, typesize: int) -> bytes:
    """Compress bytes to one chunk of version 2, which all readers know.

    The bits of items of `typesize` bytes are shuffled.
    """
    library = _first_installed("blosc")
    chunk: bytes = library.compress(raw, typesize, 1, library.BITSHUFFLE, codec)
    return chunk


def require_codec(codec: str) -> None:
    """Raise `MissingExtraError` where a codec is not installed."""
    library = _first_installed("blosc")
    if codec not in library.compressor_list():
        raise MissingExtraError(
            f"the installed {library.__name__} has no {codec}",
            code="package-missing",
            cause="its builds differ in the codecs that they support",
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
    """Import a library that releases the GIL and uses one thread a call, once in a process.

    A worker's tasks are what runs in parallel; a pool of threads for each would get in their way.
    """
    library = importlib.import_module(name)
    library.set_releasegil(True)
    library.set_nthreads(1)
    return library


def _not_a_chunk(raw: bytes, why: str) -> FormatError:
    found = raw[:CHUNK_HEADER_BYTES].hex(" ") or "no bytes"
    return FormatError(
        f"not a readable blosc chunk: {why}; found {found}",
        code="blosc-chunk-invalid",
        cause="the file is damaged, NSYMBT is wrong, or it is not MRCZ although its MODE says so",
        remedy="copy the file again, or write it again with mrcz",
    )
