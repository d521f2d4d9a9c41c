"""Tilt angles from text files next to a tilt series.

IMOD's ``.tlt`` and ``.rawtlt`` have one angle per line; lists of AreTomo (``_TLT.txt``) may have
the order of acquisition and the dose in further columns. SerialEM's ``.mdoc`` is an IMOD autodoc: a
section ``[ZValue = n]`` for each image, with lines ``key = value``, one of them ``TiltAngle``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from mrcdist.errors import SidecarError
from mrcdist.printable import shorten

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_SECTION = re.compile(r"\[\s*([^=\]]+?)\s*=\s*(.*?)\s*\]")
_NOT_AN_ANGLE = "a tilt angle is one number between -360 and 360, in degrees"
_REMEDY = "check the file, or load the data with `tilt_file=None`"


def tilt_file_candidates(name: str) -> tuple[str, ...]:
    """Return the possible names of the file with the angles of a tilt series, best first.

    Files recorded by the microscope (``.mdoc``, ``.rawtlt``) come before computed ones (``.tlt``,
    ``_TLT.txt``), except for IMOD's aligned stacks (``name.ali``, ``name_ali.mrc``). Empty for
    IMOD's reconstructions (``name.rec``, ``name_rec.mrc``).
    """
    return tuple(stem + ending for stem, ending in _candidates(name))


def find_tilt_file(name: str, listing: Iterable[str]) -> str | None:
    """Return the listed file with the angles of a tilt series; its ending may be in either case."""
    names = sorted(listing, reverse=True)  # lower case first
    for stem, ending in _candidates(name):
        for listed in names:
            if listed.startswith(stem) and listed[len(stem) :].lower() == ending.lower():
                return listed
    return None


def _candidates(name: str) -> tuple[tuple[str, str], ...]:
    """Return pairs of stem and ending."""
    path = PurePosixPath(name)
    if path.suffix.lower() in (".gz", ".bz2"):
        path = path.with_suffix("")
    stem, ending = path.stem, path.suffix.lower()
    base = re.sub(r"_(ali|preali|rec)$", "", stem)
    if ending == ".rec" or stem == f"{base}_rec":
        return ()
    recorded = ((path.name, ".mdoc"), (stem, ".mdoc"), (stem, ".rawtlt"))
    computed = ((stem, ".tlt"), (stem, "_TLT.txt"))
    if ending in (".ali", ".preali") or base != stem:
        return (*computed, (base, ".tlt"), *recorded, (base, ".rawtlt"))
    return (*recorded, *computed)


def parse_tilts(name: str, raw: bytes) -> npt.NDArray[np.float64]:
    """Parse the angles of a tilt series, in degrees, from the text of a file.

    It is an autodoc if its name ends in ``.mdoc`` or its first line contains "="; otherwise each
    line has one or more numbers, the angle first. Angles are in the order of the ZValues, or of the
    lines; the caller compares their number with that of the sections. `SidecarError` is raised if
    there is no angle, or if a line is invalid.
    """
    text = raw.removeprefix(b"\xef\xbb\xbf")
    lines = [line.decode("utf-8", "replace").strip() for line in text.splitlines()]
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if name.lower().endswith(".mdoc") or "=" in first:
        angles = _from_mdoc(name, lines)
    else:
        angles = _from_columns(name, lines)
    if not angles:
        raise SidecarError(
            f"{name or 'the list'} contains no tilt angle",
            code="tilt-angles-missing",
            argument="tilt_file",
            cause="the file is empty, or describes something other than a tilt series",
            remedy=_REMEDY,
        )
    return np.array(angles, np.float64)


def _from_columns(name: str, lines: list[str]) -> list[float]:
    """Return the first of several columns with equal numbers of lines."""
    angles: list[float] = []
    width = 0
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        width = width or len(words)
        if len(words) != width:
            raise _invalid_line(name, number, line, f"previous lines have {width} numbers")
        if not all(_NUMBER.fullmatch(word) for word in words):
            raise _invalid_line(name, number, line, _NOT_AN_ANGLE)
        angles.append(_angle(name, number, words[0]))
    counters = [list(range(start, start + len(angles))) for start in (0, 1)]
    if width > 1 and len(angles) > 2 and angles in counters:
        raise SidecarError(
            f"{name or 'the list'} numbers its lines in the first column: {angles[0]:g}, "
            f"{angles[1]:g}, {angles[2]:g}",
            code="tilt-angles-invalid",
            argument="tilt_file",
            cause="tilt angles are in the first column; further columns are not used",
            remedy="pass a list with the angles first",
        )
    return angles


def _from_mdoc(name: str, lines: list[str]) -> list[float]:
    """Return the angles sorted by ZValue, since images may be listed in another order."""
    section_lines: dict[int, int] = {}  # ZValue -> number of the line where its section begins
    angles: dict[int, float] = {}
    zvalue: int | None = None
    has_entries = False
    for number, line in enumerate(lines, 1):
        section = _SECTION.fullmatch(line)
        key, equals, value = (part.strip() for part in line.partition("="))
        if section:
            zvalue = None
            if section[1] == "ZValue":
                if not re.fullmatch(r"\d{1,9}", section[2], re.ASCII):
                    cause = "a ZValue is the number of a section, from 0"
                    raise _invalid_line(name, number, f"[ZValue = {section[2]}]", cause)
                zvalue = int(section[2])
                if zvalue in section_lines:
                    cause = f"line {section_lines[zvalue]} has the same ZValue"
                    raise _invalid_line(name, number, line, cause)
                section_lines[zvalue] = number
        elif key == "TiltAngle" and equals and zvalue is not None:
            if zvalue in angles:
                raise _invalid_line(name, number, line, f"ZValue {zvalue} has another TiltAngle")
            angles[zvalue] = _angle(name, number, value)
        elif line and not line.startswith("#") and not equals and not has_entries:
            # Later lines of this kind continue the value of the line before.
            cause = 'the file should begin with "key = value" or "[key = value]"'
            raise _invalid_line(name, number, line, cause)
        has_entries = has_entries or bool(equals)
    for zvalue in sorted(section_lines.keys() - angles.keys()):
        number = section_lines[zvalue]
        raise _invalid_line(name, number, lines[number - 1], "the section has no TiltAngle")
    return [angles[zvalue] for zvalue in sorted(angles)]


def _angle(name: str, number: int, text: str) -> float:
    if not _NUMBER.fullmatch(text) or abs(float(text)) > 360:
        raise _invalid_line(name, number, text, _NOT_AN_ANGLE)
    return float(text)


def _invalid_line(name: str, number: int, content: str, cause: str) -> SidecarError:
    return SidecarError(
        f"{name or 'the list of tilt angles'}, line {number}: {shorten(content)!r}",
        code="tilt-angles-invalid",
        argument="tilt_file",
        cause=cause,
        remedy=_REMEDY,
    )
