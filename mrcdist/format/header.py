"""The 1024-byte main header: byte order, shape, mode, calibration.

Layout after MRC2014 (Cheng et al., J. Struct. Biol. 192, 2015, 146-150).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mrcdist.errors import FormatError
from mrcdist.format.byte_order import ByteOrder, choose_order
from mrcdist.format.header_words import header_words
from mrcdist.format.modes import KNOWN_MODES, MRCZ_MODES, Packing, find_packing, pixel_bytes
from mrcdist.warning_notes import Note

Triple = tuple[int, int, int]
FloatTriple = tuple[float, float, float]

HEADER_BYTES = 1024
IMOD_STAMP = 1146047817
# ISPG of a stack of volumes of MZ sections each (MRC2014).
VOLUME_STACKS = range(401, 631)
MRC2014_VERSIONS = (20140, 20141)
MRC2014_EXTENDED = (b"CCP4", b"MRCO", b"SERI", b"AGAR", b"FEI1", b"FEI2", b"HDF5")
# Words that are taken as they are, along three axes or alone.
_TRIPLES = ("start", "intervals", "cell", "axis_order", "stored_origin")
_INTEGERS = ("nx", "ny", "nz", "mode", "ispg", "nsymbt", "nversion", "nint", "nreal")


@dataclass(frozen=True)
class Header:
    """The fields of a main header as Python numbers."""

    raw: bytes  # the 1024 bytes themselves
    byteorder: ByteOrder  # of header and data alike
    nx: int  # columns, rows and sections, as stored (column is the fastest)
    ny: int
    nz: int
    mode: int  # pixel type, see `KNOWN_MODES`; MRCZ's are ``1000 * codec + mode``
    ispg: int  # space group
    nsymbt: int  # bytes of extended header
    nversion: int
    nint: int  # IMOD's and Agard's description of the extended header's records
    nreal: int
    exttyp: str  # kind of extended header, "" where unsaid
    start: Triple  # NXSTART, NYSTART, NZSTART in voxels, along columns, rows and sections
    # MX, MY, MZ: sampling along the cell's X, Y and Z; of the mrcz package's files, which leave
    # them 0, the number of pixels.
    intervals: Triple
    cell: FloatTriple  # CELLA: cell edges X, Y, Z in Å
    # MAPC, MAPR, MAPS: which of X (1), Y (2), Z (3) columns, rows and sections are. (1, 2, 3) where
    # the file's are no permutation.
    axis_order: Triple
    # DMIN, DMAX; None where the file marks them as undefined (DMAX < DMIN) or has only zeros.
    extremes: tuple[float, float] | None
    imod_flags: int | None  # None without IMOD's stamp
    stored_origin: FloatTriple  # ORIGIN x, y, z as the file has it
    # Whether bytes 208 to 219 are the origin, as before the word MAP was introduced: there is then
    # no machine stamp and no RMS.
    before_2000: bool
    labels: tuple[str, ...]  # those in use
    # What says that mode 0 holds two pixels a byte; the true nx is then 2 NX.
    packing: Packing | None = None
    missing_bytes: int = 0  # negative if the file has more than announced, 0 if that is unknown
    notes: tuple[str, ...] = ()  # what is odd about the header although it can be read

    @property
    def depth(self) -> int:
        """MZ as the file has it: the sections of each volume of a stack."""
        return int(header_words(self.raw, self.byteorder)["mz"])

    @property
    def data_offset(self) -> int:
        """Byte at which the data begin: 1024 + NSYMBT."""
        return HEADER_BYTES + self.nsymbt

    @property
    def codec(self) -> int | None:
        """MRCZ's compression, 1 (blosclz) to 6 (zstd); None for a plain file."""
        return self.mode // 1000 or None

    @property
    def data_bytes(self) -> int | None:
        """Bytes of data that the header announces; None for MRCZ, whose sections are compressed."""
        if self.codec is not None:
            return None
        return pixel_bytes(self.nx, self.ny, self.nz, self.mode)

    @property
    def origin(self) -> FloatTriple:
        """ORIGIN x, y, z in Å with MRC2014's sign."""
        if standard_origin(self.imod_flags, self.nversion):
            return self.stored_origin
        x, y, z = self.stored_origin
        return -x, -y, -z

    @property
    def by_mrcz(self) -> bool:
        """Whether the mrcz package wrote it, compressed or plain."""
        label = any(label.startswith("MRCZ") for label in self.labels[:1])
        return self.codec is not None or self.exttyp == "json" or label

    @property
    def has_map(self) -> bool:
        """Whether the word MAP is there."""
        return self.raw[208:211] == b"MAP"

    def axis_of(self, stored: int) -> int:
        """Cell axis (0 X, 1 Y, 2 Z) of a stored axis (0 column, 1 row, 2 section)."""
        return self.axis_order[stored] - 1

    def pixel_size(self, stored: int) -> float | None:
        """Pixel size in Å along a stored axis: cell edge / intervals; None if either is not > 0."""
        axis = self.axis_of(stored)
        edge, count = self.cell[axis], self.intervals[axis]
        size = edge / count if count > 0 and edge > 0 else None
        return size if size is not None and np.isfinite(size) else None

    def offset(self, stored: int) -> float:
        """Position in Å of the first pixel along a stored axis.

        ORIGIN or, if that is 0 or not finite, the start (NXSTART...) in pixels.
        """
        origin = self.origin[self.axis_of(stored)]
        if np.isfinite(origin) and origin != 0:
            return origin
        return self.start[stored] * (self.pixel_size(stored) or 0.0)


