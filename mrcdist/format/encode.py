"""The main header and the stored pixels of a new file, the inverse of `header` and `pixels`.

Layout and conventions are those of MRC2014 (Cheng et al., J. Struct. Biol. 192, 2015, 146-150, and
https://www.ccpem.ac.uk/mrc_format/mrc2014.php).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.header import HEADER_BYTES, IMOD_STAMP, FloatTriple, Triple
from mrcdist.format.header_words import header_words
from mrcdist.format.modes import WRITABLE_MODES
from mrcdist.format.pixels import PixelFormat

Array = npt.NDArray[Any]

# MRC2014 has no mode for unsigned bytes.
_WIDENED = {"uint8": "uint16", "bool": "int8"}

# MRC2014's marks of undetermined statistics: DMAX < DMIN, DMEAN below both, RMS < 0.
_UNDETERMINED = (0.0, -1.0, -2.0, -1.0)

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_INT32_MAX = 2**31 - 1
_LABELS, _LABEL_BYTES = 10, 80
_WRITABLE = ", ".join((*WRITABLE_MODES, "uint8", "uint4"))


@dataclass(frozen=True)
class Storage:
    """Encoding of pixels in a new file."""

    mode: int
    dtype: str  # numpy name of a stored number, native-endian
    # Two 4-bit pixels per byte, the first in the low nibble; each row begins on a byte.
    packed: bool = False
    # Flags with IMOD's stamp, which declares mode 0 as unsigned; None for no stamp.
    imod_flags: int | None = None

    def row_bytes(self, columns: int) -> int:
        """Return the size of a row."""
        return PixelFormat(self.dtype, packed=self.packed).bytes_of(columns)

    def is_of(self, dtype: np.dtype[Any], byteorder: ByteOrder) -> bool:
        """Whether numbers of a dtype are stored unchanged."""
        return not self.packed and dtype == np.dtype(self.dtype).newbyteorder(byteorder)


def choose_storage(dtype: np.dtype[Any], requested: str | None) -> Storage:
    """Choose the mode for an array's dtype, or for the requested dtype.

    The latter is one for which MRC has a mode, "uint8" (mode 0 with IMOD's stamp) or "uint4" (mode
    101). None stores every value unchanged: uint8 as uint16, and bool as int8. `ArgumentError` is
    raised if no mode holds all values.

    Examples
    --------
    >>> choose_storage(np.dtype("uint8"), None)
    Storage(mode=6, dtype='uint16', packed=False, imod_flags=None)
    """
    if requested == "uint4":
        return Storage(101, "uint8", packed=True)
    name = dtype.name if requested is None else dtype_name(requested)
    if requested is not None and name == "uint8":
        # Flag 1 (signed bytes) is not set; flag 4: the origin has MRC2014's sign.
        return Storage(0, "uint8", imod_flags=4)
    name = _WIDENED.get(name, name)
    if name in WRITABLE_MODES:
        return Storage(WRITABLE_MODES[name], name)
    alternatives = {
        "f": "float32 keeps 7 digits and magnitudes up to 3.4e38",
        "c": "complex64 keeps 7 digits",
        "i": "int16 holds -32768 to 32767, float32 integers up to 16,777,216",
        "u": "uint16 holds 0 to 65535, float32 integers up to 16,777,216",
    }
    raise ArgumentError(
        f"`dtype={name}`",
        code="dtype-unwritable",
        argument="dtype",
        cause="MRC has no mode for it: " + alternatives.get(dtype.kind, "it stores only numbers"),
        remedy=f"pass `dtype`, one of {_WRITABLE}; values that do not fit raise an error: integers "
        "are never clipped or rounded, and floating-point numbers are rounded to the precision of "
        "the dtype",
    )


def dtype_name(dtype: Any) -> str:
    """Return numpy's name of a requested dtype."""
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        raise ArgumentError(
            f"`dtype={dtype!r}`",
            code="dtype-unwritable",
            argument="dtype",
            cause="not a numpy dtype",
            remedy=f"pass one of {_WRITABLE}",
        ) from None


