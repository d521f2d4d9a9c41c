"""The 1024-byte main header: byte order, shape, mode, calibration.

Layout after MRC2014 (Cheng et al., J. Struct. Biol. 192, 2015, 146-150), as in
`mrcfile.dtypes.HEADER_DTYPE`; the IMOD fields lie in its EXTRA areas.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from mrcdist.errors import FormatError
from mrcdist.format.byte_order import ByteOrder, choose_order
from mrcdist.format.header_errors import found, require_shape
from mrcdist.format.modes import KNOWN_MODES, pixel_bytes
from mrcdist.format.mrcz_header import by_mrcz
from mrcdist.format.packed import Packing, find_packing
from mrcdist.warning_notes import Note

__all__ = [
    "HEADER_BYTES",
    "MRC2014_EXTENDED",
    "MRC2014_VERSIONS",
    "VOLUME_STACKS",
    "Header",
    "decode_text",
    "parse_header",
    "require_map",
    "standard_origin",
]

Triple = tuple[int, int, int]
FloatTriple = tuple[float, float, float]

HEADER_BYTES = 1024
IMOD_STAMP = 1146047817
# ISPG of a stack of volumes of MZ sections each (MRC2014).
VOLUME_STACKS = range(401, 631)
MRC2014_VERSIONS = (20140, 20141)
MRC2014_EXTENDED = (b"CCP4", b"MRCO", b"SERI", b"AGAR", b"FEI1", b"FEI2", b"HDF5")


@dataclass(frozen=True)
class Header:
    """The fields of a main header as Python numbers.

    Attributes
    ----------
    byteorder : {"<", ">"}
        Order of header and data alike.
    nx, ny, nz : int
        Columns, rows and sections, as stored (column is the fastest).
    mode : int
        Pixel type, see `KNOWN_MODES`; MRCZ's are ``1000 * codec + mode``.
    start : tuple of int
        NXSTART, NYSTART, NZSTART in voxels, along columns, rows and sections.
    intervals : tuple of int
        MX, MY, MZ: sampling along the cell's X, Y and Z; of the mrcz package's files, which leave
        them 0, the number of pixels.
    cell : tuple of float
        CELLA: cell edges X, Y, Z in Å.
    axis_order : tuple of int
        MAPC, MAPR, MAPS: which of X (1), Y (2), Z (3) columns, rows and sections are.
        (1, 2, 3) where the file's are no permutation.
    extremes : tuple of float, optional
        DMIN, DMAX; None where the file marks them as undefined (DMAX < DMIN) or has only zeros.
    ispg, nsymbt, nversion : int
        Space group, bytes of extended header, version.
    exttyp : str
        Kind of extended header, "" where unsaid.
    nint, nreal : int
        IMOD's and Agard's description of the extended header's records.
    imod_flags : int, optional
        IMOD's flags; None without IMOD's stamp.
    packing : {"flag", "label"} or None
        What says that mode 0 holds two pixels a byte; the true nx is then 2 NX.
    stored_origin : tuple of float
        ORIGIN x, y, z as the file has it.
    before_2000 : bool
        Whether bytes 208 to 219 are the origin, as before the word MAP was introduced: there is
        then no machine stamp and no RMS.
    labels : tuple of str
        The text labels in use.
    missing_bytes : int
        Bytes that the file lacks; negative if it has more than announced, 0 if that is unknown.
    raw : bytes
        The 1024 bytes themselves.
    notes : tuple of str
        What is odd about the header although it can be read.
    """

    byteorder: ByteOrder
    nx: int
    ny: int
    nz: int
    mode: int
    start: Triple
    intervals: Triple
    cell: FloatTriple
    axis_order: Triple
    extremes: tuple[float, float] | None
    ispg: int
    nsymbt: int
    exttyp: str
    nversion: int
    nint: int
    nreal: int
    imod_flags: int | None
    packing: Packing | None
    stored_origin: FloatTriple
    before_2000: bool
    labels: tuple[str, ...]
    missing_bytes: int
    raw: bytes
    notes: tuple[str, ...]

    @property
    def depth(self) -> int:
        """MZ as the file has it: the sections of each volume of a stack."""
        return int(np.frombuffer(self.raw, f"{self.byteorder}i4", 1, 36)[0])

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
        return by_mrcz(self.mode, self.exttyp, self.labels)

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
    """Read the main header.

    Parameters
    ----------
    raw : bytes
        The file's first 1024 bytes (fewer if it is shorter).
    file_size : int or None
        Size of the whole file in bytes; None where it is unknown, as behind a decompressor.
    endianness : {"<", ">"}, optional
        The caller's word. It decides only where the file does not.

    Raises
    ------
    FormatError
        These are not the first bytes of an MRC file, or its mode is unknown.
    """
    if len(raw) < HEADER_BYTES:
        raise FormatError(
            f"not an MRC file: {len(raw)} bytes are too few for the 1024-byte header; {found(raw)}",
            code="not-mrc",
            cause="the file is empty or was cut short, or this is another kind of file",
            remedy="check the path, and that the copy or the acquisition has finished",
        )
    raw = raw[:HEADER_BYTES]
    byteorder, notes = choose_order(raw, file_size, endianness)
    values = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(byteorder))[0]
    nx, ny, nz, mode = (int(values[name]) for name in ("nx", "ny", "nz", "mode"))
    nsymbt = int(values["nsymbt"])
    has_map = raw[208:211] == b"MAP"

    require_shape(raw, nx, ny, nz, mode, nsymbt, has_map=has_map)
    missing = 0
    if file_size is not None and mode in KNOWN_MODES:
        missing = _missing_bytes(raw, nx, ny, nz, mode, nsymbt, file_size)
    axis_order, notes_on_order = _axis_order(values)
    before_2000 = not has_map and _before_2000(raw, values, byteorder)
    notes += notes_on_order
    if not has_map:
        notes.append(_note_on_map(raw, before_2000=before_2000))
    imod_stamp, flags = struct.unpack(byteorder + "ii", raw[152:160])
    imod_flags = flags if imod_stamp == IMOD_STAMP else None
    nint, nreal = struct.unpack(byteorder + "hh", raw[128:132])
    nlabl = min(max(int(values["nlabl"]), 0), 10)
    labels = tuple(decode_text(bytes(label)) for label in values["label"][:nlabl])
    exttyp = raw[104:108].decode("latin-1").strip("\0 ") if raw[104:108].isascii() else ""
    intervals = _ints(values["mx"], values["my"], values["mz"])
    if intervals[:2] == (0, 0) and by_mrcz(mode, exttyp, labels):
        sizes = dict(zip(axis_order, (nx, ny, nz), strict=True))
        stack = int(values["ispg"]) in VOLUME_STACKS and axis_order[2] == 3
        intervals = (sizes[1], sizes[2], (stack and intervals[2]) or sizes[3])
    packing, doubt = find_packing(nx, ny, mode, imod_flags, labels)
    notes += [doubt] if doubt else []
    header = Header(
        byteorder=byteorder,
        nx=nx,
        ny=ny,
        nz=nz,
        mode=mode,
        start=_ints(values["nxstart"], values["nystart"], values["nzstart"]),
        intervals=intervals,
        cell=_floats(values["cella"]),
        axis_order=axis_order,
        extremes=_extremes(values),
        ispg=int(values["ispg"]),
        nsymbt=nsymbt,
        exttyp=exttyp,
        nversion=int(values["nversion"]),
        nint=nint,
        nreal=nreal,
        imod_flags=imod_flags,
        packing=packing,
        stored_origin=_old_origin(raw, byteorder) if before_2000 else _floats(values["origin"]),
        before_2000=before_2000,
        labels=labels,
        missing_bytes=missing,
        raw=raw,
        notes=tuple(notes),
    )
    if missing != nsymbt:  # else either the extended header is missing, or as much of the data
        require_map(header)
    return header


def decode_text(raw: bytes) -> str:
    """Text of a fixed-width field: UTF-8 if it is, else latin-1; padding removed."""
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode("utf-8").rstrip()
    except UnicodeDecodeError:
        return raw.decode("latin-1").rstrip()


def _axis_order(values: Any) -> tuple[Triple, list[Note]]:
    """MAPC, MAPR, MAPS, or what they are read as instead."""
    order = _ints(values["mapc"], values["mapr"], values["maps"])
    if sorted(order) == [1, 2, 3]:
        return order, []
    text = f"MAPC, MAPR, MAPS are {order}, no permutation of 1, 2, 3: read as 1, 2, 3"
    # Older programs leave zeros, and all mean 1, 2, 3.
    return (1, 2, 3), [Note("axis-order-invalid", text)] if any(order) else []


def _note_on_map(raw: bytes, *, before_2000: bool) -> Note:
    """Say that the word MAP is not there, and what that means."""
    if before_2000:
        text = (
            "the header lacks the word MAP, as before 2000: bytes 208 to 219 are read as its "
            "origin, whose sign and unit differ between programs"
        )
        return Note("header-before-2000", text)
    text = f"the header lacks the word MAP at byte 208 ({raw[208:212]!r})"
    return Note("map-missing", f"{text}; the rest of it is sound")


def _missing_bytes(
    raw: bytes, nx: int, ny: int, nz: int, mode: int, nsymbt: int, file_size: int
) -> int:
    """Compare the file's size with what the header announces."""
    data = pixel_bytes(nx, ny, nz, mode)
    missing = HEADER_BYTES + nsymbt + data - file_size
    if missing != nsymbt and HEADER_BYTES + nsymbt > file_size:
        raise FormatError(
            f"NSYMBT = {nsymbt} bytes of extended header in a file of {file_size} bytes; "
            f"{found(raw)}",
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
    if header.raw[208:211] == b"MAP" or header.missing_bytes <= 0:
        return
    raise FormatError(
        f"not an MRC file: no word MAP at byte 208, and {header.nx} x {header.ny} x {header.nz} "
        f"pixels of mode {header.mode} do not fit in the file: {header.missing_bytes} bytes are "
        f"missing; {found(header.raw)}",
        code="not-mrc",
        cause="this is another kind of file, or a truncated one whose header is also damaged",
        remedy="check the path, and copy the file again",
    )


def _extremes(values: Any) -> tuple[float, float] | None:
    """DMIN and DMAX, whatever DMEAN and RMS are: each is undefined by a mark of its own."""
    dmin, dmax = float(values["dmin"]), float(values["dmax"])
    defined = np.isfinite(dmin) and np.isfinite(dmax) and dmin <= dmax
    # Programs that never compute statistics leave zeros.
    return (dmin, dmax) if defined and (dmin, dmax) != (0.0, 0.0) else None


def _before_2000(raw: bytes, values: Any, byteorder: ByteOrder) -> bool:
    """Whether a header without the word MAP is an old one, not a newer one that lacks the word."""
    newer = (
        int(values["nversion"]) in MRC2014_VERSIONS
        or raw[104:108] in MRC2014_EXTENDED
        or raw[212:216] == b"\x44\x44\x44\x44"  # a stamp; other ones make no lengths
        or any(_is_length(length) for length in _floats(values["origin"]))
    )
    old = _old_origin(raw, byteorder)
    # RMS of -1 is MRC2014's mark for one that was not computed.
    if newer or (old[0], old[1], old[2]) == (0.0, -1.0, 0.0):
        return False
    return any(map(_is_length, old)) and all(length == 0 or _is_length(length) for length in old)


def _old_origin(raw: bytes, byteorder: ByteOrder) -> FloatTriple:
    z, x, y = struct.unpack(byteorder + "3f", raw[208:220])
    return x, y, z


def _is_length(number: float) -> bool:
    """Whether it can be a length in Å; bytes that mean something else make other floats."""
    return 1e-6 < abs(number) < 1e9


def _ints(x: Any, y: Any, z: Any) -> Triple:
    return int(x), int(y), int(z)


def _floats(record: Any) -> FloatTriple:
    return float(record["x"]), float(record["y"]), float(record["z"])
