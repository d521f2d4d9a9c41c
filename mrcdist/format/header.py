"""The 1024-byte main header: byte order, shape, mode, calibration.

The layout is that of MRC2014 (Cheng et al., J. Struct. Biol. 192, 2015, 146-150).
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
MRCZ_EXTTYP = "json"  # of the mrcz package
# Fields with the names and values of the words in the file.
_TRIPLES = ("start", "intervals", "cell", "axis_order", "stored_origin")
_INTEGERS = ("nx", "ny", "nz", "mode", "ispg", "nsymbt", "nversion", "nint", "nreal")


@dataclass(frozen=True)
class Header:
    """The fields of a main header as Python numbers."""

    raw: bytes  # the 1024 bytes
    byteorder: ByteOrder  # of header and data
    nx: int  # columns, rows and sections, as stored (columns are the fastest)
    ny: int
    nz: int
    mode: int  # pixel type, see `KNOWN_MODES`; MRCZ's are ``1000 * codec + mode``
    ispg: int  # space group
    nsymbt: int  # bytes of the extended header
    nversion: int
    nint: int  # with nreal, IMOD's and Agard's description of the records in the extended header
    nreal: int
    exttyp: str  # kind of the extended header, "" if not given
    start: Triple  # NXSTART, NYSTART, NZSTART in voxels, along columns, rows and sections
    # MX, MY, MZ: sampling along X, Y and Z of the cell. In files of the mrcz package, which leaves
    # them 0, the number of pixels.
    intervals: Triple
    cell: FloatTriple  # CELLA: cell edges X, Y, Z in Å
    # MAPC, MAPR, MAPS: X (1), Y (2) or Z (3) along columns, rows and sections. (1, 2, 3) if those
    # in the file are not a permutation.
    axis_order: Triple
    # DMIN, DMAX; None if the file marks them as undefined (DMAX < DMIN) or has only zeros.
    extremes: tuple[float, float] | None
    imod_flags: int | None  # None without IMOD's stamp
    stored_origin: FloatTriple  # ORIGIN x, y, z as in the file
    # Whether bytes 208 to 219 are the origin, as they were before the word MAP was introduced. Such
    # headers have no machine stamp and no RMS.
    before_2000: bool
    labels: tuple[str, ...]  # those in use
    # Evidence that mode 0 holds two pixels per byte, so that the true NX is twice that in the file.
    packing: Packing | None = None
    missing_bytes: int = 0  # negative if the file is longer than announced; 0 if unknown
    notes: tuple[Note, ...] = ()  # oddities that do not prevent reading

    @property
    def shape(self) -> Triple:
        """NX, NY, NZ: columns, rows, sections."""
        return self.nx, self.ny, self.nz

    @property
    def depth(self) -> int:
        """MZ as in the file: the sections of each volume in a stack of volumes."""
        return int(header_words(self.raw, self.byteorder)["mz"])

    @property
    def data_offset(self) -> int:
        """Byte at which the data begin: 1024 + NSYMBT."""
        return HEADER_BYTES + self.nsymbt

    @property
    def codec(self) -> int | None:
        """MRCZ's compression, 1 (blosclz) to 6 (zstd); None for an uncompressed file."""
        return self.mode // 1000 or None

    @property
    def data_bytes(self) -> int | None:
        """Bytes of data that the header announces; None for MRCZ, whose sections are compressed."""
        if self.codec is not None:
            return None
        return pixel_bytes(self.nx, self.ny, self.nz, self.mode)

    @property
    def origin(self) -> FloatTriple:
        """ORIGIN x, y, z in Å with MRC2014's sign.

        Files by IMOD have the opposite one unless its flag 4 or NVERSION declares the standard.
        """
        flags = 4 if self.imod_flags is None else self.imod_flags
        if flags & 4 or self.nversion in MRC2014_VERSIONS:
            return self.stored_origin
        x, y, z = self.stored_origin
        return -x, -y, -z

    @property
    def by_mrcz(self) -> bool:
        """Whether the file was written by the mrcz package, compressed or not."""
        labelled = any(label.startswith("MRCZ") for label in self.labels[:1])
        return labelled or self.codec is not None or self.exttyp == MRCZ_EXTTYP

    @property
    def has_map(self) -> bool:
        """Whether the header contains the word MAP."""
        return self.raw[208:211] == b"MAP"

    def axis_of(self, stored: int) -> int:
        """Return the cell axis (0 X, 1 Y, 2 Z) of a stored axis (0 column, 1 row, 2 section)."""
        return self.axis_order[stored] - 1

    def pixel_size(self, stored: int) -> float | None:
        """Return the pixel size in Å along a stored axis: cell edge / intervals.

        None unless both are positive.
        """
        axis = self.axis_of(stored)
        edge, count = self.cell[axis], self.intervals[axis]
        return edge / count if count > 0 and 0 < edge < np.inf else None

    def offset(self, stored: int) -> float:
        """Return the position in Å of the first pixel along a stored axis.

        ORIGIN, or the start (NXSTART...) in pixels if ORIGIN is 0 or not finite.
        """
        origin = self.origin[self.axis_of(stored)]
        if np.isfinite(origin) and origin != 0:
            return origin
        return self.start[stored] * (self.pixel_size(stored) or 0.0)


