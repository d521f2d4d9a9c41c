"""MRCZ: an MRC file whose sections are blosc chunks, one a section, back to back.

MODE is ``1000 * codec + mode``, the chunks begin where the data of a plain file would, and nothing
but the chunks' own headers says where each of them is. So the headers are followed once, when
reading is planned, and every section can then be fetched and decompressed alone.

Sources: MRCZ after McLeod et al., J. Struct. Biol. 201 (2018) 252-257, and the files that the mrcz
package writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mrcdist.errors import FormatError
from mrcdist.format.blosc import CHUNK_HEADER_BYTES, BloscHeader, decompress, parse_chunk_header
from mrcdist.warning_notes import Note

LARGEST_SECTION = 2**31 - 1 - CHUNK_HEADER_BYTES
"""Bytes that a section may have."""


@dataclass(frozen=True)
class SectionTable:
    """Byte ranges of the sections' chunks.

    Section ``i`` is byte ``offsets[i]`` to ``offsets[i + 1]`` of the file, so a run of sections is
    one range.
    """

    offsets: tuple[int, ...]
    notes: tuple[str, ...] = ()  # what is odd although the sections can be read

    @property
    def sections(self) -> int:
        """Number of sections."""
        return len(self.offsets) - 1

    def byte_range(self, first: int, stop: int) -> tuple[int, int]:
        """First byte, and the byte after the last, of sections `first` to ``stop - 1``."""
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
    passed: Callable[[int], None] = lambda _: None,
) -> SectionTable:
    """Follow the chunk headers from the first section, at `start`, to the last that is whole.

    `read` returns the bytes from the first to the second position: windows of that many bytes, or
    of one chunk header, that begin with a header; what is larger is stepped over. `passed` is
    called with the number of sections in each. Behind NZ `sections`, up to `at_most` are followed
    as long as they are sections. There are fewer where the file ends early. `FormatError` is raised
    if a header is not a chunk's, or its chunk has not the bytes of a decompressed section.
    """
    offsets, most = [start], max(sections, at_most)
    held, begin, counted = b"", start, 0
    while (found := len(offsets) - 1) < most:
        at = offsets[-1]
        if at + CHUNK_HEADER_BYTES > file_size:
            break
        if at + CHUNK_HEADER_BYTES > begin + len(held):
            passed(found - counted)
            counted = found
            begin = at
            held = read(at, min(at + max(window, CHUNK_HEADER_BYTES), file_size))
        place = f"section {found} of {sections}, at byte {at}"
        raw = held[at - begin : at - begin + CHUNK_HEADER_BYTES]
        try:
            header = _header_of_section(raw, section_nbytes, place)
        except FormatError:
            if found < sections:
                raise
            most = found  # what follows the sections is something else
            break
        if at + header.ctbytes > file_size:
            break
        offsets.append(at + header.ctbytes)
    passed(found - counted)
    notes: tuple[str, ...] = ()
    if found >= sections and (more := file_size - offsets[-1]) > 0:
        notes = (Note("bytes-after-frames", f"{more} bytes after the last section are ignored"),)
    return SectionTable(tuple(offsets), notes)


def decode_section(raw: bytes, section_nbytes: int) -> bytearray:
    """Decompress one section, exactly one chunk, to its pixels as they are stored.

    `FormatError` is raised if it is damaged or does not hold so many bytes, and nothing is
    allocated for a header that claims so; `MissingExtraError` if the library is not installed.
    """
    header = _header_of_section(raw, section_nbytes, "the section")
    if len(raw) != header.ctbytes:
        raise FormatError(
            f"{len(raw)} bytes were read for a compressed section of {header.ctbytes}",
            code="mrcz-section-damaged",
            cause="the file is cut short, or changed after reading was planned",
            remedy="open the file again; if it persists, copy the file again",
        )
    pixels = decompress(raw, header)
    if len(pixels) != section_nbytes:
        raise FormatError(
            f"the compressed section held {len(pixels)} bytes, {section_nbytes} were announced",
            code="mrcz-section-damaged",
            cause="the chunk is damaged",
            remedy="copy the file again",
        )
    return pixels


def _header_of_section(raw: bytes, section_nbytes: int, place: str) -> BloscHeader:
    try:
        header = parse_chunk_header(raw)
    except FormatError as error:
        raise FormatError(
            f"{place}: {error.problem}", code=error.code, cause=error.cause, remedy=error.remedy
        ) from None
    if header.nbytes != section_nbytes:
        raise FormatError(
            f"{place}: the chunk holds {header.nbytes} bytes, "
            f"a section of this file has {section_nbytes}",
            code="mrcz-section-damaged",
            cause="the main header's NX, NY or MODE is damaged, or the chunk's header is",
            remedy="copy the file again, or write it again with mrcz",
        )
    return header
