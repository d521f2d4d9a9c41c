"""Several files as one dataset: shared values are kept, records joined, differences dropped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mrcdist.errors import FormatError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.scan import Scan, pixel_is_unsigned
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.format.direct_electron.sidecar_keys import GAIN, KEYS, PROCESSING_MODE
from mrcdist.format.extended.registry import ExtendedHeader, pixel_size_note
from mrcdist.format.header import VOLUME_STACKS, Header
from mrcdist.format.header_words import without_differing_fields
from mrcdist.format.pixels import Mode0, PixelFormat, pixel_format
from mrcdist.printable import shorten
from mrcdist.warning_notes import Note, Notes

_COLUMN, _ROW, _SECTION = range(3)

# Relative difference up to which calibrations are considered equal.
_TOLERANCE = 1e-3


def common_pixels(
    headers: Sequence[Header],
    sidecars: Sequence[Sidecar | None],
    mode0: Mode0 | None,
    notes: Notes,
) -> list[PixelFormat]:
    """Return the pixel formats of files of one mode, decoded to a dtype that fits all of them.

    `sidecars` has one entry per file.
    """
    formats = [
        pixel_format(header, mode0=mode0, sidecar_unsigned=unsigned)
        for header, unsigned in zip(headers, _unsigned_by_sidecar(sidecars), strict=True)
    ]
    dtypes = Counter(pixels.dtype.name for pixels in formats)
    if len(dtypes) == 1:
        return formats
    wide = np.result_type(*dtypes)
    notes.add(
        Note(
            "mode0-differs",
            f"the files disagree on the signedness of mode 0: {_counts(dtypes)} files: all are "
            f"read as {wide}; `mode0='uint8'` or `mode0='int8'` sets it for all of them",
        )
    )
    return [replace(pixels, widened=wide.str) for pixels in formats]


def _unsigned_by_sidecar(sidecars: Sequence[Sidecar | None]) -> list[bool | None]:
    """Return whether the bytes of each file are unsigned, as far as sidecars say.

    A file without a sidecar is assumed to be like the others, if these agree.
    """
    unsigned = {id(each): pixel_is_unsigned(each) for each in sidecars if each is not None}
    default = next(iter(unsigned.values())) if len(set(unsigned.values())) == 1 else None
    return [unsigned.get(id(sidecar), default) for sidecar in sidecars]


def common_header(headers: Sequence[Header], notes: Notes) -> Header:
    """Return the header of the first file, with only the calibration that all files share.

    Pixel sizes and offsets in which the files differ are 0, which means unknown. Single images have
    no distance between them. Sections are those of volumes only if each file consists of such
    volumes. Raises if the axes of the files have different orders.
    """
    first = headers[0]
    if len(headers) == 1:
        return first
    _require_one_axis_order(headers)
    cell, start, origin = list(first.cell), list(first.start), list(first.stored_origin)
    differing = []
    for stored in (_COLUMN, _ROW, _SECTION):
        axis = first.axis_of(stored)
        sizes = [header.pixel_size(stored) for header in headers]
        if stored == _SECTION and all(header.nz <= 1 for header in headers):
            cell[axis] = 0.0
        elif not _equal(sizes, atol=0):
            cell[axis] = 0.0
            differing.append(f"pixel size along {'xyz'[axis]} ({_range(sizes)} Å)")
        elif stored != _SECTION:
            offsets = [header.offset(stored) for header in headers]
            if not _equal(offsets, atol=_TOLERANCE * (sizes[0] or 0)):
                start[stored], origin[axis] = 0, 0.0
                differing.append(f"origin along {'xyz'[axis]} ({_range(offsets)} Å)")
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


def _require_one_axis_order(headers: Sequence[Header]) -> None:
    orders = dict.fromkeys(header.axis_order for header in headers)
    if len(orders) > 1:
        raise FormatError(
            f"the files have different axes: MAPC, MAPR, MAPS are {' and '.join(map(str, orders))}",
            code="parts-differ",
            cause="the files differ in the directions of their columns and rows",
            remedy="pass files that belong together, or open them one by one",
        )


def common_scan(scans: Sequence[Scan]) -> Scan:
    """Return consecutive movies as one, with only the calibration that all of them share.

    Either all of them have a time axis, or none has.
    """
    first, *others = scans
    if not others:
        return first
    ky, kx = (_common_axis(axes) for axes in zip(*(scan.signal for scan in scans), strict=True))
    time = (_common_axis(axes) for axes in zip(*(scan.navigation for scan in scans), strict=True))
    return Scan(first.kind, tuple(time), (ky, kx))


def common_sidecar(sidecars: Sequence[Sidecar], notes: Notes) -> Sidecar | None:
    """Return one sidecar with the values that the sidecars of several acquisitions share.

    For metadata only: a key that is left out because its values differ would be mistaken for one
    that no sidecar has. Scan and axes are therefore read from each sidecar, and compared by
    `common_scan`.
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
    shared = {
        name: value
        for name, value in first.values.items()
        if name not in left_out and not differs(name)
    }
    # Keys that calibrate an axis come first.
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
    return Sidecar(shared)