def parse_header(
    raw: bytes, *, file_size: int | None, endianness: ByteOrder | None = None
) -> Header:
    """Read the main header from a file's first 1024 bytes.

    `file_size` is None where it is unknown, as behind a decompressor. `endianness` is the caller's
    word, which decides only where the file does not. `FormatError` is raised if these are not the
    first bytes of an MRC file, or its mode is unknown.
    """
    if len(raw) < HEADER_BYTES:
        raise FormatError(
            f"not an MRC file: {len(raw)} bytes are too few for the 1024-byte header; "
            f"{_found(raw)}",
            code="not-mrc",
            cause="the file is empty or was cut short, or this is another kind of file",
            remedy="check the path, and that the copy or the acquisition has finished",
        )
    raw = raw[:HEADER_BYTES]
    byteorder, found = choose_order(raw, file_size, endianness)
    header = _read_fields(raw, byteorder)
    _require_shape(header)
    missing = _missing_bytes(header, file_size)
    order = header.axis_order
    if sorted(order) != [1, 2, 3]:
        if any(order):  # older programs leave zeros, and all mean 1, 2, 3
            text = f"MAPC, MAPR, MAPS are {order}, no permutation of 1, 2, 3: read as 1, 2, 3"
            found.append(Note("axis-order-invalid", text))
        header = replace(header, axis_order=(1, 2, 3))
    packing, doubt = find_packing(
        header.nx, header.ny, header.mode, header.imod_flags, header.labels
    )
    notes = tuple(note for note in (*found, _note_on_map(header), doubt) if note)
    header = replace(
        header,
        intervals=_intervals(header),
        packing=packing,
        missing_bytes=missing,
        notes=notes,
    )
    if missing != header.nsymbt:  # else either the extended header is missing, or as much of data
        require_map(header)
    return header


def _read_fields(raw: bytes, byteorder: ByteOrder) -> Header:
    """The words as they stand, whatever they are."""
    words = header_words(raw, byteorder)
    fields: dict[str, Any] = {name: tuple(words[name].tolist()) for name in _TRIPLES}
    fields |= {name: int(words[name]) for name in _INTEGERS}
    before_2000 = _before_2000(raw, words)
    if before_2000:
        fields["stored_origin"] = _old_origin(words)
    labels = words["label"][: min(max(int(words["nlabl"]), 0), 10)]
    return Header(
        raw,
        byteorder,
        **fields,
        exttyp=raw[104:108].decode("latin-1").strip("\0 ") if raw[104:108].isascii() else "",
        extremes=_extremes(words),
        imod_flags=int(words["imod_flags"]) if words["imod_stamp"] == IMOD_STAMP else None,
        before_2000=before_2000,
        labels=tuple(decode_text(bytes(label)) for label in labels),
    )


def _intervals(header: Header) -> Triple:
    """MX, MY, MZ, or the number of pixels where the mrcz package has left them 0."""
    if header.intervals[:2] != (0, 0) or not header.by_mrcz:
        return header.intervals
    sizes = dict(zip(header.axis_order, (header.nx, header.ny, header.nz), strict=True))
    stack = header.ispg in VOLUME_STACKS and header.axis_order[2] == 3
    return sizes[1], sizes[2], (stack and header.intervals[2]) or sizes[3]


def decode_text(raw: bytes) -> str:
    """Text of a fixed-width field: UTF-8 if it is, else latin-1; padding removed."""
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode("utf-8").rstrip()
    except UnicodeDecodeError:
        return raw.decode("latin-1").rstrip()


def _note_on_map(header: Header) -> Note | None:
    """Say that the word MAP is not there, and what that means."""
    if header.has_map:
        return None
    if header.before_2000:
        text = (
            "the header lacks the word MAP, as before 2000: bytes 208 to 219 are read as its "
            "origin, whose sign and unit differ between programs"
        )
        return Note("header-before-2000", text)
    text = f"the header lacks the word MAP at byte 208 ({header.raw[208:212]!r})"
    return Note("map-missing", f"{text}; the rest of it is sound")


