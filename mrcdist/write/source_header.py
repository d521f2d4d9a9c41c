"""Fields of the header that the data were read with: those that a new header has a place for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mrcdist.format.axis import Axis
from mrcdist.format.encode import NewHeader
from mrcdist.format.header import IMOD_STAMP, standard_origin
from mrcdist.format.header_words import IMOD_WORDS
from mrcdist.warning_notes import Note
from mrcdist.write.contents import Contents, in_angstrom

__all__ = ["SourceHeader", "with_source_fields"]

Triple = tuple[int, int, int]
FloatTriple = tuple[float, float, float]

_SECTION = 2  # columns are 0, rows 1
_SAME = 1e-4  # relative; a header has 7 digits


@dataclass(frozen=True)
class SourceHeader:
    """The header of the file that the data were read from, by ``original_metadata.std_header``.

    Attributes
    ----------
    sizes, start : tuple of int
        NX, NY, NZ and NXSTART, NYSTART, NZSTART: along columns, rows and sections.
    intervals : tuple of int
        MX, MY, MZ: along the cell's X, Y and Z.
    cell, angles, origin : tuple of float
        CELLA, CELLB and ORIGIN, the last with MRC2014's sign.
    axis_order : tuple of int
        MAPC, MAPR, MAPS.
    ispg : int
    imod_words : tuple of str
        Names of IMOD's words that are not 0.
    """

    sizes: Triple
    start: Triple
    intervals: Triple
    cell: FloatTriple
    angles: FloatTriple
    origin: FloatTriple
    axis_order: Triple
    ispg: int
    imod_words: tuple[str, ...] = ()

    @classmethod
    def of(cls, original_metadata: Mapping[str, Any]) -> SourceHeader | None:
        """Return the header of what `read_mrc` returned; None of any other data."""
        words = original_metadata.get("std_header")
        if not isinstance(words, Mapping) or "NX" not in words:
            return None

        def floats(*names: str) -> FloatTriple:
            x, y, z = (_finite(words.get(name)) for name in names)
            return x, y, z

        def ints(*names: str) -> Triple:
            x, y, z = map(int, floats(*names))
            return x, y, z

        order = ints("MAPC", "MAPR", "MAPS")
        origin = floats("XORIGIN", "YORIGIN", "ZORIGIN")
        stamped = words.get("IMODSTAMP") == IMOD_STAMP
        flags = int(_finite(words.get("IMODFLAGS"))) if stamped else None
        if not standard_origin(flags, int(_finite(words.get("NVERSION")))):
            origin = (-origin[0], -origin[1], -origin[2])
        return cls(
            ints("NX", "NY", "NZ"),
            ints("NXSTART", "NYSTART", "NZSTART"),
            ints("MX", "MY", "MZ"),
            floats("Xlen", "Ylen", "Zlen"),
            floats("ALPHA", "BETA", "GAMMA"),
            origin,
            order if sorted(order) == [1, 2, 3] else (1, 2, 3),
            int(_finite(words.get("ISPG"))),
            tuple(name for name in IMOD_WORDS if stamped and _says_something(words.get(name))),
        )

    def pixel_size(self, cell_axis: int) -> float | None:
        """Pixel size in Å along a cell axis (0 X, 1 Y, 2 Z)."""
        edge, count = self.cell[cell_axis], self.intervals[cell_axis]
        return edge / count if edge > 0 and count > 0 else None


def _finite(value: Any) -> float:
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else 0.0


def _says_something(word: Any) -> bool:
    return any(number not in (0, None) for number in (word if isinstance(word, list) else [word]))


def with_source_fields(
    header: NewHeader, contents: Contents, source: SourceHeader, notes: list[str]
) -> NewHeader:
    """Return a header with the space group, cell and NSTART of the file that was read.

    Parameters
    ----------
    header : NewHeader
        With the axes' own calibration.
    contents : Contents
    source : SourceHeader
    notes : list of str
        What cannot be stored is added.
    """
    if all(0 < angle < 180 for angle in source.angles):
        header = replace(header, angles=source.angles)
    if source.imod_words:
        sentence = f"IMOD's header fields are not stored: {', '.join(source.imod_words)}"
        notes.append(Note("imod-words-not-stored", sentence))
    header = _with_space_group(header, source, notes)
    images = header.ispg == 0 and len(contents.navigation) < 2
    if (images or not contents.navigation) and header.pixel_size[_SECTION] is None:
        z = header.axis_order[_SECTION] - 1
        header = replace(
            header,
            pixel_size=(*header.pixel_size[:2], source.pixel_size(z)),
            origin=(*header.origin[:2], source.origin[z]),
        )
    return _with_start(header, contents, source, notes)


def _with_space_group(header: NewHeader, source: SourceHeader, notes: list[str]) -> NewHeader:
    crystal = 1 < source.ispg <= 230 or 401 < source.ispg <= 630
    if (header.ispg == 1 and 1 <= source.ispg <= 230) or (
        header.ispg == 401 and 401 <= source.ispg <= 630
    ):
        header = replace(header, ispg=source.ispg)
    elif crystal:
        sentence = (
            f"the space group (ISPG = {source.ispg}) is not stored: the data are not a volume"
        )
        notes.append(Note("space-group-not-stored", sentence))
    if not 1 <= header.ispg <= 230 or header.codec:
        return header
    # The grid of a crystal's map is that of its cell, of which the map may be any part.
    intervals = list(header.intervals)
    for stored in range(3):
        cell_axis, size = header.axis_order[stored] - 1, header.pixel_size[stored]
        mapped = source.sizes[source.axis_order.index(cell_axis + 1)]
        if size is None or not (crystal or source.intervals[cell_axis] != mapped):
            continue
        count = source.cell[cell_axis] / size
        if count >= 1 and abs(count - round(count)) <= _SAME * count:
            intervals[stored] = round(count)
    return replace(header, intervals=(intervals[0], intervals[1], intervals[2]))


def _with_start(
    header: NewHeader, contents: Contents, source: SourceHeader, notes: list[str]
) -> NewHeader:
    if source.start == (0, 0, 0):
        return header
    start, origin, lost = [0, 0, 0], list(header.origin), []
    for stored in range(3):
        cell_axis = header.axis_order[stored] - 1
        before = source.axis_order.index(cell_axis + 1)
        first = source.start[before]
        if first == 0:
            continue
        axis = contents.axes[-1 - stored] if stored < len(contents.axes) else None
        if stored == _SECTION and len(contents.navigation) > 1 and header.ispg == 0:
            axis = None  # sections are those of several axes
        shift = _shift(axis, source, cell_axis, before)
        if shift is None:
            lost.append(f"N{'XYZ'[before]}START = {first}")
            continue
        by_start = source.origin[cell_axis] == 0
        start[stored] = first + shift
        if by_start:
            origin[stored] = 0.0
        elif origin[stored] == 0:  # NSTART alone would be another position
            start[stored] = 0
    if lost:
        sentence = f"{', '.join(lost)} is not stored: the pixels differ from those of the file"
        notes.append(Note("start-not-stored", sentence))
    return replace(
        header,
        start=(start[0], start[1], start[2]),
        origin=(origin[0], origin[1], origin[2]),
    )


def _shift(axis: Axis | None, source: SourceHeader, cell_axis: int, before: int) -> int | None:
    """Pixels from the first one of the file to the first one of the data; None if unknown."""
    size, wanted = source.pixel_size(cell_axis), source.sizes[before]
    if axis is None:
        return 0 if wanted == 1 else None
    scale, offset = in_angstrom(axis)
    if scale is not None and size is not None:
        if abs(scale - size) > _SAME * size:
            return None
        own = source.origin[cell_axis] or source.start[before] * size
        shift = (offset - own) / size
    elif scale is None and not axis.units and axis.scale == 1 and axis.values is None:
        shift = axis.offset
    elif axis.size == wanted and axis.navigate:  # such as tilt angles
        shift = 0.0
    else:
        return None
    return round(shift) if abs(shift - round(shift)) < 0.01 else None