def joined_extended(
    extended: Sequence[ExtendedHeader | None], main: Sequence[Header], notes: Notes
) -> ExtendedHeader | None:
    """Join the extended headers of several files into one for all their sections.

    Records are concatenated; of texts and documents, only the common content is kept. None if the
    files have no extended headers, or different kinds. `main` are the main headers of the files.
    """
    headers = [each for each in extended if each is not None]
    if not headers or len(extended) == 1:
        return extended[0]
    first = headers[0]
    if len(headers) < len(extended) or any(
        each.kind != first.kind or each.columns.keys() != first.columns.keys() for each in headers
    ):
        kinds = Counter("none" if each is None else each.kind for each in extended)
        text = f"the files differ in their extended headers ({_counts(kinds)} files): none is used"
        notes.add(Note("files-differ-extended", text))
        return None
    complete = [each.n_records >= header.nz for each, header in zip(headers, main, strict=True)]
    columns = {}
    if all(complete[:-1]):  # records of the last file may be missing: they are at the end
        columns = {
            name: [value for each in headers for value in each.columns[name]]
            if isinstance(values, list)
            else np.concatenate([np.asarray(each.columns[name]) for each in headers])
            for name, values in first.columns.items()
        }
    document = first.document
    if document is not None:
        document = {
            key: value
            for key, value in document.items()
            if all((each.document or {}).get(key) == value for each in headers)
        }
    joined = replace(
        first,
        columns=columns,
        text=first.text if all(each.text == first.text for each in headers) else (),
        document=document,
        records=_joined_records(headers, complete=all(complete)),
    )
    if note := pixel_size_note(joined):
        notes.add(note)
    return joined


def _joined_records(headers: Sequence[ExtendedHeader], *, complete: bool) -> tuple[bytes, ...]:
    """Concatenate the records of several files; empty unless all can be written to one file."""
    first, files = headers[0], [each.decoder.header for each in headers]
    if len({(file.byteorder, file.nint, file.nreal) for file in files}) > 1:
        return ()
    if first.decoder.per_section:
        joined = tuple(record for each in headers for record in each.records)
        return joined if complete and all(each.records for each in headers) else ()
    return first.records if all(each.records == first.records for each in headers) else ()


def _common_axis(axes: Sequence[Axis]) -> Axis:
    """Return the axis if all are equal, or else one without calibration."""
    first = axes[0]
    if all(axis == first for axis in axes):
        return first
    # A diffraction pattern and an image have only the direction in common: ky and y become y.
    return Axis(min((axis.name for axis in axes), key=len), first.size, first.navigate)


def _space_group(headers: Sequence[Header]) -> int | None:
    """Return the space group that fits the sections of all files, or None."""
    first = headers[0]
    stacks = [header.ispg in VOLUME_STACKS for header in headers]
    if any(stacks):
        depth = first.depth
        equal = all(stacks) and all(header.depth == depth for header in headers)
        fits = depth <= 0 or all(header.nz % depth == 0 for header in headers)
        return first.ispg if equal and fits else None
    return first.ispg if len({header.ispg > 0 for header in headers}) == 1 else None


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{kind} in {count}" for kind, count in counter.items())


def _equal(values: Sequence[float | None], *, atol: float) -> bool:
    """Whether all values are equal, or all are unknown."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return not known
    return all(math.isclose(known[0], value, rel_tol=_TOLERANCE, abs_tol=atol) for value in known)


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    text = " to ".join(f"{value:g}" for value in dict.fromkeys((min(known), max(known))))
    return text if len(known) == len(values) else f"{text} and unknown"
