"""The main and the extended header of a new file: its own, and what is kept of those read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.encode import NewHeader, Storage
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.format.header import IMOD_STAMP, VOLUME_STACKS, standard_origin
from mrcdist.format.header_words import IMOD_WORDS, mrcz_words
from mrcdist.format.modes import PACKED_LABEL
from mrcdist.warning_notes import Note
from mrcdist.write.auxiliary_files import scan_axes, tilt_text
from mrcdist.write.contents import Contents, in_angstrom

ImageKind = Literal["images", "volume", "volumes"]
_ISPG = {"images": 0, "volume": 1, "volumes": 401}

Triple = tuple[int, int, int]
FloatTriple = tuple[float, float, float]

_SECTION = 2  # columns are 0, rows 1
_SAME = 1e-4  # relative; a header has 7 digits


def choose_kind(contents: Contents, given: ImageKind | None, codec: int) -> ImageKind:
    """Return what sections are, if the array can have such ones, and MRCZ, which has a codec."""
    kind, axes = given or _kind_of(contents), len(contents.axes)
    stacked = kind == "volumes" and axes == 4 and not codec
    if kind == "images" or stacked or (kind == "volume" and axes <= 3):
        return kind
    raise ArgumentError(
        f"kind={kind!r} for an array of {axes} axes{' with a compressor' * bool(codec)}",
        code="kind-invalid",
        argument="kind",
        cause="sections are images, slices of one volume, which has three axes, or slices of "
        "several: of four axes, and not in MRCZ",
        remedy='pass "images", "volume" or "volumes", reshape the array, or leave the compressor '
        "out and write to .mrc",
    )


def _kind_of(contents: Contents) -> ImageKind:
    """Return volumes where the axes, or the header that was read, say so; else images.

    Axes do if their sections are a length apart: "z", or whichever of x, y and z frames have not.
    """
    source = SourceHeader.of(contents.original_metadata)
    ispg = source.ispg if source else 0
    names = [axis.name for axis in contents.axes]
    sections = names[-3] if len(names) > 2 else ""
    if len(names) == 2:
        one_section = source is not None and source.sizes[2] == 1
        return "volume" if 1 <= ispg <= 230 and one_section else "images"
    if sections != "z" and sorted(names[-3:]) != ["x", "y", "z"]:
        return "images"
    apart = in_angstrom(contents.axes[-3])[0] is not None
    if len(names) == 3 and (apart or 1 <= ispg <= 230):
        return "volume"
    if names[:-3] == ["volume"] and (apart or ispg in VOLUME_STACKS):
        return "volumes"
    return "images"


def new_header(
    contents: Contents,
    storage: Storage,
    kind: ImageKind,
    extended: StoredRecords,
    labels: Sequence[str] | None,
    codec: int,
    notes: list[str],
) -> NewHeader:
    """Return the header of an array, without mrcdist's own label; `notes` get what it cannot store.

    `labels` of None are those of the file that was read.
    """
    shape = contents.array.shape
    stored = [*contents.axes[: -3 if kind == "images" else -4 : -1]]
    calibrated = [in_angstrom(axis) for axis in stored]
    sizes, origins = zip(*calibrated, *[(None, 0.0)] * (3 - len(stored)), strict=True)
    notes += [
        Note(
            "unit-not-stored",
            f"the unit {axis.units} of axis {axis.name or number} cannot be stored in the header",
        )
        for number, axis in enumerate(stored)
        if axis.units and in_angstrom(axis)[0] is None and scan_axes(contents.navigation) is None
    ]
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
        intervals=(shape[-1], shape[-2], stored[_SECTION].size if len(stored) > 2 else 1),
        pixel_size=sizes,
        origin=origins,
        axis_order=(order[0], order[1], order[2]) if sorted(order) == [1, 2, 3] else (1, 2, 3),
        nsymbt=sum(map(len, extended.records)),
        exttyp=extended.exttyp,
        records=(extended.nint, extended.nreal),
        labels=_kept_labels(contents) if labels is None else tuple(labels),
        codec=codec,
        mrcz_words=mrcz_words(contents.metadata, contents.original_metadata.get("mrcz_header")),
    )
    source = SourceHeader.of(contents.original_metadata)
    if source is not None:
        header = _with_source_fields(header, contents, source, notes)
    notes += _unstored_sections(header, contents)
    replace(header, labels=("", *header.labels)).check()  # with mrcdist's own
    return header


def _kept_labels(contents: Contents) -> tuple[str, ...]:
    """Return the labels of the file that was read, without those that say how it was stored."""
    words = contents.original_metadata.get("std_header")
    labels = words.get("LABELS") if isinstance(words, Mapping) else None
    if not isinstance(labels, list | tuple):
        return ()
    kept = [
        label
        for label in labels
        if isinstance(label, str)
        and 0 < len(label) <= 80
        and label.isascii()
        and label.isprintable()
        and not label.startswith(("mrcdist ", "MRCZ"))
        and PACKED_LABEL not in label
    ]
    return tuple(kept[:9])


def _unstored_sections(header: NewHeader, contents: Contents) -> Iterator[Note]:
    """Yield the calibration of images along their stack, such as a time, if no file has it."""
    if header.ispg != 0 or len(contents.navigation) != 1 or header.pixel_size[2] is not None:
        return
    [axis] = contents.navigation
    if axis.units and tilt_text(contents) is None and scan_axes(contents.navigation) is None:
        sentence = (
            f"the calibration of axis {axis.name or 0} ({axis.scale:.6g} {axis.units}, from "
            f"{axis.offset:.6g}) cannot be stored in the header of images"
        )
        yield Note("sections-not-calibrated", sentence)


def choose_extended_header(
    contents: Contents,
    given: bytes | Sequence[int] | None,
    exttyp: str | None,
    records: tuple[int, int],
    byteorder: ByteOrder | None,
    notes: list[str],
) -> StoredRecords:
    """Choose the extended header of a new file, and with it the byte order of all of the file.

    Bytes are written as they are, with `exttyp`, and NINT and NREAL as `records`. Numbers are those
    of the sections that are written, counted along the array that was read; the records that were
    read are in its original metadata, and None is all of them. The default byte order is theirs.
    `notes` say what is left out.
    """
    nothing = StoredRecords("", (), byteorder or "<")
    raw = bytes(given) if isinstance(given, bytes | bytearray | memoryview) else None
    _check_type(exttyp, raw)
    if raw is not None:
        return StoredRecords(exttyp or "", (raw,), nothing.byteorder, *records)
    read: Any = contents.original_metadata.get("extended_header")
    if not isinstance(read, Mapping) or "type" not in read:
        if given is not None:
            raise _unusable(given, "no extended header was read with these data")
        return nothing

    def left_out(why: str) -> StoredRecords:
        sentence = f"the extended header that was read ({read['type']}) is left out: {why}"
        notes.append(Note("extended-header-not-stored", sentence))
        return nothing

    stored = StoredRecords.from_dict(read.get("stored"))
    if stored is None:
        return left_out("it is of a kind that is not written again")
    if not stored.per_section:
        return replace(stored, byteorder=nothing.byteorder)
    try:
        stored = stored if given is None else stored.of_sections(given)
    except (IndexError, TypeError):
        raise _unusable(given, f"there are {len(stored.records)} records") from None
    if len(stored.records) != contents.sections:
        if given is not None:
            raise _unusable(given, f"the data have {contents.sections} sections")
        return left_out(
            f"it has {len(stored.records)} records for {contents.sections} sections; "
            "extended_header=range(3, 10) keeps those of sections 3 to 9"
        )
    if byteorder not in (None, stored.byteorder):
        return left_out(
            f"its records have another byte order; byteorder='{stored.byteorder}' keeps it"
        )
    return stored


def _check_type(exttyp: str | None, raw: bytes | None) -> None:
    if exttyp is not None and not (raw and exttyp.isascii() and len(exttyp) <= 4):
        raise ArgumentError(
            f"exttyp={exttyp!r}",
            code="extended-header-type-invalid",
            argument="exttyp",
            cause="it names the type of an extended header in four ASCII characters",
            remedy="pass extended_header with it",
        )


def _unusable(given: object, cause: str) -> ArgumentError:
    return ArgumentError(
        f"extended_header={given!r}",
        code="extended-header-invalid",
        argument="extended_header",
        cause=cause,
        remedy="pass the bytes of an extended header, or one number for each section of the data: "
        "that of the section in the array that was read",
    )


@dataclass(frozen=True)
class SourceHeader:
    """The header of the file that the data were read from, by ``original_metadata.std_header``.

    Sizes, start (NXSTART, …) and axis_order (MAPC, …) go along columns, rows and sections;
    intervals (MX, …), cell (CELLA), angles (CELLB) and origin, which has MRC2014's sign, along the
    cell's X, Y and Z. `imod_words` are the names of IMOD's words that are not 0.
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

        def numbers(*names: str) -> Any:
            return tuple(_finite(words.get(name)) for name in names)

        order = numbers("MAPC", "MAPR", "MAPS")
        origin = numbers("XORIGIN", "YORIGIN", "ZORIGIN")
        stamped = words.get("IMODSTAMP") == IMOD_STAMP
        flags, version, ispg = numbers("IMODFLAGS", "NVERSION", "ISPG")
        if not standard_origin(flags if stamped else None, version):
            origin = tuple(-each for each in origin)
        return cls(
            numbers("NX", "NY", "NZ"),
            numbers("NXSTART", "NYSTART", "NZSTART"),
            numbers("MX", "MY", "MZ"),
            numbers("Xlen", "Ylen", "Zlen"),
            numbers("ALPHA", "BETA", "GAMMA"),
            origin,
            order if sorted(order) == [1, 2, 3] else (1, 2, 3),
            ispg,
            tuple(name for name in IMOD_WORDS if stamped and np.any(words.get(name))),
        )

    def pixel_size(self, cell_axis: int) -> float | None:
        """Pixel size in Å along a cell axis (0 X, 1 Y, 2 Z)."""
        edge, count = self.cell[cell_axis], self.intervals[cell_axis]
        return edge / count if edge > 0 and count > 0 else None


def _finite(value: Any) -> Any:
    return value if isinstance(value, int | float) and math.isfinite(value) else 0


def _with_source_fields(
    header: NewHeader, contents: Contents, source: SourceHeader, notes: list[str]
) -> NewHeader:
    """Add the space group, cell and NSTART of the file that was read to the axes' calibration."""
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
    return header if source.start == (0, 0, 0) else _with_start(header, contents, source, notes)


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
        start[stored] = first + shift
        if source.origin[cell_axis] == 0:
            origin[stored] = 0.0
        elif origin[stored] == 0:  # NSTART alone would be another position
            start[stored] = 0
    if lost:
        sentence = f"{', '.join(lost)} is not stored: the pixels differ from those of the file"
        notes.append(Note("start-not-stored", sentence))
    return replace(
        header, start=(start[0], start[1], start[2]), origin=(origin[0], origin[1], origin[2])
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