def _missing_bytes(header: Header, file_size: int | None) -> int:
    """Compare the file's size with what the header announces."""
    if file_size is None or header.data_bytes is None:
        return 0
    missing = header.data_offset + header.data_bytes - file_size
    if missing != header.nsymbt and header.data_offset > file_size:
        raise FormatError(
            f"NSYMBT = {header.nsymbt} bytes of extended header in a file of {file_size} bytes; "
            f"{_found(header.raw)}",
            code="extended-header-too-long",
            cause="the file was cut short inside its header, or NSYMBT is damaged",
            remedy="copy the file again, or restore its header",
        )
    return missing


def standard_origin(imod_flags: int | None, nversion: int) -> bool:
    """Whether ORIGIN has MRC2014's sign.

    IMOD's files had the opposite one until its flag 4, or NVERSION, said otherwise.
    """
    return imod_flags is None or bool(imod_flags & 4) or nversion in MRC2014_VERSIONS


def require_map(header: Header) -> None:
    """Refuse a header without the word MAP if the file is too short for its pixels."""
    if header.has_map or header.missing_bytes <= 0:
        return
    raise FormatError(
        f"not an MRC file: no word MAP at byte 208, and {header.nx} x {header.ny} x {header.nz} "
        f"pixels of mode {header.mode} do not fit in the file: {header.missing_bytes} bytes are "
        f"missing; {_found(header.raw)}",
        code="not-mrc",
        cause="this is another kind of file, or a truncated one whose header is also damaged",
        remedy="check the path, and copy the file again",
    )


def _require_shape(header: Header) -> None:
    """Raise `FormatError` if a file of these sizes or this mode cannot be read."""
    mode, found = header.mode, _found(header.raw)
    if header.nx <= 0 or header.ny <= 0 or header.nz < 0 or header.nsymbt < 0:
        named = f"NX, NY, NZ = {header.nx}, {header.ny}, {header.nz} and NSYMBT = {header.nsymbt}"
        raise FormatError(
            f"not an MRC file that can be read: {named}; {found}",
            code="header-sizes-invalid",
            cause="sizes must be positive; this is another kind of file, or its header was "
            "overwritten",
            remedy="check the path; if the file is an MRC file, restore its header from a copy",
        )
    if mode in KNOWN_MODES or mode in MRCZ_MODES:
        return
    if not header.has_map:
        raise FormatError(
            f"not an MRC file: no word MAP at byte 208 and MODE = {mode}; {found}",
            code="not-mrc",
            cause="this is another kind of file",
            remedy="check the path",
        )
    known = ", ".join(f"{number} ({what})" for number, what in KNOWN_MODES.items())
    raise FormatError(
        f"MODE = {mode} is not a known mode; {found}",
        code="mode-unknown",
        cause="the program that wrote the file uses a non-standard mode, or the header is damaged",
        remedy=f"the known modes are {known}",
    )


def _found(raw: bytes) -> str:
    """The bytes that were found, for error messages."""
    if not raw:
        return "the file is empty"
    start = raw[:16]
    shown = f"it begins with {start.hex(' ')} ({start!r})"
    return f"{shown}; bytes 208-215 are {raw[208:216]!r}" if len(raw) >= 216 else shown


def _extremes(words: Any) -> tuple[float, float] | None:
    """DMIN and DMAX, whatever DMEAN and RMS are: each is undefined by a mark of its own."""
    dmin, dmax = float(words["dmin"]), float(words["dmax"])
    defined = np.isfinite(dmin) and np.isfinite(dmax) and dmin <= dmax
    # Programs that never compute statistics leave zeros.
    return (dmin, dmax) if defined and (dmin, dmax) != (0.0, 0.0) else None


def _before_2000(raw: bytes, words: Any) -> bool:
    """Whether a header without the word MAP is an old one, not a newer one that lacks the word."""
    newer = (
        raw[208:211] == b"MAP"
        or int(words["nversion"]) in MRC2014_VERSIONS
        or raw[104:108] in MRC2014_EXTENDED
        or raw[212:216] == b"\x44\x44\x44\x44"  # a stamp; other ones make no lengths
        or any(map(_is_length, words["stored_origin"].tolist()))
    )
    old = _old_origin(words)
    # RMS of -1 is MRC2014's mark for one that was not computed.
    if newer or old == (0.0, -1.0, 0.0):
        return False
    return any(map(_is_length, old)) and all(length == 0 or _is_length(length) for length in old)


def _old_origin(words: Any) -> FloatTriple:
    z, x, y = words["origin_before_2000"].tolist()
    return x, y, z


def _is_length(number: float) -> bool:
    """Whether it can be a length in Å; bytes that mean something else make other floats."""
    return 1e-6 < abs(number) < 1e9
