"""Plan the reading of a dataset, on the client: a few small reads → axes, chunks, dask array."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from mrcdist.cluster_memory import FLOAT64_TEMPORARIES, task_memory
from mrcdist.discover.auxiliary_files import SCAN_POINTS, TILT_ANGLES, AuxiliaryFile
from mrcdist.discover.directory import Directory
from mrcdist.discover.files import FoundFiles
from mrcdist.discover.mrc_file import OpenedFile, open_files
from mrcdist.discover.scan import expected_places, find_scan
from mrcdist.discover.sidecars import find_sidecars
from mrcdist.discover.tilts import find_tilts
from mrcdist.errors import (
    ArgumentError,
    FormatError,
    MrcdistError,
    TruncatedFileError,
)
from mrcdist.format.direct_electron.scan import Scan
from mrcdist.format.extended.registry import (
    ExtendedHeader,
    recorded_scan,
    scan_of_sections,
    scan_step,
    section_pixel_size,
)
from mrcdist.format.header import Header
from mrcdist.format.pixels import PixelFormat, pixel_format
from mrcdist.options import ReadOptions
from mrcdist.plan.agreement import (
    agreed_header,
    agreed_pixels,
    agreed_sidecar,
    agreed_signs,
    joined_extended,
)
from mrcdist.plan.axes import AuxiliaryData, arrange, one_frame
from mrcdist.plan.chunks import Chunks, plan_chunks
from mrcdist.plan.layout import FrameTable, Layout
from mrcdist.plan.navigation_shape import count_required
from mrcdist.plan.skipped_frames import SkippedFrames
from mrcdist.plan.tilt_series import TiltSeries
from mrcdist.plan.truncation import MissingFrames
from mrcdist.read.source import DatasetFile, MrcSource
from mrcdist.read_plan import Plan
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Notes

__all__ = ["make_plan"]

_log = logging.getLogger(__name__)


def make_plan(found: FoundFiles, options: ReadOptions, notes: Notes | None = None) -> Plan:
    """Plan a dataset in one file or several, frame after frame in the order given.

    Parameters
    ----------
    found : FoundFiles
    options : ReadOptions
    notes : Notes, optional
        What is known already to be odd: the plan's first notes.

    Raises
    ------
    MrcdistError
        A file cannot be found, read or understood, or the options do not fit.
    """
    files = open_files(found.files, options.endianness)
    with _errors_at(found.files[0]):
        plan = _plan(files, found.directory, options, notes or Notes())
        return plan if found.section is None else _one_section(plan, found.section)


def _one_section(plan: Plan, number: int) -> Plan:
    """Return the plan of one frame, by its number from 1 in the order of the array."""
    layout, table = plan.layout, plan.source.table
    if not 1 <= number <= layout.n_frames:
        raise ArgumentError(
            f"section {number} of {layout.n_frames}",
            code="section-missing",
            argument="filename",
            cause="the stack has no such section; sections are counted from 1",
            remedy="check the number before the @",
        )
    frame = number - 1 if table is None else table.flat[number - 1]
    first = len(layout.navigation_shape)
    return replace(
        plan,
        source=replace(
            plan.source, layout=replace(layout, navigation_shape=()), table=np.asarray(frame)
        ),
        axes=plan.axes[first:],
        chunks=plan.chunks[first:],
        tilts=None,
    )


@contextmanager
def _errors_at(location: Location) -> Iterator[None]:
    """Add the file to an error that does not name it."""
    try:
        yield
    except MrcdistError as error:
        raise error.located(location.shown) from None


def _plan(
    files: Sequence[OpenedFile], directory: Directory, options: ReadOptions, notes: Notes
) -> Plan:
    own_notes = [notes.of_file(file.location.name) for file in files]
    for file, own in zip(files, own_notes, strict=True):
        own.add(*file.notes)
    sidecars, of_each = find_sidecars(
        [file.location for file in files], options.metadata_file, directory, notes
    )
    sidecar = agreed_sidecar(sidecars, notes)
    if sidecar is not None:
        notes.add(*sidecar.notes)
    pixels = agreed_pixels(
        [
            pixel_format(file.header, mode0=options.mode0, sidecar_unsigned=unsigned)
            for file, unsigned in zip(files, agreed_signs(of_each), strict=True)
        ],
        notes,
    )
    if len(files) == 1:
        one = one_frame(files[0].header, pixels[0])
        allowed = options.allow_truncated
        files = [files[0].with_complete_rows(one, own_notes[0], allowed=allowed)]
    headers = [file.header for file in files]
    extended = joined_extended(
        [file.extended for file in files], [header.nz for header in headers], notes
    )
    scan_points = AuxiliaryFile(SCAN_POINTS, options.scan_file, directory)
    places, line = expected_places(
        sidecars, scan_points, extended, notes, navigation_shape=options.navigation_shape
    )
    skipped = SkippedFrames.of(options.skip_frames, line)
    required = skipped.needed(places) or count_required(options.navigation_shape)
    parts, there = _parts(files, pixels, options, own_notes, required)
    frames = skipped.place(there, places, notes) if skipped else there
    found = find_scan(
        sidecars,
        scan_points,
        directory,
        [file.location.name for file in files],
        frames,
        notes,
        frame_shape=(headers[0].ny, headers[0].nx),
        navigation_shape=options.navigation_shape,
    )
    # A scan is calibrated by its sidecar.
    header = agreed_header(headers, notes if found.scan is None else Notes())
    auxiliary = _auxiliary_data(header, extended, found.scan, frames.announced, options)
    tilts = _tilts(
        headers, extended, directory, frames, auxiliary, options, notes, skipping=bool(skipped)
    )
    layout, axes = arrange(
        header,
        pixels[0],
        frames,
        notes,
        auxiliary=replace(auxiliary, tilts=tilts),
        navigation_shape=options.navigation_shape,
    )
    layout = replace(layout, present=there.present)
    table = _frame_table(found.table if tilts is None else tilts.table, skipped, layout)
    chunks = _chunks(parts, layout, options.chunks, in_order=table is None)
    return Plan(
        source=MrcSource(tuple(parts), layout, table),
        header=header,
        axes=axes,
        chunks=chunks,
        directory=directory,
        sidecar=sidecar,
        extended=extended,
        tilts=tilts,
        file_notes=tuple(notes),
        options=options.as_words(),
    )


def _frame_table(
    table: FrameTable | None, skipped: SkippedFrames, layout: Layout
) -> FrameTable | None:
    """The frame of the file at each place of the array; None where they are in its order."""
    if skipped:
        table = skipped.frames(np.arange(layout.n_frames) if table is None else table)
    return None if table is None else table.reshape(layout.navigation_shape)


def _parts(
    files: Sequence[OpenedFile],
    pixels: Sequence[PixelFormat],
    options: ReadOptions,
    notes: Sequence[Notes],
    places: int | None,
) -> tuple[list[DatasetFile], MissingFrames]:
    """Check that the files agree, and work out where their frames are.

    `places` is how many frames there should be, or be at least, if that is known.
    """
    alike = len(set(pixels)) == 1
    frame_of_each = [one_frame(file.header, own) for file, own in zip(files, pixels, strict=True)]
    parts: list[DatasetFile] = []
    said: list[Notes] = []
    frames = MissingFrames(0, 0, options.allow_truncated)
    for file, one in zip(files, frame_of_each, strict=True):
        if (one.frame_shape, file.header.mode) != (
            frame_of_each[0].frame_shape,
            files[0].header.mode,
        ):
            raise FormatError(
                f"{file.location.shown} does not match {files[0].location.shown}: "
                f"{_kind(file.header)} against {_kind(files[0].header)}",
                code="parts-differ",
                cause="the files are not parts of one acquisition",
                remedy="pass files that belong together, or open them one by one",
            )
        if not frames.complete:
            raise TruncatedFileError(
                f"{parts[-1].file.location.shown} ends early, and another part follows it",
                code="part-truncated",
                cause="only the last part of an acquisition can be unfinished",
                remedy="copy the file again, or leave out the parts from there on",
            )
        said.append(Notes())
        with _errors_at(file.location):
            part, more = file.part(one, said[-1], allowed=frames.allowed)
        parts.append(part if alike else replace(part, pixels=one.pixels))
        frames = frames.followed_by(more)
    if places is not None and places > frames.announced and frames.complete:
        for i, (file, part) in enumerate(zip(files, parts, strict=True)):
            with _errors_at(file.location):
                whole = file.whole_part(part, frame_of_each[i], at_most=places + 1)
            if whole.frames > part.frames:
                parts[i], said[i] = whole, Notes()
                frames = frames.with_unannounced(part.frames, whole.frames, said[i])
    for own, more_notes in zip(notes, said, strict=True):
        own.take(more_notes)
    return parts, frames


def _kind(header: Header) -> str:
    return f"{header.nx} × {header.ny} pixels of mode {header.mode}"


def _tilts(
    headers: Sequence[Header],
    extended: ExtendedHeader | None,
    directory: Directory,
    frames: MissingFrames,
    auxiliary: AuxiliaryData,
    options: ReadOptions,
    notes: Notes,
    *,
    skipping: bool,
) -> TiltSeries | None:
    """The tilt angles of the sections, where nothing else says what the sections are."""
    tilt_file = AuxiliaryFile(TILT_ANGLES, options.tilt_file, directory)
    series = None
    if options.navigation_shape is not None:
        why = "navigation_shape defines the sections"
    elif skipping:
        why = "skip_frames leaves out sections"
    elif auxiliary.scan is not None or auxiliary.scan_shape is not None:
        why = "the sections are those of a scan or movie"
    else:
        why = "no tilt angles are known"
        series = find_tilts(headers, extended, tilt_file, frames, notes)
    if series is None and tilt_file.named:
        notes.add(f"tilt_file is not used: {why}")
    if series is None and options.sort_by_tilt:
        notes.add(f"sort_by_tilt is not used: {why}")
    return series.by_tilt() if series is not None and options.sort_by_tilt else series


def _auxiliary_data(
    header: Header,
    extended: ExtendedHeader | None,
    scan: Scan | None,
    n_frames: int,
    options: ReadOptions,
) -> AuxiliaryData:
    """Axes as scan and extended header describe them."""
    if extended is None:
        return AuxiliaryData(scan=scan)
    scan_shape, note = scan_of_sections(extended, n_sections=n_frames)
    if note and options.navigation_shape is None:
        _log.info("%s", note)
    return AuxiliaryData(
        scan=scan,
        scan_shape=scan_shape,
        scan_step=scan_step(extended),
        pixel_size=_pixel_size(extended, n_frames, (header.ny, header.nx)),
    )


def _pixel_size(
    extended: ExtendedHeader, n_frames: int, frame_shape: tuple[int, int]
) -> tuple[float, float] | None:
    """The sections' pixel size, unless it is the step of a scan that a camera watched."""
    size, step = section_pixel_size(extended), scan_step(extended)
    scan = recorded_scan(extended)
    watched = n_frames > 1 and scan is not None and scan.shape != frame_shape
    if watched and (size is None or step is None or np.allclose(size, step, rtol=1e-3)):
        return None
    return size


def _chunks(parts: Sequence[DatasetFile], layout: Layout, wanted: Any, *, in_order: bool) -> Chunks:
    """The caller's chunks, or one for each file where files are compressed streams."""
    if any(part.compression is not None for part in parts):
        counts = tuple(part.frames for part in parts)
        by_file = in_order and layout.navigation_shape == (sum(counts),)
        first, *others = layout.shape
        return (counts if by_file else (first,), *((size,) for size in others))
    cut_frames = all(part.sections is None for part in parts)
    # A task needs memory for temporaries in float64, too.
    memory, itemsize = task_memory(), layout.dtype.itemsize
    largest = None if memory is None else memory * itemsize // (itemsize + FLOAT64_TEMPORARIES)
    return plan_chunks(layout, wanted, cut_frames=cut_frames, largest=largest)
