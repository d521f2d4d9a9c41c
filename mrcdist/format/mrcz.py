"""MRCZ: MRC files with each section compressed to one blosc chunk, one after the other.

MODE is ``1000 * codec + mode``, and the chunks begin where the data of an uncompressed file would.
Only the headers of the chunks contain their sizes, so they are followed once when reading is
planned. After that, every section can be fetched and decompressed independently.

Sources: McLeod et al., J. Struct. Biol. 201 (2018) 252-257, and the files that the mrcz package
writes; for chunks, c-blosc's README_CHUNK_FORMAT and c-blosc2's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from mrcdist.errors import FormatError, MissingExtraError
from mrcdist.extras import import_optional, install_command
from mrcdist.warning_notes import Note

CHUNK_HEADER_BYTES = 16
LARGEST_SECTION = 2**31 - 1 - CHUNK_HEADER_BYTES
"""Largest size of a section in bytes."""

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
        """Whether the bytes are stored uncompressed, on request or because that is shorter."""
        return bool(self.flags & 2)

    @property
    def stream(self) -> str:
        """Name of the stream format: "lz4" also for lz4hc, "other" for those of blosc2."""
        number = self.flags >> 5
        return _STREAMS[number] if number < len(_STREAMS) else "other"


@dataclass(frozen=True)
class SectionTable:
    """Byte ranges of the chunks.

    Section ``i`` is at bytes ``offsets[i]`` to ``offsets[i + 1]`` of the file.
    """

    offsets: tuple[int, ...]
    notes: tuple[Note, ...] = ()

    @property
    def sections(self) -> int:
        """Number of sections."""
        return len(self.offsets) - 1

    def byte_range(self, first: int, stop: int) -> tuple[int, int]:
        """Return the byte range of sections `first` to ``stop - 1``."""
        return self.offsets[first], self.offsets[stop]


def follow_sections(
    read: Callable[[int, int], bytes],
    *,
    start: int,
    sections: int,
    section_nbytes: int,
    file_size: int,
    window: int = 0,
    at_most: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> SectionTable:
    """Follow the chunk headers from the first section, at `start`, to the last complete one.

    `read` returns a byte range. It is called for windows of `window` bytes, or of one chunk header
    if that is longer, each of which begins with a chunk header; the rest of a chunk that extends
    beyond its window is not read. `advance` is called with the number of sections in each window.
    After NZ `sections`, further valid ones are followed, up to a total of `at_most`. There are
    fewer if the file ends early. `FormatError` is raised for an invalid header, and for a chunk
    whose size is not that of a section.
    """
    offsets, limit = [start], max(sections, at_most)
    content, content_start, counted = b"", start, 0
    while (number := len(offsets) - 1) < limit:
        at = offsets[-1]
        if at + CHUNK_HEADER_BYTES > file_size:
            break
        if at + CHUNK_HEADER_BYTES > content_start + len(content):
            advance(number - counted)
            counted, content_start = number, at
            content = read(at, min(at + max(window, CHUNK_HEADER_BYTES), file_size))
        place = f"section {number} of {sections}, at byte {at}"
        raw = content[at - content_start :][:CHUNK_HEADER_BYTES]
        try:
            header = parse_chunk_header(raw, place, section_nbytes)
        except FormatError:
            if number < sections:
                raise
            break  # the sections are followed by other data
        if at + header.ctbytes > file_size:
            break
        offsets.append(at + header.ctbytes)
    advance(number - counted)
    notes: tuple[Note, ...] = ()
    if number >= sections and (excess := file_size - offsets[-1]) > 0:
        notes = (Note("bytes-after-frames", f"{excess} bytes after the last section are ignored"),)
    return SectionTable(tuple(offsets), notes)


def decode_section(raw: bytes, section_nbytes: int) -> bytearray:
    """Decompress one section, exactly one chunk, to its stored pixels.

    `FormatError` is raised if it is damaged or has another size, before that size is allocated;
    `MissingExtraError` without a library that reads it.
    """
    header = parse_chunk_header(raw, "the section", section_nbytes)
    if len(raw) != header.ctbytes:
        raise FormatError(
            f"{len(raw)} bytes were read for a compressed section of {header.ctbytes}",
            code="mrcz-section-damaged",
            cause="the file is truncated, or changed after reading was planned",
            remedy="open the file again; if the error persists, copy the file again",
        )
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
    if len(pixels) != section_nbytes:
        raise FormatError(
            f"the compressed section contained {len(pixels)} bytes instead of {section_nbytes}",
            code="mrcz-section-damaged",
            cause="the chunk is damaged",
            remedy="copy the file again",
        )
    return pixels


def parse_chunk_header(raw: bytes, place: str, section_nbytes: int | None = None) -> BloscHeader:
    """Parse the first 16 bytes of a chunk at a place that an error names.

    Layout, always little-endian: version, stream version, flags, typesize (u1 each), nbytes,
    blocksize, ctbytes (i4 each). `FormatError` is raised if the header is invalid, or if the chunk
    does not contain `section_nbytes`.
    """

    def invalid(reason: str) -> FormatError:
        content = raw[:CHUNK_HEADER_BYTES].hex(" ") or "no bytes"
        return FormatError(
            f"{place}: not a readable blosc chunk: {reason}; found {content}",
            code="blosc-chunk-invalid",
            cause="the file is damaged, or NSYMBT or MODE is wrong",
            remedy="copy the file again, or write it again with mrcz",
        )

    if len(raw) < CHUNK_HEADER_BYTES:
        raise invalid(f"{len(raw)} bytes are too few")
    version, _, flags, typesize, nbytes, blocksize, ctbytes = struct.unpack_from("<4B3i", raw)
    header = BloscHeader(version, flags, typesize, nbytes, blocksize, ctbytes)
    if version not in _LIBRARIES:
        raise invalid(f"version {version} is not 2 or 5")
    if nbytes < 0:
        raise invalid(f"{nbytes} decompressed bytes")
    if ctbytes < CHUNK_HEADER_BYTES:
        raise invalid(f"a chunk of {ctbytes} bytes, less than its header")
    if typesize == 0 or (nbytes > 0 and not 0 < blocksize <= nbytes):
        raise invalid(f"typesize {typesize}, blocksize {blocksize} of {nbytes} bytes")
    # The header of blosc2 is longer and has more flags, which its library checks.
    if version == 2 and header.stored and ctbytes != nbytes + CHUNK_HEADER_BYTES:
        raise invalid(f"{nbytes} bytes stored uncompressed in a chunk of {ctbytes}")
    if version == 2 and header.stream == "other":
        raise invalid(f"stream format {flags >> 5} is unknown")
    if section_nbytes not in (None, nbytes):
        raise FormatError(
            f"{place}: the chunk contains {nbytes} bytes, "
            f"but a section of this file has {section_nbytes}",
            code="mrcz-section-damaged",
            cause="NX, NY or MODE of the main header is damaged, or the header of the chunk",
            remedy="copy the file again, or write it again with mrcz",
        )
    return header


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
            cause="builds of the package support different codecs",
            remedy="choose another codec, such as zstd",
        )


def _first_installed(*names: str) -> Any:
    for name in names:
        with suppress(MissingExtraError):
            return _library(name)
    return _library(names[0])  # raises


@cache
def _library(name: str) -> Any:
    """Import a library, once per process, to use one thread and release the GIL.

    The tasks of a worker already run in parallel.
    """
    purpose = "it compresses and decompresses the sections of MRCZ files"
    library = import_optional(name, purpose, f"{_INSTALL[name]}, on every worker")
    library.set_releasegil(True)
    library.set_nthreads(1)
    return library
