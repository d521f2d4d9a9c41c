"""SerialEM's extended header: NINT bytes a section, with an item for each bit of NREAL.

After IMOD's description of its MRC files. The items are in the order of the bits. This reading
holds only if they add up to NINT; otherwise NINT and NREAL count numbers, see `agard`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import Decoded, Decoder, ExtendedKind
from mrcdist.format.extended.quantities import Columns, Quantity, convert
from mrcdist.warning_notes import Note

__all__ = [
    "DECODERS",
    "decode_serialem",
    "is_serialem",
    "serialem_bytes",
    "serialem_quantities",
]

# Two-byte integers of each bit of NREAL. The last five bits are reserved.
_ITEMS: tuple[tuple[str, ...], ...] = (
    ("tilt_angle",),
    ("piece_x", "piece_y", "piece_z"),
    ("stage_x", "stage_y"),
    ("magnification",),
    ("intensity",),
    ("exposure_dose", "exposure_dose_low"),
    ("reserved_6",),
    ("reserved_7", "reserved_7_low"),
    ("reserved_8",),
    ("reserved_9", "reserved_9_low"),
    ("reserved_10",),
)
_SCALES = {
    "tilt_angle": 1 / 100,
    "stage_x": 1 / 25,
    "stage_y": 1 / 25,
    "magnification": 100.0,
    "intensity": 1 / 25000,
}
_LARGEST_ANGLE = 180
_QUANTITIES = (
    Quantity("TEM.magnification", "magnification", above=0),
    Quantity("TEM.dose", "exposure_dose", above=0),
    Quantity("TEM.Stage.tilt_alpha", "tilt_angle"),
    Quantity("TEM.Stage.x", "stage_x", 1e-3),
    Quantity("TEM.Stage.y", "stage_y", 1e-3),
)


def serialem_bytes(nint: int, nreal: int) -> int:
    """Count the bytes a section of a SerialEM extended header; 0 where it cannot be one.

    Parameters
    ----------
    nint, nreal : int
        From the main header.

    Returns
    -------
    int
        NINT, if the items that NREAL announces add up to it.
    """
    if not 0 < nreal < 2 ** len(_ITEMS):
        return 0
    return nint if 2 * len(_fields(nreal)) == nint else 0


def is_serialem(*, nsymbt: int, n_sections: int, nint: int, nreal: int) -> bool:
    """Whether an unnamed extended header is SerialEM's: the items add up, and all sections fit.

    Parameters
    ----------
    nsymbt : int
        Bytes of extended header.
    n_sections, nint, nreal : int
        From the main header.

    Returns
    -------
    bool
    """
    size = serialem_bytes(nint, nreal)
    return size > 0 and size * n_sections <= nsymbt


def decode_serialem(
    raw: bytes, *, byteorder: ByteOrder, n_sections: int, nint: int, nreal: int
) -> tuple[Columns, list[str]]:
    """Decode the records of a SerialEM extended header.

    Parameters
    ----------
    raw : bytes
        The extended header from its start.
    byteorder : {"<", ">"}
        The main header's order.
    n_sections : int
        Records that the data need.
    nint, nreal : int
        From the main header.

    Returns
    -------
    columns : mapping of str to ndarray, shape (n_records,)
        Of ``tilt_angle`` (degrees), ``piece_x``, ``piece_y``, ``piece_z`` (pixels; montage
        section), ``stage_x``, ``stage_y`` (µm), ``magnification``, ``intensity`` and
        ``exposure_dose`` (e⁻/Å²), those that are there. Reserved items are left out.
    notes : list of str
        What is odd.
    """
    size = serialem_bytes(nint, nreal)
    if size == 0:
        text = (
            f"the extended header is SerialEM's, but the items of NREAL = {nreal} do not add up to "
            f"NINT = {nint} bytes a section: not decoded"
        )
        return {}, [Note("extended-header-not-decoded", text)]
    n_records = min(max(n_sections, 0), len(raw) // size)
    if n_records == 0:
        return {}, []
    table = np.frombuffer(raw, byteorder + "i2", count=n_records * size // 2)
    stored = dict(zip(_fields(nreal), table.reshape(n_records, -1).T, strict=True))
    columns: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int16]] = {}
    for name, column in stored.items():
        if name.startswith("reserved") or name.endswith("_low"):
            continue
        if f"{name}_low" in stored:
            columns[name] = _serialem_float(column, stored[f"{name}_low"])
        elif name in _SCALES:
            columns[name] = column * _SCALES[name]
        else:
            columns[name] = column.astype(np.int16)
    return columns, []


def serialem_quantities(columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
    """Compute the quantities of each section.

    Parameters
    ----------
    columns : mapping
        From `decode_serialem`.

    Returns
    -------
    dict of str to ndarray of float64, shape (n_records,)
        Names and units as in `mrcdist.format.extended.registry.extended_metadata`.
    """
    known = {q: np.asarray(columns[q.column]) for q in _QUANTITIES if q.column in columns}
    return {q.name: convert(q, values, np.ones(len(values), bool)) for q, values in known.items()}


def _fields(nreal: int) -> list[str]:
    announced = (items for bit, items in enumerate(_ITEMS) if nreal >> bit & 1)
    return [name for items in announced for name in items]


def _serialem_float(
    first: npt.NDArray[np.int16], second: npt.NDArray[np.int16]
) -> npt.NDArray[np.float64]:
    """Join the two shorts in which SerialEM stores a float.

    sign(first) (256 |first| + |second| mod 256) 2^(sign(second) (|second| div 256)), after IMOD's
    description of its MRC files.
    """
    one, two = first.astype(np.int64), second.astype(np.int64)
    mantissa = np.where(one < 0, -1.0, 1.0) * (np.abs(one) * 256 + np.abs(two) % 256)
    return np.asarray(np.ldexp(mantissa, np.sign(two) * (np.abs(two) // 256)), np.float64)


def _is_serialem(kind: ExtendedKind, n_sections: int) -> bool:
    return is_serialem(nsymbt=kind.nsymbt, n_sections=n_sections, nint=kind.nint, nreal=kind.nreal)


def _bytes_needed(kind: ExtendedKind, n_sections: int, first_bytes: bytes) -> int:
    return serialem_bytes(kind.nint, kind.nreal) * n_sections


def _decode(kind: ExtendedKind, raw: bytes, byteorder: ByteOrder, n_sections: int) -> Decoded:
    return Decoded(
        *decode_serialem(
            raw, byteorder=byteorder, n_sections=n_sections, nint=kind.nint, nreal=kind.nreal
        )
    )


def _fits(kind: ExtendedKind, raw: bytes, byteorder: ByteOrder, n_sections: int) -> bool:
    """Whether the items add up and the tilts are angles; no bytes are beyond doubt."""
    if not _is_serialem(kind, n_sections):
        return False
    tilts = _decode(kind, raw, byteorder, n_sections).columns.get("tilt_angle")
    return tilts is None or bool((np.abs(np.asarray(tilts)) <= _LARGEST_ANGLE).all())


DECODERS = (
    Decoder(
        "SERI",
        ("SERI",),
        recognise=_is_serialem,
        fits=_fits,
        bytes_needed=_bytes_needed,
        decode=_decode,
        quantities=serialem_quantities,
    ),
)
