"""Several files as one dataset: what holds for all of them, what is joined, and what is dropped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mrcdist.errors import FormatError
from mrcdist.format.direct_electron.sidecar import Sidecar, shorten
from mrcdist.format.direct_electron.sidecar_keys import KEYS
from mrcdist.format.extended.registry import ExtendedHeader, pixel_size_note
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.format.header import VOLUME_STACKS, Header
from mrcdist.format.mrcz_header import without_differing_fields
from mrcdist.format.pixels import PixelFormat
from mrcdist.warning_notes import Note, Notes

__all__ = ["agreed_header", "agreed_pixels", "agreed_sidecar", "joined_extended"]

_COLUMN, _ROW, _SECTION = range(3)
_NAMES = ("x", "y", "z")

# Relative difference of calibrations that are one and the same.
_SAME = 1e-3


def agreed_pixels(formats: Sequence[PixelFormat], notes: Notes) -> list[PixelFormat]:
    """Return the pixel formats of files with the common dtype that holds the numbers of all.

    Parameters
    ----------
    formats : sequence of PixelFormat
        Of each file; their modes are the same.
    notes : Notes
    """
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

    Parameters
    ----------
    headers : sequence of Header
        At least one.
    notes : Notes

    Returns
    -------
    Header
        Pixel sizes and offsets in which the files differ are 0, which means unknown. Single images
        have no distance between them. Sections are those of volumes only if each file consists of
        such volumes.

    Raises
    ------
    FormatError
        The axes of the files have different orders.
    """
    first, *others = headers
    if not others:
        return first
    for header in others:
        if header.axis_order != first.axis_order:
            raise FormatError(
                f"the files have different axes: MAPC, MAPR, MAPS are {first.axis_order} and "
                f"{header.axis_order}",
                code="parts-differ",
                cause="columns and rows of one file are other directions than those of another",
                remedy="name the files that belong together, or open them one by one",
            )
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
        text = f"the files differ in {', '.join(differing)}: for the whole, it is left out"
        notes.add(Note("files-differ", text))
    return replace(
        first,
        cell=(cell[0], cell[1], cell[2]),
        start=(start[0], start[1], start[2]),
        stored_origin=(origin[0], origin[1], origin[2]),
        ispg=ispg,
        raw=without_differing_fields([(header.raw, header.byteorder) for header in headers]),
    )


def agreed_sidecar(sidecars: Sequence[Sidecar | None], notes: Notes) -> Sidecar | None:
    """Return the sidecars of several acquisitions as one with what all of them say.

    Parameters
    ----------
    sidecars : sequence of Sidecar or None
        Each once; None stands for files without one.
    notes : Notes

    Returns
    -------
    Sidecar or None
        None where there is none, or some files have none.
    """
    found = [sidecar for sidecar in sidecars if sidecar is not None]
    if not found or len(sidecars) == 1:
        return sidecars[0]
    if len(found) < len(sidecars):
        text = "some of the files have a sidecar and others none: none is used"
        notes.add(Note("files-differ-sidecar", f"{text}; metadata_file names one for all files"))
        return None
    first = found[0]
    same = {
        key: value
        for key, value in first.values.items()
        if all(sidecar.values.get(key) == value for sidecar in found)
    }
    # Those that calibrate an axis come first.
    keys = sorted(KEYS, key=lambda key: not key.calibrates)
    differing = {
        name: dict.fromkeys(sidecar.values.get(name, "nothing") for sidecar in found)
        for key in keys
        for name in key.spellings
        if name not in same and any(name in sidecar.values for sidecar in found)
    }
    if differing:
        shown = [
            f"{name}: {', '.join(shorten(value) for value in list(values)[:3])}"
            for name, values in list(differing.items())[:4]
        ]
        more = f"; and {len(differing) - 4} others" if len(differing) > 4 else ""
        text = f"the sidecars of the {len(found)} acquisitions differ in {'; '.join(shown)}{more}"
        notes.add(Note("files-differ-sidecar", f"{text}: for the whole, these are left out"))
    return Sidecar(same, tuple(dict.fromkeys(note for each in found for note in each.notes)))


def joined_extended(
    extended: Sequence[ExtendedHeader | None], n_sections: Sequence[int], notes: Notes
) -> ExtendedHeader | None:
    """Return the extended headers of files as that of a single file with all their sections.

    Parameters
    ----------
    extended : sequence of ExtendedHeader or None
        Of each file.
    n_sections : sequence of int
        Sections that each file announces.
    notes : Notes

    Returns
    -------
    ExtendedHeader or None
        With the records of all files; of text and documents, what all files have. None if they
        have no extended header, or different ones.
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
        text = f"the files differ in their extended headers ({counts} files): none is used"
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


def _space_group(headers: Sequence[Header]) -> int | None:
    """Return the space group that says what the sections of all files are, or None."""
    first = headers[0]
    stacks = [header.ispg in VOLUME_STACKS for header in headers]
    if any(stacks):
        depth = first.intervals[2]
        same = all(stacks) and all(header.intervals[2] == depth for header in headers)
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
