"""Several files as one dataset: what holds for all of them, what is joined, and what is dropped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mrcdist.errors import FormatError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.scan import Scan, pixel_is_unsigned
from mrcdist.format.direct_electron.sidecar import Sidecar, shorten
from mrcdist.format.direct_electron.sidecar_keys import GAIN, KEYS, PROCESSING_MODE
from mrcdist.format.extended.registry import ExtendedHeader, pixel_size_note
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.format.header import VOLUME_STACKS, Header
from mrcdist.format.header_words import without_differing_fields
from mrcdist.format.pixels import PixelFormat
from mrcdist.warning_notes import Note, Notes

_COLUMN, _ROW, _SECTION = range(3)
_NAMES = ("x", "y", "z")

# Relative difference of calibrations that are one and the same.
_SAME = 1e-3


def agreed_pixels(formats: Sequence[PixelFormat], notes: Notes) -> list[PixelFormat]:
    """Return the pixel formats of files of one mode, with a dtype that holds the numbers of all."""
    kinds = Counter(pixels.dtype.name for pixels in formats)
    if len(kinds) == 1:
        return list(formats)
    wide = np.result_type(*kinds)
    counts = ", ".join(f"{kind} in {count}" for kind, count in kinds.items())
    notes.add(
        Note(
            "mode0-differs",
            f"the files disagree on the signedness of mode 0: {counts} files: all are read as "
            f"{wide}; mode0='uint8' or 'int8' reads all files as the same",
        )
    )
    return [replace(pixels, widened=wide.str) for pixels in formats]


def agreed_header(headers: Sequence[Header], notes: Notes) -> Header:
    """Return the header of the first file with only that calibration which holds for all files.

    Pixel sizes and offsets in which the files differ are 0, which means unknown. Single images have
    no distance between them. Sections are those of volumes only if each file consists of such
    volumes. Raises if the axes of the files have different orders.
    """
    first, *others = headers
    if not others:
        return first
    _require_same_axes(headers)
    cell, start, origin = list(first.cell), list(first.start), list(first.stored_origin)
    differing = []
    for stored in (_COLUMN, _ROW, _SECTION):
        axis = first.axis_of(stored)
        sizes = [header.pixel_size(stored) for header in headers]
        if stored == _SECTION and all(header.nz <= 1 for header in headers):
            cell[axis] = 0.0
        elif not _same(sizes, least=0):
            cell[axis] = 0.0
            differing.append(f"pixel size along {_NAMES[axis]} ({_range(sizes)} Å)")
        elif stored != _SECTION:
            offsets = [header.offset(stored) for header in headers]
            if not _same(offsets, least=_SAME * (sizes[0] or 0)):
                start[stored], origin[axis] = 0, 0.0
                differing.append(f"origin along {_NAMES[axis]} ({_range(offsets)} Å)")
    ispg = _space_group(headers)
    if ispg is None:
        ispg, cell[first.axis_of(_SECTION)] = 0, 0.0
        differing.append("kind (images, volumes, stacks of volumes: ISPG and MZ)")
    if differing:
        text = f"the files differ in {', '.join(differing)}: left out for the whole dataset"
        notes.add(Note("files-differ", text))
    return replace(
        first,
        cell=(cell[0], cell[1], cell[2]),
        start=(start[0], start[1], start[2]),
        stored_origin=(origin[0], origin[1], origin[2]),
        ispg=ispg,
        raw=without_differing_fields([(header.raw, header.byteorder) for header in headers]),
    )


def _require_same_axes(headers: Sequence[Header]) -> None:
    first, *others = headers
    for header in others:
        if header.axis_order != first.axis_order:
            raise FormatError(
                f"the files have different axes: MAPC, MAPR, MAPS are {first.axis_order} and "
                f"{header.axis_order}",
                code="parts-differ",
                cause="the files differ in the directions of their columns and rows",
                remedy="pass files that belong together, or open them one by one",
            )


def agreed_scan(scans: Sequence[Scan]) -> Scan:
    """Return movies that follow one another as one, calibrated as far as all of them are alike.

    Each has a time axis, or none of them has.
    """
    first, *others = scans
    if not others:
        return first
    ky, kx = (_agreed_axis(axes) for axes in zip(*(scan.signal for scan in scans), strict=True))
    time = (_agreed_axis(axes) for axes in zip(*(scan.navigation for scan in scans), strict=True))
    notes = dict.fromkeys(note for scan in scans for note in scan.notes)
    return Scan(first.kind, tuple(time), (ky, kx), tuple(notes))


def agreed_sidecar(sidecars: Sequence[Sidecar], notes: Notes) -> Sidecar | None:
    """Return the different sidecars of several acquisitions as one with what all of them say.

    That is for their metadata. What an absent key means is not what a differing one does: scan and
    axes are described by each sidecar, and `agreed_scan` compares them.
    """
    if len(sidecars) < 2:
        return sidecars[0] if sidecars else None
    first, *others = sidecars

    def differs(name: str) -> bool:
        return any(other.values.get(name) != first.values.get(name) for other in others)

    differing = {key for key in KEYS if any(differs(name) for name in key.spellings)}
    if PROCESSING_MODE in differing:  # which says whether pixels are electrons
        differing.add(GAIN)
    left_out = {name for key in differing for name in key.spellings}
    same = {
        name: value
        for name, value in first.values.items()
        if name not in left_out and not differs(name)
    }
    # Those that calibrate an axis come first.
    shown = [
        f"{name}: {', '.join(shorten(value) for value in list(values)[:3])}"
        for key in sorted(KEYS, key=lambda key: not key.calibrates)
        if key in differing and not key.varies
        for name in key.spellings
        if differs(name)
        for values in [dict.fromkeys(each.values.get(name, "nothing") for each in sidecars)]
    ]
    if shown:
        more = f"; and {len(shown) - 4} others" if len(shown) > 4 else ""
        text = f"the sidecars of the {len(sidecars)} acquisitions differ in "
        text += f"{'; '.join(shown[:4])}{more}: left out for the whole dataset"
        notes.add(Note("files-differ-sidecar", text))
    return Sidecar(same, tuple(dict.fromkeys(note for each in sidecars for note in each.notes)))


def agreed_signs(sidecars: Sequence[Sidecar | None]) -> list[bool | None]:
    """Return whether the bytes of each file are unsigned, as far as sidecars say.

    A file without one is taken for what all the others are.
    """
    said = {id(sidecar): pixel_is_unsigned(sidecar) for sidecar in sidecars if sidecar is not None}
    others = set(said.values())
    of_all = others.pop() if len(others) == 1 else None
    return [said.get(id(sidecar), of_all) for sidecar in sidecars]


def joined_extended(
    extended: Sequence[ExtendedHeader | None], n_sections: Sequence[int], notes: Notes
) -> ExtendedHeader | None:
    """Return the extended headers of files as that of a single file with all their sections.

    With the records of all files; of text and documents, what all files have. None if they have no
    extended header, or different ones. `n_sections` are announced by each file.
    """
    found = [each for each in extended if each is not None]
    if not found or len(extended) == 1:
        return extended[0]
    first = found[0]
    if len(found) < len(extended) or any(
        each.kind != first.kind or each.columns.keys() != first.columns.keys() for each in found
    ):
        kinds = Counter("none" if each is None else each.kind for each in extended)
        counts = ", ".join(f"{kind} in {count}" for kind, count in kinds.items())
        text = f"the files differ in their extended headers ({counts} files): none of them is used"
        notes.add(Note("files-differ-extended", text))
        return None
    columns = first.columns
    # Records that are missing in the last file are missing at the end.
    if any(each.n_records < n for each, n in zip(found[:-1], n_sections, strict=False)):
        columns = {}
    if columns:
        columns = {
            name: [value for each in found for value in each.columns[name]]
            if isinstance(values, list)
            else np.concatenate([np.asarray(each.columns[name]) for each in found])
            for name, values in first.columns.items()
        }
    same_text = all(each.text == first.text for each in found)
    document = dict(first.document or {})
    for each in found:
        there = each.document or {}
        document = {key: value for key, value in document.items() if there.get(key) == value}
    joined = replace(
        first,
        columns=columns,
        text=first.text if same_text else (),
        n_records=sum(each.n_records for each in found) if columns else 0,
        document=None if first.document is None else document,
        stored=_joined_records(found, n_sections),
    )
    if note := pixel_size_note(joined):
        notes.add(note)
    return joined


def _joined_records(
    found: Sequence[ExtendedHeader], n_sections: Sequence[int]
) -> StoredRecords | None:
    """The bytes of all files' records, where no section lacks one."""
    first, *others = [each.stored for each in found]
    complete = all(each.n_records >= n for each, n in zip(found, n_sections, strict=True))
    if first is None or not (complete or not first.per_section):
        return None
    return first.joined(others)


def _agreed_axis(axes: Sequence[Axis]) -> Axis:
    """The axis that all have, or one without calibration."""
    first = axes[0]
    if all(axis == first for axis in axes):
        return first
    # Patterns and images have no direction in common: ky and y are y.
    return Axis(min((axis.name for axis in axes), key=len), first.size, first.navigate)


def _space_group(headers: Sequence[Header]) -> int | None:
    """Return the space group that says what the sections of all files are, or None."""
    first = headers[0]
    stacks = [header.ispg in VOLUME_STACKS for header in headers]
    if any(stacks):
        depth = first.depth
        same = all(stacks) and all(header.depth == depth for header in headers)
        fits = depth <= 0 or all(header.nz % depth == 0 for header in headers)
        return first.ispg if same and fits else None
    return first.ispg if len({header.ispg > 0 for header in headers}) == 1 else None


def _same(values: Sequence[float | None], *, least: float) -> bool:
    """Whether all are the same or all unknown."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return not known
    return all(math.isclose(known[0], value, rel_tol=_SAME, abs_tol=least) for value in known)


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    text = " to ".join(f"{value:g}" for value in dict.fromkeys((min(known), max(known))))
    return text if len(known) == len(values) else f"{text} and unknown"
