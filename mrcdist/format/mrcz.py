"""MRCZ: an MRC file whose sections are blosc chunks, one a section, back to back.

MODE is ``1000 * codec + mode``, the chunks begin where the data of a plain file would, and nothing
but the chunks' own headers says where each of them is. So the headers are followed once, when
reading is planned (`SectionWalk`), and every section can then be fetched and decompressed alone.

Sources: MRCZ after McLeod et al., J. Struct. Biol. 201 (2018) 252-257, and the files that the mrcz
package writes; chunk headers after c-blosc's README_CHUNK_FORMAT and c-blosc2's.
"""

from __future__ import annotations

import importlib
import math
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError, FormatError, MissingExtraError, TruncatedFileError

__all__ = [
    "CHUNK_HEADER_BYTES",
    "MAX_CHUNK_BYTES",
    "BloscHeader",
    "SectionTable",
    "SectionWalk",
    "decode_section",
    "parse_chunk_header",
    "split_mode",
]

CHUNK_HEADER_BYTES = 16
MAX_CHUNK_BYTES = 2**31 - 1  # sizes in a chunk header are signed 32-bit integers

_CODECS = {1: "blosclz", 2: "lz4", 3: "lz4hc", 4: "snappy", 5: "zlib", 6: "zstd"}
# The stream format inside a chunk, bits 5-7 of its flags; lz4hc writes lz4's.
_STREAMS = ("blosclz", "lz4", "snappy", "zlib", "zstd")
# Chunk format version -> the packages that can read it, the one to ask for first.
_LIBRARIES = {2: ("blosc", "blosc2"), 5: ("blosc2",)}
_INSTALL = {"blosc": "pip install mrcdist[mrcz]", "blosc2": "pip install blosc2"}


@dataclass(frozen=True)
class BloscHeader:
    """The first 16 bytes of a blosc chunk.

    Attributes
    ----------
    version : int
        Chunk format: 2 for blosc, 5 for blosc2.
    flags : int
        Bit 1: the bytes are stored as they are; bits 5-7: the stream format.
    typesize : int
        Bytes of the item that was shuffled. It need not be the pixel's size: mrcz gives the size
        before the pixels were cast.
    nbytes : int
        Bytes when decompressed.
    blocksize : int
        Bytes of the blocks that the codec saw one at a time.
    ctbytes : int
        Bytes of the whole chunk, its header included: the next chunk begins there.
    """

    version: int
    flags: int
    typesize: int
    nbytes: int
    blocksize: int
    ctbytes: int

    @property
    def stored(self) -> bool:
        """Whether the bytes are only copied, because compression was off or did not help."""
        return bool(self.flags & 2)

    @property
    def stream(self) -> str:
        """Name of the stream format; "lz4" also for lz4hc, "other" for blosc2's own."""
        number = self.flags >> 5
        return _STREAMS[number] if number < len(_STREAMS) else "other"


@dataclass(frozen=True)
class SectionTable:
    """Where each section's chunk is.

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
        """How many sections there are."""
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
    """

    def __init__(self, *, start: int, sections: int, section_nbytes: int, file_size: int) -> None:
        self._offsets = [start]
        self._sections = sections
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
                cause="the read was short, or of another place",
                remedy="read the wanted bytes again",
            )
        while (span := self.wanted) is not None and span[1] <= end:
            self._take(window[span[0] - at : span[1] - at], span[0])

    def table(self, *, allow_truncated: bool = False) -> SectionTable:
        """Return the table, once `wanted` is None.

        Parameters
        ----------
        allow_truncated : bool, default False
            Whether a file that ends early gives the sections that are whole, with a note.

        Returns
        -------
        SectionTable

        Raises
        ------
        TruncatedFileError
            The file ends before its last section does.
        ArgumentError
            The walk is not over.
        """
        if self.wanted is not None:
            raise ArgumentError(
                f"the walk stands at section {self.done} of {self._sections}",
                remedy="feed it until nothing is wanted",
            )
        end, missing = self._offsets[-1], self._sections - self.done
        if missing and not allow_truncated:
            raise TruncatedFileError(
                f"the header announces {self._sections} compressed sections, the file's "
                f"{self._file_size} bytes hold {self.done} whole ones",
                cause="the file was cut short, or is still being written or copied",
                remedy="copy it again; allow_truncated=True loads the sections that are there",
            )
        notes: tuple[str, ...] = ()
        if missing:
            notes = (f"{missing} of {self._sections} compressed sections are missing at the end",)
        elif end < self._file_size:
            notes = (f"{self._file_size - end} bytes after the last section are ignored",)
        return SectionTable(tuple(self._offsets), notes)

    def _take(self, raw: bytes, at: int) -> None:
        place = f"section {self.done} of {self._sections}, at byte {at}"
        header = _header_of_section(raw, self._section_nbytes, place)
        if at + header.ctbytes > self._file_size:
            self._cut_short = True
        else:
            self._offsets.append(at + header.ctbytes)