def parse_header(
    raw: bytes, *, file_size: int | None, endianness: ByteOrder | None = None
) -> Header:
    """Parse the main header from the first 1024 bytes of a file.

    `file_size` is None if unknown, as for compressed files. `endianness` is used only if the file
    does not determine its byte order. `FormatError` is raised if these are not the first bytes of
    an MRC file, or if its mode is unknown.
    """
    if len(raw) < HEADER_BYTES:
        raise FormatError(
            f"not an MRC file: {len(raw)} bytes are too few for the 1024-byte header; "
            f"{_first_bytes(raw)}",
            code="not-mrc",
            cause="the file is empty or truncated, or not an MRC file",
            remedy="check the path, and that the copy or the acquisition has finished",
        )
    raw = raw[:HEADER_BYTES]
    byteorder, notes = choose_order(raw, file_size, endianness)
    header = _read_fields(raw, byteorder)
    _require_readable(header)
    missing = _missing_bytes(header, file_size)
    order = header.axis_order
    if sorted(order) != [1, 2, 3]:
        if any(order):  # older programs leave zeros, which mean 1, 2, 3
            text = f"MAPC, MAPR, MAPS are {order}, not a permutation of 1, 2, 3: read as 1, 2, 3"
            notes.add(Note("axis-order-invalid", text))
        header = replace(header, axis_order=(1, 2, 3))
    packing, packing_note = find_packing(
        header.nx, header.ny, header.mode, header.imod_flags, header.labels
    )
    header = replace(
        header,
        intervals=_intervals(header),
        packing=packing,
        missing_bytes=missing,
        notes=tuple(note for note in (*notes, _note_on_map(header), packing_note) if note),
    )
    if missing != header.nsymbt:  # otherwise the extended header may be absent
        require_map(header)
    return header


def _read_fields(raw: bytes, byteorder: ByteOrder) -> Header:
    words = header_words(raw, byteorder)
    fields: dict[str, Any] = {name: tuple(words[name].tolist()) for name in _TRIPLES}
    fields |= {name: int(words[name]) for name in _INTEGERS}
    old_origin = _origin_before_2000(raw, words)
    if old_origin is not None:
        fields["stored_origin"] = old_origin
    # Each statistic has its own mark for "undefined". Programs that never compute them leave zeros.
    dmin, dmax = float(words["dmin"]), float(words["dmax"])
    defined = -np.inf < dmin <= dmax < np.inf and (dmin, dmax) != (0.0, 0.0)
    labels = words["label"][: min(max(int(words["nlabl"]), 0), 10)]
    return Header(
        raw,
        byteorder,
        **fields,
        exttyp=raw[104:108].decode("latin-1").strip("\0 ") if raw[104:108].isascii() else "",
        extremes=(dmin, dmax) if defined else None,
        imod_flags=int(words["imod_flags"]) if words["imod_stamp"] == IMOD_STAMP else None,
        before_2000=old_origin is not None,
        labels=tuple(decode_text(bytes(label)) for label in labels),
    )


def _intervals(header: Header) -> Triple:
    """Return MX, MY, MZ, or the number of pixels if the mrcz package has left them 0."""
    if header.intervals[:2] != (0, 0) or not header.by_mrcz:
        return header.intervals
    sizes = dict(zip(header.axis_order, (header.nx, header.ny, header.nz), strict=True))
    stack = header.ispg in VOLUME_STACKS and header.axis_order[2] == 3
    return sizes[1], sizes[2], (stack and header.intervals[2]) or sizes[3]


def decode_text(raw: bytes) -> str:
    """Decode a fixed-width field as UTF-8 or else latin-1, without padding."""
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode("utf-8").rstrip()
    except UnicodeDecodeError:
        return raw.decode("latin-1").rstrip()


