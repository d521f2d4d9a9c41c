"""MRCZ: MRC files with each section compressed to one blosc chunk, one after the other.

MODE is ``1000 * codec + mode``, and the chunks begin where the data of an uncompressed file would.
Only the headers of the chunks contain their sizes, so they are followed once when reading is
planned. After that, every section can be fetched and decompressed independently.

Sources: McLeod et al., J. Struct. Biol. 201 (2018) 252-257, and the files that the mrcz package
writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mrcdist.errors import FormatError
from mrcdist.format.blosc import CHUNK_HEADER_BYTES, BloscHeader, decompress, parse_chunk_header
from mrcdist.warning_notes import Note

LARGEST_SECTION = 2**31 - 1 - CHUNK_HEADER_BYTES
"""Largest size of a section in bytes."""


@dataclass(frozen=True)
class SectionTable:
    """Byte ranges of the chunks.

    Section ``i`` is at bytes ``offsets[i]`` to ``offsets[i + 1]`` of the file.
    """

    offsets: tuple[int, ...]
    notes: tuple[str, ...] = ()

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

    `read` returns a byte range: windows of this size, or of one chunk header, that begin with a
    header. Chunks that extend beyond their window are skipped. `advance` is called with the number
    of sections in each window. After NZ `sections`, up to `at_most` are followed if they are valid.
    There are fewer if the file ends early. `FormatError` is raised for an invalid header, and for a
    chunk with another size than a section.
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
        raw = content[at - content_start :][:CHUNK_HEADER_BYTES]
        try:
            header = _section_header(
                raw, section_nbytes, f"section {number} of {sections}, at byte {at}"
            )
        except FormatError:
            if number < sections:
                raise
            limit = number  # the sections are followed by other data
            break
        if at + header.ctbytes > file_size:
            break
        offsets.append(at + header.ctbytes)
    advance(number - counted)
    notes: tuple[str, ...] = ()
    if number == limit and (excess := file_size - offsets[-1]) > 0:
        notes = (Note("bytes-after-frames", f"{excess} bytes after the last section are ignored"),)
    return SectionTable(tuple(offsets), notes)


def decode_section(raw: bytes, section_nbytes: int) -> bytearray:
    """Decompress one section, exactly one chunk, to its stored pixels.

    `FormatError` is raised if it is damaged or has another size, before that size is allocated;
    `MissingExtraError` if the library is not installed.
    """
    header = _section_header(raw, section_nbytes, "the section")
    if len(raw) != header.ctbytes:
        raise FormatError(
            f"{len(raw)} bytes were read for a compressed section of {header.ctbytes}",
            code="mrcz-section-damaged",
            cause="the file is truncated, or changed after reading was planned",
            remedy="open the file again; if the error persists, copy the file again",
        )
    pixels = decompress(raw, header)
    if len(pixels) != section_nbytes:
        raise FormatError(
            f"the compressed section contained {len(pixels)} bytes instead of {section_nbytes}",
            code="mrcz-section-damaged",
            cause="the chunk is damaged",
            remedy="copy the file again",
        )
    return pixels


def _section_header(raw: bytes, section_nbytes: int, place: str) -> BloscHeader:
    try:
        header = parse_chunk_header(raw)
    except FormatError as error:
        raise FormatError(
            f"{place}: {error.problem}", code=error.code, cause=error.cause, remedy=error.remedy
        ) from None
    if header.nbytes != section_nbytes:
        raise FormatError(
            f"{place}: the chunk contains {header.nbytes} bytes, "
            f"but a section of this file has {section_nbytes}",
            code="mrcz-section-damaged",
            cause="NX, NY or MODE of the main header is damaged, or the header of the chunk",
            remedy="copy the file again, or write it again with mrcz",
        )
    return header