def encode_pixels(numbers: Array, storage: Storage, byteorder: ByteOrder) -> Array:
    """Encode numbers (..., columns) as stored pixels: uint8 (..., bytes of a row), C-contiguous.

    The result is a view of the numbers if they are stored unchanged. `ArgumentError` is raised for
    a value that does not fit: out of range, with decimals, or not finite.
    """
    if storage.packed:
        return _pack(cast_exactly(numbers, np.dtype("uint8"), highest=15, name="uint4"))
    dtype = np.dtype(storage.dtype).newbyteorder(byteorder)
    stored = np.ascontiguousarray(cast_exactly(numbers, dtype, name=storage.dtype))
    return stored.reshape(*numbers.shape[:-1], -1).view(np.uint8)


def cast_exactly(
    numbers: Array, dtype: np.dtype[Any], *, name: str, highest: int | None = None
) -> Array:
    """Cast numbers to a dtype, called `name` in the error if a value does not fit.

    Only the precision of floating-point numbers may be lost.
    """
    if highest is None and np.can_cast(numbers.dtype, dtype, "safe"):
        return numbers.astype(dtype, copy=False)
    stored, kind = numbers, numbers.dtype.kind
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == "c" and dtype.kind != "c":
            fits = np.zeros(numbers.shape, bool)
        elif dtype.kind in "iu":
            low, high = np.iinfo(dtype).min, highest or np.iinfo(dtype).max
            fits = (numbers >= low) & (numbers <= high)
            if kind == "f":
                fits &= numbers == np.trunc(numbers)
        else:
            stored = numbers.astype(dtype)
            fits = np.isfinite(stored) | ~np.isfinite(numbers)
            if kind in "iu":
                fits &= stored == numbers
    if fits.all():
        return stored.astype(dtype, copy=False)
    first = numbers[~fits].flat[0]
    raise ArgumentError(
        f"the value {first.item()!r} does not fit {name}",
        code="value-does-not-fit",
        argument="dtype",
        cause=f"{int((~fits).sum())} of {numbers.size} values of a block are out of range, not "
        "integers, not real numbers, or have too many digits",
        remedy="convert the array first (scale, round or clip it), or pass another `dtype`",
    )


