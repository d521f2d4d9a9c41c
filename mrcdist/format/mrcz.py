"""MRCZ: an MRC file whose sections are blosc chunks, one a section, back to back.

MODE is ``1000 * codec + mode``, the chunks begin where the data of a plain file would, and nothing
but the chunks' own headers says where each of them is. So the headers are followed once, when
reading is planned (`SectionWalk`), and every section can then be fetched and decompressed alone.

Sources: MRCZ after McLeod et al., J. Struct. Biol. 201 (2018) 252-257, and the files that the mrcz
package writes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError, FormatError
from mrcdist.format.blosc import (
    CHUNK_HEADER_BYTES,
    BloscHeader,
    decompress,
    parse_chunk_header,
)
from mrcdist.warning_notes import Note

__all__ = [
    "LARGEST_SECTION",
    "SectionTable",
    "SectionWalk",
    "decode_section",
]

LARGEST_SECTION = 2**31 - 1 - CHUNK_HEADER_BYTES
"""Bytes that a section may have."""


@dataclass(frozen=True)
class SectionTable:
    """Byte ranges of the sections' chunks.

    Attributes
    ----------
    offsets : tuple of int
        ``sections + 1`` bytes of the file: section ``i`` is ``offsets[i]`` to ``offsets[i + 1]``,
        so a run of sections is one range.
    notes : tuple of str
        What is odd although the sections can be read.
    """

    offsets: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def sections(self) -> int:
        """Number of sections."""
        return len(self.offsets) - 1

    def byte_range(self, first: int, stop: int) -> tuple[int, int]:
        """First byte, and the byte after the last, of sections `first` to ``stop - 1``."""
        return self.offsets[first], self.offsets[stop]


class SectionWalk:
    """Follows the chunk headers from the first section to the last.

    Each header gives the place of the next, so the caller reads what `wanted` says, or a larger
    window that begins there, and hands it to `feed`, until `wanted` is None::

        while (span := walk.wanted) is not None:
            walk.feed(read(*span), at=span[0])
        table = walk.table()

    Parameters
    ----------
    start : int
        Byte at which the data begin: 1024 + NSYMBT.
    sections : int
        NZ, at least 0.
    section_nbytes : int
        Bytes of a decompressed section. A header that says otherwise is an error at once.
    file_size : int
        Bytes of the whole file.
    at_most : int, optional
        Go on behind NZ sections up to so many, as long as they are sections. Default: `sections`.
    """

    def __init__(
        self,
        *,
        start: int,
        sections: int,
        section_nbytes: int,
        file_size: int,
        at_most: int | None = None,
    ) -> None:
        self._offsets = [start]
        self._announced = sections
        self._sections = max(sections, at_most or 0)
        self._section_nbytes = section_nbytes
        self._file_size = file_size
        self._cut_short = False

    @property
    def done(self) -> int:
        """Sections found so far."""
        return len(self._offsets) - 1

    @property
    def wanted(self) -> tuple[int, int] | None:
        """The bytes (first, stop) of the next header; None at the end of the sections or file."""
        at = self._offsets[-1]
        over = self._cut_short or self.done >= self._sections
        if over or at + CHUNK_HEADER_BYTES > self._file_size:
            return None
        return at, at + CHUNK_HEADER_BYTES

    def feed(self, window: bytes, *, at: int) -> None:
        """Take every header that lies in a window of the file.

        Parameters
        ----------
        window : bytes
            Bytes of the file; `wanted` must lie in them.
        at : int
            The window's place in the file.

        Raises
        ------
        FormatError
            A header is not a chunk's, or its chunk is not a section of this file.
        ArgumentError
            The window does not hold what was wanted.
        """
        end = at + len(window)
        if (span := self.wanted) is not None and not (at <= span[0] and span[1] <= end):
            raise ArgumentError(
                f"bytes {at} to {end} were given where bytes {span[0]} to {span[1]} are wanted",
                code="mrcz-walk-invalid",
                cause="the read was short, or of another place",
                remedy="read the wanted bytes again",
            )
        while (span := self.wanted) is not None and span[1] <= end:
            self._take(window[span[0] - at : span[1] - at], span[0])

    def table(self) -> SectionTable:
        """Return the table of the sections that are whole, once `wanted` is None.

        Returns
        -------
        SectionTable
            With fewer sections than the header announces where the file ends early.

        Raises
        ------
        ArgumentError
            The walk is not over.
        """
        if self.wanted is not None:
            raise ArgumentError(
                f"the walk stands at section {self.done} of {self._sections}",
                code="mrcz-walk-invalid",
                remedy="feed it until nothing is wanted",
            )
        notes: tuple[str, ...] = ()
        if self.done == self._sections and (more := self._file_size - self._offsets[-1]) > 0:
            text = f"{more} bytes after the last section are ignored"
            notes = (Note("bytes-after-frames", text),)
        return SectionTable(tuple(self._offsets), notes)

    def _take(self, raw: bytes, at: int) -> None:
        place = f"section {self.done} of {self._announced}, at byte {at}"
        try:
            header = _header_of_section(raw, self._section_nbytes, place)
        except FormatError:
            if self.done < self._announced:
                raise
            self._sections = self.done  # what follows the sections is something else
            return
        if at + header.ctbytes > self._file_size:
            self._cut_short = True
        else:
            self._offsets.append(at + header.ctbytes)


def decode_section(raw: bytes, *, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Decompress one section.

    Parameters
    ----------
    raw : bytes
        The section's chunk, exactly.
    dtype : dtype
        Stored dtype, in the file's byte order. The chunk does not know it.
    shape : tuple of int
        Stored shape, (rows, columns) for plain modes.

    Returns
    -------
    ndarray, shape `shape`
        Writable, of `dtype`.

    Raises
    ------
    FormatError
        The chunk is damaged or does not hold `shape` pixels of `dtype`. Nothing is allocated for a
        header that claims so.
    MissingExtraError
        The library that reads the chunk is not installed.
    """
    dtype = np.dtype(dtype)
    expected = math.prod(shape) * dtype.itemsize
    header = _header_of_section(raw, expected, "the section")
    if len(raw) != header.ctbytes:
        raise FormatError(
            f"{len(raw)} bytes were read for a compressed section of {header.ctbytes}",
            code="mrcz-section-damaged",
            cause="the file is cut short, or changed after reading was planned",
            remedy="open the file again; if it persists, copy the file again",
        )
    pixels = decompress(raw, header)
    if len(pixels) != expected:
        raise FormatError(
            f"the compressed section held {len(pixels)} bytes, {expected} were announced",
            code="mrcz-section-damaged",
            cause="the chunk is damaged",
            remedy="copy the file again",
        )
    return np.ndarray(shape, dtype, buffer=pixels)


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