def _note_on_map(header: Header) -> Note | None:
    if header.has_map:
        return None
    if header.before_2000:
        text = (
            "the header lacks the word MAP, as before 2000: bytes 208 to 219 are read as its "
            "origin, whose sign and unit differ between programs"
        )
        return Note("header-before-2000", text)
    text = f"the header lacks the word MAP at byte 208 ({header.raw[208:212]!r})"
    return Note("map-missing", f"{text}, but is otherwise valid")


def _missing_bytes(header: Header, file_size: int | None) -> int:
    if file_size is None or header.data_bytes is None:
        return 0
    missing = header.data_offset + header.data_bytes - file_size
    if missing != header.nsymbt and header.data_offset > file_size:
        raise FormatError(
            f"NSYMBT = {header.nsymbt} bytes of extended header in a file of {file_size} bytes; "
            f"{_first_bytes(header.raw)}",
            code="extended-header-too-long",
            cause="the file is truncated within its extended header, or NSYMBT is damaged",
            remedy="copy the file again, or restore its header",
        )
    return missing


def require_map(header: Header) -> None:
    """Raise `FormatError` if there is no word MAP and the file is too short for its pixels."""
    if header.has_map or header.missing_bytes <= 0:
        return
    raise FormatError(
        f"not an MRC file: no word MAP at byte 208, and {header.nx} x {header.ny} x {header.nz} "
        f"pixels of mode {header.mode} do not fit in the file: {header.missing_bytes} bytes are "
        f"missing; {_first_bytes(header.raw)}",
        code="not-mrc",
        cause="not an MRC file, or a truncated one whose header is also damaged",
        remedy="check the path, and copy the file again",
    )


def _require_readable(header: Header) -> None:
    """Raise `FormatError` if sizes or mode are invalid."""
    mode, first_bytes = header.mode, _first_bytes(header.raw)
    if header.nx <= 0 or header.ny <= 0 or header.nz < 0 or header.nsymbt < 0:
        sizes = f"NX, NY, NZ = {header.nx}, {header.ny}, {header.nz} and NSYMBT = {header.nsymbt}"
        raise FormatError(
            f"not an MRC file that can be read: {sizes}; {first_bytes}",
            code="header-sizes-invalid",
            cause="sizes must be positive: not an MRC file, or its header was overwritten",
            remedy="check the path; if the file is an MRC file, restore its header from a copy",
        )
    if mode in KNOWN_MODES or mode in MRCZ_MODES:
        return
    if not header.has_map:
        raise FormatError(
            f"not an MRC file: no word MAP at byte 208 and MODE = {mode}; {first_bytes}",
            code="not-mrc",
            cause="the file has another format",
            remedy="check the path",
        )
    known = ", ".join(f"{number} ({pixels})" for number, pixels in KNOWN_MODES.items())
    raise FormatError(
        f"MODE = {mode} is not a known mode; {first_bytes}",
        code="mode-unknown",
        cause="the program that wrote the file uses a non-standard mode, or the header is damaged",
        remedy=f"the known modes are {known}",
    )


def _first_bytes(raw: bytes) -> str:
    """Show the first bytes of a file in an error."""
    if not raw:
        return "the file is empty"
    start = raw[:16]
    text = f"it begins with {start.hex(' ')} ({start!r})"
    return f"{text}; bytes 208-215 are {raw[208:216]!r}" if len(raw) >= 216 else text


def _origin_before_2000(raw: bytes, words: Any) -> FloatTriple | None:
    """Return the origin of a header from before 2000; None for a newer one, even without MAP."""
    newer = (
        raw[208:211] == b"MAP"
        or int(words["nversion"]) in MRC2014_VERSIONS
        or raw[104:108] in MRC2014_EXTENDED
        or raw[212:216] == b"\x44\x44\x44\x44"  # a stamp; no other one can be a length
        or any(map(_is_length, words["stored_origin"].tolist()))
    )
    z, x, y = words["origin_before_2000"].tolist()
    # An RMS of -1 is MRC2014's mark for "undefined".
    if newer or (z, x, y) == (0.0, 0.0, -1.0):
        return None
    lengths = [length for length in (x, y, z) if length != 0]
    return (x, y, z) if lengths and all(map(_is_length, lengths)) else None


def _is_length(number: float) -> bool:
    """Whether a float is plausible as a length in Å; bytes with another meaning rarely are."""
    return 1e-6 < abs(number) < 1e9