def split_mode(mode: int) -> tuple[int, str | None]:
    """Split MODE into the pixels' mode and the codec.

    Parameters
    ----------
    mode : int
        MODE as the header has it, such as 2002.

    Returns
    -------
    mode : int
        The pixels' mode, such as 2.
    codec : str or None
        "blosclz", "lz4", "lz4hc", "snappy", "zlib" or "zstd"; None if the file is not compressed.
        It is what the file claims: mrcz before 0.6 wrote lz4hc as lz4. Each chunk's header decides.

    Raises
    ------
    FormatError
        There is no such codec.
    """
    if mode < 1000:
        return mode, None
    number, pixels = divmod(mode, 1000)
    if number in _CODECS:
        return pixels, _CODECS[number]
    known = ", ".join(f"{number} ({name})" for number, name in _CODECS.items())
    raise FormatError(
        f"MODE = {mode} names compression {number}, which cannot be read",
        cause="codecs above 6 are blosc2's own, or the header is damaged",
        remedy=f"write the file again with one of {known}",
    )


def parse_chunk_header(raw: bytes, *, limit: int = MAX_CHUNK_BYTES) -> BloscHeader:
    """Read and check a chunk's header.

    Layout, little-endian whatever the file's byte order: version, stream version, flags, typesize
    (u1 each), nbytes, blocksize, ctbytes (i4 each).

    Parameters
    ----------
    raw : bytes
        The chunk's first 16 bytes; more are not looked at.
    limit : int, default 2**31 - 1
        The most bytes that the chunk may claim to hold.

    Returns
    -------
    BloscHeader

    Raises
    ------
    FormatError
        The bytes are not the header of a chunk, or of a kind that cannot be read.
    """
    if len(raw) < CHUNK_HEADER_BYTES:
        raise _not_a_chunk(raw, f"{len(raw)} bytes are too few")
    version, _, flags, typesize, nbytes, blocksize, ctbytes = struct.unpack_from("<4B3i", raw)
    header = BloscHeader(version, flags, typesize, nbytes, blocksize, ctbytes)
    if version not in _LIBRARIES:
        raise _not_a_chunk(raw, f"version {version} is none of {', '.join(map(str, _LIBRARIES))}")
    if not 0 <= nbytes <= limit:
        raise _not_a_chunk(raw, f"{nbytes} decompressed bytes, of 0 to {limit} possible")
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

    Notes
    -----
    The first call in a process makes blosc release the GIL and use one thread a call: a worker's
    tasks are what runs in parallel, and a pool of threads for each would only get in their way.
    """
    dtype = np.dtype(dtype)
    expected = math.prod(shape) * dtype.itemsize
    header = _header_of_section(raw, expected, "the section")
    if len(raw) != header.ctbytes:
        raise FormatError(
            f"{len(raw)} bytes were read for a compressed section of {header.ctbytes}",
            cause="the file is cut short, or changed after reading was planned",
            remedy="open the file again; if it persists, copy the file again",
        )
    pixels = _decompress(raw, header)
    if len(pixels) != expected:
        raise FormatError(
            f"the compressed section held {len(pixels)} bytes, {expected} were announced",
            cause="the chunk is damaged",
            remedy="copy the file again",
        )
    return np.ndarray(shape, dtype, buffer=pixels)


def _header_of_section(raw: bytes, section_nbytes: int, place: str) -> BloscHeader:
    try:
        header = parse_chunk_header(raw)
    except FormatError as error:
        raise FormatError(
            f"{place}: {error.problem}", cause=error.cause, remedy=error.remedy
        ) from None
    if header.nbytes != section_nbytes:
        raise FormatError(
            f"{place}: the chunk holds {header.nbytes} bytes, "
            f"a section of this file has {section_nbytes}",
            cause="the main header's NX, NY or MODE is damaged, or the chunk's header is",
            remedy="copy the file again, or write it again with mrcz",
        )
    return header


def _not_a_chunk(raw: bytes, why: str) -> FormatError:
    found = raw[:CHUNK_HEADER_BYTES].hex(" ") or "no bytes"
    return FormatError(
        f"no blosc chunk that can be read: {why}; found {found}",
        cause="the file is damaged, NSYMBT is wrong, or it is not MRCZ although its MODE says so",
        remedy="copy the file again, or write it again with mrcz",
    )


def _decompress(raw: bytes, header: BloscHeader) -> bytearray:
    library = _first_installed(_LIBRARIES[header.version])
    try:
        pixels: bytearray = library.decompress(raw, as_bytearray=True)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (each library has its own class, blosc's not public)
        absent = header.stream == "snappy"
        raise FormatError(
            f"the compressed section ({header.stream}) cannot be decompressed: {error}",
            cause=f"the installed {library.__name__} has no snappy" if absent else "it is damaged",
            remedy="write the file again with zstd" if absent else "copy the file again",
        ) from None
    return pixels


def _first_installed(names: tuple[str, ...]) -> Any:
    for name in names:
        try:
            return _library(name)
        except ImportError:
            continue
    raise MissingExtraError(
        f"MRCZ sections of this kind need the package {names[0]}, which is not installed here",
        cause="decompression is optional",
        remedy=f"{_INSTALL[names[0]]}, on every worker",
    )


@cache
def _library(name: str) -> Any:
    library = importlib.import_module(name)
    library.set_releasegil(True)
    library.set_nthreads(1)
    return library
