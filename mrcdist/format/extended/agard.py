"""Records of NINT 4-byte integers and NREAL 4-byte floats: Agard's, and what IMOD keeps of others.

The format does not name the numbers. IMOD's programs, which keep such records, take the first float
for the tilt angle in degrees and the 12th for the pixel size in m.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import Decoded, Decoder, ExtendedKind
from mrcdist.format.extended.quantities import Columns, Quantity, convert
from mrcdist.warning_notes import Note

__all__ = ["DECODERS", "agard_bytes", "decode_agard", "looks_like_floats"]

_TILT = Quantity("TEM.Stage.tilt_alpha", "reals", limit=360)
_PIXEL_SIZES = tuple(
    Quantity(name, "reals", 1e9, above=0, limit=1, unit="m")
    for name in ("pixel_size_x", "pixel_size_y")
)
_NTH_PIXEL_SIZE = 12
# Bytes that are no floats make tiny and huge ones.
_SMALLEST, _LARGEST = 1e-20, 1e20


def agard_bytes(nint: int, nreal: int) -> int:
    """Count the bytes a section; 0 where NINT and NREAL describe no record.

    Parameters
    ----------
    nint, nreal : int
        From the main header.

    Returns
    -------
    int
        4 (NINT + NREAL).
    """
    return 4 * (nint + nreal) if nint >= 0 and nreal >= 0 else 0


def decode_agard(
    raw: bytes, *, byteorder: ByteOrder, n_sections: int, nint: int, nreal: int
) -> tuple[Columns, list[str]]:
    """Decode records of integers and floats.

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
    columns : mapping of str to ndarray
        ``integers``, int32 of shape (n_records, NINT), and ``reals``, float32 of shape
        (n_records, NREAL).
    notes : list of str
        What is odd.
    """
    size = agard_bytes(nint, nreal)
    if size == 0:
        text = (
            f"the extended header is Agard's, but NINT = {nint} and NREAL = {nreal} "
            "describe no record: not decoded"
        )
        return {}, [Note("extended-header-not-decoded", text)]
    n_records = min(max(n_sections, 0), len(raw) // size)
    if n_records == 0:
        return {}, []
    words = np.frombuffer(raw, byteorder + "u4", count=n_records * size // 4).reshape(n_records, -1)
    integers, reals = words[:, :nint].astype(np.uint32), words[:, nint:].astype(np.uint32)
    return {"integers": integers.view(np.int32), "reals": reals.view(np.float32)}, []


def looks_like_floats(numbers: npt.NDArray[np.float32]) -> bool:
    """Whether bytes were written as floats: none is infinite, no number, tiny or huge."""
    size = np.abs(numbers[numbers != 0])
    return bool(((size >= _SMALLEST) & (size <= _LARGEST)).all())


def _quantities(columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
    if "reals" not in columns:
        return {}
    reals = np.asarray(columns["reals"])
    nreal = reals.shape[1]
    if nreal == 0 or not looks_like_floats(reals[:, 0]):
        return {}
    # A record of zeros may be a tilt of 0; only where all are, none was written.
    written = np.full(len(reals), reals.any())
    found = {_TILT.name: convert(_TILT, reals[:, 0], written)}
    if nreal >= _NTH_PIXEL_SIZE:
        sizes = reals[:, _NTH_PIXEL_SIZE - 1]
        found |= {q.name: convert(q, sizes, written) for q in _PIXEL_SIZES}
    return found


def _bytes_needed(kind: ExtendedKind, n_sections: int, first_bytes: bytes) -> int:
    return agard_bytes(kind.nint, kind.nreal) * n_sections


def _decode(kind: ExtendedKind, raw: bytes, byteorder: ByteOrder, n_sections: int) -> Decoded:
    return Decoded(
        *decode_agard(
            raw, byteorder=byteorder, n_sections=n_sections, nint=kind.nint, nreal=kind.nreal
        )
    )


def _may_be(kind: ExtendedKind, n_sections: int) -> bool:
    size = agard_bytes(kind.nint, kind.nreal)
    return kind.nreal > 0 and 0 < size * n_sections <= kind.nsymbt


def _fits(kind: ExtendedKind, raw: bytes, byteorder: ByteOrder, n_sections: int) -> bool:
    reals = _decode(kind, raw, byteorder, n_sections).columns.get("reals")
    if reals is None:
        return False
    reals = np.asarray(reals)
    tilts = reals[:, :1]
    return (
        looks_like_floats(reals)
        and bool((np.abs(tilts) <= _TILT.limit).all())
        and bool(reals.any())
    )


DECODERS = (
    Decoder(
        "AGAR",
        ("AGAR",),
        may_be=_may_be,
        fits=_fits,
        bytes_needed=_bytes_needed,
        largest_placeholder=4,  # binned by IMOD's programs
        decode=_decode,
        quantities=_quantities,
    ),
)
