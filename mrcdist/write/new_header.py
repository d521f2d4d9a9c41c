"""Main and extended header of a new file, including what is kept of the source file's header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.encode import NewHeader, Storage, is_label
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.format.header import VOLUME_STACKS, Header
from mrcdist.format.header_words import IMOD_WORDS, header_words, mrcz_words
from mrcdist.format.modes import PACKED_LABEL
from mrcdist.format.std_header import header_of
from mrcdist.warning_notes import Note, Notes
from mrcdist.write.auxiliary_files import scan_axes, tilt_text
from mrcdist.write.contents import Contents, in_angstrom

ImageKind = Literal["images", "volume", "volumes"]
_ISPG = {"images": 0, "volume": 1, "volumes": 401}
_VOLUMES = range(1, 231)  # ISPG of a volume: its space group

_SECTION = 2  # index of sections in sizes of the header, after columns and rows
_TOLERANCE = 1e-4  # relative; header fields have 7 digits
_INT32_MAX = 2**31 - 1


def choose_kind(contents: Contents, kind: ImageKind | None, codec: int) -> ImageKind:
    """Return the kind of the sections, after checking that the array and MRCZ allow it."""
    kind, n_axes = kind or _detect_kind(contents), len(contents.axes)
    possible = {"images": True, "volume": n_axes <= 3, "volumes": n_axes == 4 and not codec}
    if possible.get(kind):
        return kind
    raise ArgumentError(
        f"`kind={kind!r}` for an array of {n_axes} axes{' with a compressor' * bool(codec)}",
        code="kind-invalid",
        argument="kind",
        cause="sections are images, slices of one volume, which has three axes, or slices of "
        "several volumes, which have four axes and cannot be stored as MRCZ",
        remedy='pass "images", "volume" or "volumes", reshape the array, or leave `compressor` '
        "out and write to .mrc",
    )


def _detect_kind(contents: Contents) -> ImageKind:
    """Return the kind that the axes or the source file's header indicate, by default images.

    The spacing of the sections of a volume is a length, and their axis is "z", or the one of x, y
    and z that is not an axis of the frames.
    """
    source = header_of(contents.original_metadata.get("std_header"))
    ispg = source.ispg if source else 0
    names = [axis.name for axis in contents.axes]
    if len(names) == 2:
        one_section = source is not None and source.nz == 1
        return "volume" if one_section and ispg in _VOLUMES else "images"
    if names[-3] != "z" and sorted(names[-3:]) != ["x", "y", "z"]:
        return "images"
    calibrated = in_angstrom(contents.axes[-3])[0] is not None
    if len(names) == 3 and (calibrated or ispg in _VOLUMES):
        return "volume"
    if names[:-3] == ["volume"] and (calibrated or ispg in VOLUME_STACKS):
        return "volumes"
    return "images"


def new_header(
    contents: Contents,
    storage: Storage,
    kind: ImageKind,
    extended: StoredRecords,
    labels: Sequence[str] | None,
    codec: int,
    notes: Notes,
) -> NewHeader:
    """Return the header of an array, without mrcdist's own label.

    By default, `labels` are those of the source file. Information that the header cannot store is
    added to `notes`.
    """
    shape = contents.array.shape
    stored = contents.axes[: -3 if kind == "images" else -4 : -1]
    missing = 3 - len(stored)
    sizes, origins = zip(*map(in_angstrom, stored), *[(None, 0.0)] * missing, strict=True)
    if scan_axes(contents.navigation) is None:
        for n, (axis, size) in enumerate(zip(stored, sizes, strict=False)):
            if axis.units and size is None:
                name = axis.name or n
                text = f"the unit {axis.units} of axis {name} cannot be stored in the header"
                notes.add(Note("unit-not-stored", text))
    order = ["xyz".index(axis.name) + 1 for axis in stored if axis.name in ("x", "y", "z")]
    if len(order) == 2:
        order.append(6 - sum(order))
    header = NewHeader(
        nx=shape[-1],
        ny=shape[-2],
        nz=contents.sections,
        storage=storage,
        byteorder=extended.byteorder,
        ispg=_ISPG[kind],
        intervals=(shape[-1], shape[-2], 1 if missing else stored[_SECTION].size),
        pixel_size=sizes,
        origin=origins,
        axis_order=(order[0], order[1], order[2]) if sorted(order) == [1, 2, 3] else (1, 2, 3),
        nsymbt=sum(map(len, extended.records)),
        exttyp=extended.exttyp,
        records=(extended.nint, extended.nreal),
        labels=_source_labels(contents) if labels is None else tuple(labels),
        codec=codec,
        mrcz_words=mrcz_words(contents.metadata, contents.original_metadata.get("mrcz_header")),
    )
    source = header_of(contents.original_metadata.get("std_header"))
    if source is not None:
        header = _with_source_fields(header, contents, source, notes)
    _note_uncalibrated_sections(header, contents, notes)
    replace(header, labels=("", *header.labels)).check()  # with room for mrcdist's own label
    return header


def _source_labels(contents: Contents) -> tuple[str, ...]:
    """Return the labels of the source file, except those about its storage."""
    words = contents.original_metadata.get("std_header")
    labels = words.get("LABELS") if isinstance(words, Mapping) else None
    if not isinstance(labels, list | tuple):
        return ()
    selected = [
        label
        for label in labels
        if isinstance(label, str)
        and label
        and is_label(label)
        and not label.startswith(("mrcdist ", "MRCZ"))
        and PACKED_LABEL not in label
    ]
    return tuple(selected[:9])


def _note_uncalibrated_sections(header: NewHeader, contents: Contents, notes: Notes) -> None:
    """Add a note if the calibration of a stack of images, such as its times, is stored nowhere."""
    if header.ispg != 0 or len(contents.navigation) != 1 or header.pixel_size[_SECTION] is not None:
        return
    [axis] = contents.navigation
    if axis.units and tilt_text(contents) is None and scan_axes(contents.navigation) is None:
        sentence = (
            f"the calibration of axis {axis.name or 0} ({axis.scale:.6g} {axis.units}, from "
            f"{axis.offset:.6g}) cannot be stored in the header of images"
        )
        notes.add(Note("sections-not-calibrated", sentence))


def choose_extended_header(
    contents: Contents,
    extended_header: bytes | Sequence[int] | None,
    exttyp: str | None,
    records: tuple[int, int],
    byteorder: ByteOrder | None,
    notes: Notes,
) -> StoredRecords:
    """Return the extended header of a new file, which also determines the file's byte order.

    Bytes are stored unchanged, with `exttyp`, and with NINT and NREAL from `records`. Numbers
    select records of the source file's extended header, which is in the original metadata; None
    selects all of them. The default byte order is that of the records. Adds a note if the extended
    header is not stored.
    """
    empty = StoredRecords("", (), byteorder or "<")
    raw = None
    if isinstance(extended_header, bytes | bytearray | memoryview):
        raw = bytes(extended_header)
    if exttyp is not None and not (raw and exttyp.isascii() and len(exttyp) <= 4):
        raise ArgumentError(
            f"`exttyp={exttyp!r}`",
            code="extended-header-type-invalid",
            argument="exttyp",
            cause="it is the type of an extended header, in up to four ASCII characters",
            remedy="pass `extended_header` with it",
        )
    if raw is not None:
        return StoredRecords(exttyp or "", (raw,), empty.byteorder, *records)
    source: Any = contents.original_metadata.get("extended_header")
    if not isinstance(source, Mapping) or "type" not in source:
        if extended_header is not None:
            raise _unusable(extended_header, "the data were read without an extended header")
        return empty
    stored = StoredRecords.from_dict(source.get("stored"))
    if stored is not None and not stored.per_section:
        return replace(stored, byteorder=empty.byteorder)
    if stored is not None and extended_header is not None:
        stored = _selected_records(stored, extended_header, contents.sections)
    if stored is None:
        reason = "it is of a kind that mrcdist does not write"
    elif len(stored.records) != contents.sections:
        reason = (
            f"it has {len(stored.records)} records for {contents.sections} sections; "
            "`extended_header=range(3, 10)` keeps those of sections 3 to 9"
        )
    elif byteorder not in (None, stored.byteorder):
        reason = f"its records have another byte order; `byteorder='{stored.byteorder}'` keeps it"
    else:
        return stored
    sentence = f"the extended header of the source file ({source['type']}) is left out: {reason}"
    notes.add(Note("extended-header-not-stored", sentence))
    return empty


def _selected_records(
    stored: StoredRecords, numbers: Sequence[int], sections: int
) -> StoredRecords:
    try:
        selected = stored.of_sections(numbers)
    except (IndexError, TypeError):
        raise _unusable(numbers, f"there are {len(stored.records)} records") from None
    if len(selected.records) != sections:
        raise _unusable(numbers, f"the data have {sections} sections")
    return selected


def _unusable(extended_header: object, cause: str) -> ArgumentError:
    return ArgumentError(
        f"`extended_header={extended_header!r}`",
        code="extended-header-invalid",
        argument="extended_header",
        cause=cause,
        remedy="pass the bytes of an extended header or, for each section of the data, its number "
        "in the array that was read",
    )


def _with_source_fields(
    header: NewHeader, contents: Contents, source: Header, notes: Notes
) -> NewHeader:
    """Add cell angles, space group, section spacing and NSTART of the source file."""
    alpha, beta, gamma = header_words(source.raw, source.byteorder)["angles"].tolist()
    if all(0 < angle < 180 for angle in (alpha, beta, gamma)):
        header = replace(header, angles=(alpha, beta, gamma))
    words = contents.original_metadata["std_header"]
    imod_words = [name for name in IMOD_WORDS if np.any(words.get(name))]
    if imod_words and source.imod_flags is not None:
        sentence = f"IMOD's header fields are not stored: {', '.join(imod_words)}"
        notes.add(Note("imod-words-not-stored", sentence))
    header = _with_space_group(header, source, notes)
    images = header.ispg == 0 and len(contents.navigation) < 2
    if (images or not contents.navigation) and header.pixel_size[_SECTION] is None:
        cell_axis = header.axis_order[_SECTION]
        size = source.pixel_size(source.axis_order.index(cell_axis))
        header = replace(
            header,
            pixel_size=(*header.pixel_size[:2], size),
            origin=(*header.origin[:2], source.origin[cell_axis - 1]),
        )
    return _with_start(header, contents, source, notes)


def _with_space_group(header: NewHeader, source: Header, notes: Notes) -> NewHeader:
    """Add the space group of a crystal, and the number of intervals of its unit cell."""
    crystal = source.ispg in _VOLUMES[1:] or source.ispg in VOLUME_STACKS[1:]
    if any(header.ispg in kind and source.ispg in kind for kind in (_VOLUMES, VOLUME_STACKS)):
        header = replace(header, ispg=source.ispg)
    elif crystal:
        sentence = (
            f"the space group (ISPG = {source.ispg}) is not stored: the data are not a volume"
        )
        notes.add(Note("space-group-not-stored", sentence))
    if header.ispg not in _VOLUMES or header.codec:
        return header
    # The intervals are those of the unit cell; a map may cover any part of it, or more than it.
    intervals = list(header.intervals)
    for stored, (cell_axis, size) in enumerate(
        zip(header.axis_order, header.pixel_size, strict=True)
    ):
        cell, length = cell_axis - 1, source.shape[source.axis_order.index(cell_axis)]
        if size is not None and (crystal or source.intervals[cell] != length):
            count = source.cell[cell] / size
            if 1 <= count <= _INT32_MAX and abs(count - round(count)) <= _TOLERANCE * count:
                intervals[stored] = round(count)
    return replace(header, intervals=(intervals[0], intervals[1], intervals[2]))


def _with_start(header: NewHeader, contents: Contents, source: Header, notes: Notes) -> NewHeader:
    """Add NXSTART, NYSTART and NZSTART, shifted by a crop of the data."""
    start, origin, lost = [0, 0, 0], list(header.origin), []
    for stored, cell_axis in enumerate(header.axis_order):
        in_source = source.axis_order.index(cell_axis)
        if source.start[in_source] == 0:
            continue
        axis = contents.axes[-1 - stored] if stored < len(contents.axes) else None
        if stored == _SECTION and len(contents.navigation) > 1 and header.ispg == 0:
            axis = None  # sections run along several axes
        shift = _shift(axis, source, in_source)
        if shift is None or abs(source.start[in_source] + shift) > _INT32_MAX:
            lost.append(f"N{'XYZ'[in_source]}START = {source.start[in_source]}")
            continue
        start[stored] = source.start[in_source] + shift
        if source.origin[cell_axis - 1] == 0:
            origin[stored] = 0.0
        elif origin[stored] == 0:  # NSTART without the origin would be another position
            start[stored] = 0
    if lost:
        sentence = f"{', '.join(lost)} is not stored: the pixels differ from those of the file"
        notes.add(Note("start-not-stored", sentence))
    return replace(
        header, start=(start[0], start[1], start[2]), origin=(origin[0], origin[1], origin[2])
    )


def _shift(axis: Axis | None, source: Header, stored: int) -> int | None:
    """Return the first pixel of the data along a stored axis of the source; None if unknown."""
    if axis is None:
        return 0 if source.shape[stored] == 1 else None
    (scale, offset), source_scale = in_angstrom(axis), source.pixel_size(stored)
    if scale is not None and source_scale is not None:
        if abs(scale - source_scale) > _TOLERANCE * source_scale:
            return None
        shift = (offset - source.offset(stored)) / source_scale
    elif scale is None and not axis.units and axis.scale == 1 and axis.values is None:
        shift = axis.offset
    elif axis.size == source.shape[stored] and axis.navigate:  # such as tilt angles
        shift = 0.0
    else:
        return None
    return round(shift) if abs(shift - round(shift)) < 0.01 else None
