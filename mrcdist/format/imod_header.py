"""IMOD's own words of the main header, which are there beside its stamp."""

from __future__ import annotations

import math
import struct
from typing import Any

from mrcdist.format.byte_order import ByteOrder

__all__ = ["IMOD_WORDS", "imod_fields"]

# After IMOD's description of its MRC files: bytes 160 to 195, in this order.
_SHORT = ("IDTYPE", "LENS", "ND1", "ND2", "VD1", "VD2")
IMOD_WORDS = (*_SHORT, "TILTANGLES")


def imod_fields(raw: bytes, byteorder: ByteOrder) -> dict[str, Any]:
    """Return kind of the data, lens, tilt axis and rotations of a volume, by RosettaSciIO's names.

    Parameters
    ----------
    raw : bytes
        The main header, with IMOD's stamp.
    byteorder : {"<", ">"}
    """
    *short, a, b, c, d, e, f = struct.unpack(byteorder + "6h6f", raw[160:196])
    # JSON has no NaN or infinity.
    angles = [angle if math.isfinite(angle) else None for angle in (a, b, c, d, e, f)]
    return {**dict(zip(_SHORT, short, strict=True)), "TILTANGLES": angles}