def _pack(nibbles: Array) -> Array:
    columns = nibbles.shape[-1]
    packed = np.zeros((*nibbles.shape[:-1], (columns + 1) // 2), np.uint8)
    packed |= nibbles[..., 0::2]
    packed[..., : columns // 2] |= nibbles[..., 1::2] << 4
    return packed


@dataclass(frozen=True)
class NewHeader:
    """The main header of a new file, without its statistics.

    `intervals`, `start`, `pixel_size` and `origin` are along columns, rows and sections.
    """

    nx: int
    ny: int
    nz: int
    storage: Storage
    byteorder: ByteOrder = "<"
    ispg: int = 0  # 0 images, 1 volume, 401 volume stack
    intervals: Triple = (1, 1, 1)  # pixels of the cell; 1 along sections for images
    start: Triple = (0, 0, 0)  # NXSTART, NYSTART, NZSTART
    angles: FloatTriple = (90.0, 90.0, 90.0)  # CELLB, in degrees
    # Å; None if unknown.
    pixel_size: tuple[float | None, float | None, float | None] = (None, None, None)
    origin: FloatTriple = (0.0, 0.0, 0.0)  # Å
    axis_order: Triple = (1, 2, 3)  # MAPC, MAPR, MAPS
    nsymbt: int = 0  # bytes of the extended header
    exttyp: str = ""
    records: tuple[int, int] = (0, 0)  # NINT and NREAL, which describe the records of SERI and AGAR
    labels: tuple[str, ...] = ()
    codec: int = 0  # MRCZ's number of the codec that compresses the sections; 0 for none
    mrcz_words: FloatTriple = (0.0, 0.0, 0.0)  # voltage, C3 and gain, only for MRCZ

    @property
    def mode(self) -> int:
        """MODE."""
        return 1000 * self.codec + self.storage.mode

    @property
    def data_offset(self) -> int:
        """Byte at which the pixels begin."""
        return HEADER_BYTES + self.nsymbt

    def check(self) -> None:
        """Raise `ArgumentError` for values that the fields of a header cannot hold."""
        for field in ("nx", "ny", "nz", "nsymbt"):
            value = getattr(self, field)
            if not (field in ("nz", "nsymbt") and value == 0) and not 0 < value <= _INT32_MAX:
                raise ArgumentError(
                    f"{field.upper()} = {value}",
                    code="header-field-overflow",
                    argument="extended_header" if field == "nsymbt" else "data",
                    cause=f"the header stores integers from 1 to {_INT32_MAX}",
                    remedy="write the data in several files",
                )
        cell = [(s or 0) * n for s, n in zip(self.pixel_size, self.intervals, strict=True)]
        numbers = {"CELLA": cell, "CELLB": self.angles, "ORIGIN": self.origin}
        for field, values in {**numbers, "voltage, C3 and gain": self.mrcz_words}.items():
            if any(_FLOAT32_MAX < abs(value) < math.inf for value in values):
                raise ArgumentError(
                    f"{field} = {', '.join(f'{value:g}' for value in values)}",
                    code="header-field-overflow",
                    argument="data",
                    cause="the header stores magnitudes up to 3.4e38",
                    remedy="correct the scales, offsets or metadata of the data",
                )
        if len(self.labels) > _LABELS:
            raise ArgumentError(
                f"`labels`: {len(self.labels)} of them",
                code="labels-invalid",
                argument="labels",
                cause=f"the header has room for {_LABELS}, one of which names mrcdist and the date",
                remedy="pass fewer",
            )
        for label in self.labels:
            if not is_label(label):
                raise ArgumentError(
                    f"`labels`: {label!r}",
                    code="labels-invalid",
                    argument="labels",
                    cause=f"a label is up to {_LABEL_BYTES} printable ASCII characters",
                    remedy="shorten it",
                )


def is_label(text: str) -> bool:
    """Return whether the header can store a text as a label."""
    return text.isascii() and text.isprintable() and len(text) <= _LABEL_BYTES


def encode_header(
    header: NewHeader, statistics: Sequence[float] | None, *, packed_bytes: int = 0
) -> bytes:
    """Encode the 1024 bytes of a main header.

    `statistics` are DMIN, DMAX, DMEAN and RMS deviation from the mean; None marks them as
    undetermined. For MRCZ, whose sections take `packed_bytes`, MX, MY and MZ are 0, and the cell is
    that of all sections.
    """
    encoded = bytearray(HEADER_BYTES)
    words = header_words(encoded, header.byteorder)
    for name in ("nx", "ny", "nz", "mode", "axis_order", "start", "angles", "ispg", "nsymbt"):
        words[name] = getattr(header, name)
    intervals = (header.nx, header.ny, header.nz) if header.codec else header.intervals
    for stored, cell in enumerate(header.axis_order):
        # MX and CELLA follow the cell's X, Y, Z, sizes follow columns, rows, sections.
        size = header.pixel_size[stored]
        words["intervals"][cell - 1] = 0 if header.codec else intervals[stored]
        words["cell"][cell - 1] = 0.0 if size is None else size * intervals[stored]
        words["stored_origin"][cell - 1] = header.origin[stored]
    words["nversion"], words["map"] = 20141, b"MAP "
    words["exttyp"] = header.exttyp.encode("ascii")
    words["machst"] = (0x44, 0x44, 0, 0) if header.byteorder == "<" else (0x11, 0x11, 0, 0)
    known = statistics is not None and all(map(math.isfinite, statistics))
    values = statistics if statistics is not None and known else _UNDETERMINED
    words["dmin"], words["dmax"], words["dmean"], words["rms"] = values
    words["nlabl"] = len(header.labels)
    for number, label in enumerate(header.labels):
        words["label"][number] = label.ljust(_LABEL_BYTES).encode("ascii")
    words["nint"], words["nreal"] = header.records
    if header.codec:
        words["mrcz"], words["packed_bytes"] = header.mrcz_words, packed_bytes
    if header.storage.imod_flags is not None:
        words["imod_stamp"], words["imod_flags"] = IMOD_STAMP, header.storage.imod_flags
    return bytes(encoded)
