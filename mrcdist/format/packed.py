"""Two 4-bit pixels a byte in mode 0, as SerialEM's plugin for Gatan cameras and IMOD write them.

NX is then half the number of columns. IMOD marks its files with flag 16; frames from the camera
are announced by a label alone, which programs that rewrite a file may copy to whole bytes. So the
size has to be that of a super-resolution frame, halved.

Sources: IMOD's description of its MRC files; EMAN2 takes the label where NY is about 2 NX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mrcdist.warning_notes import Note

__all__ = ["Packing", "find_packing"]

Packing = Literal["flag", "label"]

_FLAG_16 = 16
PACKED_LABEL = "4 bits packed"
# Columns and rows of super-resolution frames of K2 and K3 cameras, either way round.
_FRAMES = ((7676, 7420), (7680, 7424), (11520, 8184))
_PIXELS_OFF = 2
_RATIO_OFF = 0.1


def find_packing(
    nx: int, ny: int, mode: int, imod_flags: int | None, labels: Sequence[str]
) -> tuple[Packing | None, str | None]:
    """Return whether the bytes of mode 0 are pairs of pixels.

    Parameters
    ----------
    nx, ny, mode : int
        From the main header.
    imod_flags : int or None
        IMOD's flags; None without IMOD's stamp.
    labels : sequence of str

    Returns
    -------
    packing : {"flag", "label"} or None
        What says that they are; None where they are whole bytes.
    note : str or None
        What is doubtful about it.
    """
    if mode != 0:
        return None, None
    if imod_flags is not None:  # IMOD says it by the flag, and keeps labels of earlier files
        return ("flag" if imod_flags & _FLAG_16 else None), None
    if not any(PACKED_LABEL in label for label in labels):
        return None, None
    if any(
        abs(nx - columns / 2) <= _PIXELS_OFF and abs(ny - rows) <= _PIXELS_OFF
        for one, other in _FRAMES
        for columns, rows in ((one, other), (other, one))
    ):
        return "label", None
    said = f'a label says "{PACKED_LABEL}", and NX, NY = {nx}, {ny}'
    if abs(ny / nx - 2) <= _RATIO_OFF:
        return "label", Note(
            "packing-by-label",
            f"{said} is half a frame: read as two pixels per byte; "
            'mode0="int8" or "uint8" reads whole bytes',
        )
    return None, Note(
        "packing-by-label",
        f"{said} is no frame of a Gatan camera halved: read as whole bytes; "
        'mode0="uint4" reads two pixels per byte',
    )
