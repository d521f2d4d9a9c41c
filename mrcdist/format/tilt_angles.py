"""Tilt angles from the text files that lie beside a tilt series.

IMOD's ``.tlt`` and ``.rawtlt`` have one angle a line. SerialEM's ``.mdoc`` is an IMOD autodoc: a
section ``[ZValue = n]`` for each image, and in it lines ``key = value``, of which ``TiltAngle`` is
wanted.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from mrcdist.errors import SidecarError

__all__ = ["parse_tilts"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_SECTION = re.compile(r"\[\s*([^=\]]+?)\s*=\s*(.*?)\s*\]")
_REMEDY = "check the file, or load the data without it"


def parse_tilts(name: str, raw: bytes) -> npt.NDArray[np.float64]:
    """Read the tilt angles of a tilt series from the text of a file beside it.

    Parameters
    ----------
    name : str
        The file's name; its extension, ``.tlt``, ``.rawtlt`` or ``.mdoc``, says what it is.
        Errors mention it.
    raw : bytes
        What the file holds.

    Returns
    -------
    ndarray of float64, shape (n_angles,)
        Degrees, in the order of the sections: of the lines, or of the ZValues. That there is one
        for each section is for the caller to check.

    Raises
    ------
    SidecarError
        Another extension, no angle at all, or a line that cannot be what it should be.
    """
    text = raw.removeprefix(b"\xef\xbb\xbf")
    lines = [line.decode("utf-8", "replace").strip() for line in text.splitlines()]
    if name.lower().endswith(".mdoc"):
        angles = _from_mdoc(name, lines)
    elif name.lower().endswith((".tlt", ".rawtlt")):
        angles = [_angle(name, number, line) for number, line in enumerate(lines, 1) if line]
    else:
        raise SidecarError(
            f"{name} is no file of tilt angles that is known",
            code="tilt-angles-invalid",
            argument="tilt_file",
            cause="its name ends in none of .tlt, .rawtlt, .mdoc",
            remedy="name a file with one angle a line .tlt or .rawtlt, SerialEM's autodoc .mdoc",
        )
    if not angles:
        raise SidecarError(
            f"{name} holds no tilt angle",
            code="tilt-angles-invalid",
            argument="tilt_file",
            cause="the file is empty, or describes something else than the images of a tilt series",
            remedy=_REMEDY,
        )
    return np.array(angles, np.float64)


def _from_mdoc(name: str, lines: list[str]) -> list[float]:
    """Angles by ZValue: images may be listed in another order than that of their sections."""
    started: dict[int, int] = {}  # ZValue -> the line of its section
    angles: dict[int, float] = {}
    zvalue: int | None = None
    opened = False
    for number, line in enumerate(lines, 1):
        section = _SECTION.fullmatch(line)
        key, equals, value = (part.strip() for part in line.partition("="))
        if section:
            zvalue = _zvalue(name, number, section[2]) if section[1] == "ZValue" else None
            if zvalue in started:
                earlier = f"line {started[zvalue]} has it too"
                raise _junk(name, number, line, f"a ZValue stands for one image, and {earlier}")
            if zvalue is not None:
                started[zvalue] = number
        elif key == "TiltAngle" and equals and zvalue is not None:
            if zvalue in angles:
                raise _junk(name, number, line, f"ZValue {zvalue} has a TiltAngle already")
            angles[zvalue] = _angle(name, number, value)
        elif line and not line.startswith("#") and not equals and not opened:
            # Later, such a line would go on with the value of the line before.
            raise _junk(
                name, number, line, 'the file should begin with "key = value" or "[key = value]"'
            )
        opened = opened or bool(equals)
    for zvalue in sorted(started.keys() - angles.keys()):
        line = lines[started[zvalue] - 1]
        raise _junk(name, started[zvalue], line, "the section has no TiltAngle")
    return [angles[zvalue] for zvalue in sorted(angles)]


def _zvalue(name: str, number: int, text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise _junk(
            name, number, f"[ZValue = {text}]", "a ZValue is the number of a section, from 0 on"
        )
    return int(text)


def _angle(name: str, number: int, text: str) -> float:
    if not _NUMBER.fullmatch(text) or abs(float(text)) > 360:
        raise _junk(
            name, number, text, "a tilt angle is one number between -360 and 360, in degrees"
        )
    return float(text)


def _junk(name: str, number: int, found: str, cause: str) -> SidecarError:
    shown = found if len(found) <= 60 else f"{found[:60]}..."
    return SidecarError(
        f"{name}, line {number}: {shown!r}",
        code="tilt-angles-invalid",
        argument="tilt_file",
        cause=cause,
        remedy=_REMEDY,
    )
