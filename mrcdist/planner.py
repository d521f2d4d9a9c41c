"""Plan the reading of a dataset, on the client: a few small reads → axes, chunks, dask array."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mrcdist.cluster_memory import FLOAT64_TEMPORARIES, task_memory
from mrcdist.discover.auxiliary_files import SCAN_POINTS, TILT_ANGLES, AuxiliaryFile, find_sidecars
from mrcdist.discover.files import Directory, FoundFiles, errors_at
from mrcdist.discover.mrc_file import OpenedFile, open_files
from mrcdist.discover.scan import ScanSources, scan_of_records
from mrcdist.discover.tilts import find_tilts
from mrcdist.errors import ArgumentError, FormatError, TruncatedFileError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.format.extended.registry import (
    ExtendedHeader,
    recorded_scan,
    scan_step,
    section_pixel_size,
)
from mrcdist.format.header import Header
from mrcdist.format.pixels import PixelFormat, pixel_format
from mrcdist.options import ReadOptions
from mrcdist.plan.agreement import (
    common_header,
    common_pixels,
    common_sidecar,
    joined_extended,
    unsigned_by_sidecar,
)
from mrcdist.plan.axes import arrange, one_frame
from mrcdist.plan.chunks import Chunks, plan_chunks
from mrcdist.plan.layout import FrameTable, Layout
from mrcdist.plan.navigation_shape import min_frames
from mrcdist.plan.skipped_frames import SkippedFrames
from mrcdist.plan.tilt_series import TiltSeries
from mrcdist.plan.truncation import MissingFrames
from mrcdist.read.source import DatasetFile, MrcSource
from mrcdist.read_plan import Plan
from mrcdist.warning_notes import Notes

_log = logging.getLogger(__name__)


def make_plan(found: FoundFiles, options: ReadOptions, notes: Notes | None = None) -> Plan:
    """Plan a dataset in one file or several, frame after frame in the order given.

    `notes` is what is known already to be odd: the plan's first notes.
    """
    files = open_files(found.files, options.endianness)
    with errors_at(found.files[0]):
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


def _plan(
    files: Sequence[OpenedFile], directory: Directory, options: ReadOptions, notes: Notes
) -> Plan:
    own_notes = [notes.of_file(file.location.name, *file.notes) for file in files]
    locations = [file.location for file in files]
    sidecars, of_each = find_sidecars(locations, options.metadata_file, directory, notes)
    sidecar = common_sidecar(sidecars, notes)
    if sidecar is not None:
        notes.add(*sidecar.notes)
    pixels = _pixels(files, of_each, options, notes)
    if len(files) == 1:
        one = one_frame(files[0].header, pixels[0])
        allowed = options.allow_truncated
        files = [files[0].with_complete_rows(one, own_notes[0], allowed=allowed)]
    extended = joined_extended(
        [file.extended for file in files], [file.header.nz for file in files], notes
    )
    names = [location.name for location in locations]
    points = AuxiliaryFile(SCAN_POINTS, options.scan_file, directory)
    scans = ScanSources(sidecars, points, names, options.navigation_shape, notes)
    places, line = scans.expected_places(extended)
    skipped = SkippedFrames.of(options.skip_frames, line)
    required = skipped.frames_needed(places) or min_frames(options.navigation_shape)
    parts, there = _parts(files, pixels, options, own_notes, required)
    frames = skipped.in_scan(there, places, notes) if skipped else there
    header, axes, layout, table, tilts = _arranged(
        [file.header for file in files], pixels[0], extended, scans, frames, skipped, options
    )
    layout = replace(layout, present=there.present)
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


def _pixels(
    files: Sequence[OpenedFile],
    sidecars: Sequence[Sidecar | None],
    options: ReadOptions,
    notes: Notes,
) -> list[PixelFormat]:
    """How each file stores its pixels, with the dtype that all have in the array."""
    formats = [
        pixel_format(file.header, mode0=options.mode0, sidecar_unsigned=unsigned)
        for file, unsigned in zip(files, unsigned_by_sidecar(sidecars), strict=True)
    ]
    return common_pixels(formats, notes)


def _arranged(
    headers: Sequence[Header],
    pixels: PixelFormat,
    extended: ExtendedHeader | None,
    scans: ScanSources,
    frames: MissingFrames,
    skipped: SkippedFrames,
    options: ReadOptions,
) -> tuple[Header, tuple[Axis, ...], Layout, FrameTable | None, TiltSeries | None]:
    """Arrange the frames: header, axes, layout, the frame at each place, and tilt angles."""
    notes = scans.notes
    frame_shape = (headers[0].ny, headers[0].nx)
    scan, table = scans.find(frames, frame_shape)
    # A scan is calibrated by its sidecar.
    header = common_header(headers, notes if scan is None else Notes())
    pixel_size = None
    if extended is not None:
        pixel_size = _pixel_size(extended, frames.announced, frame_shape)
        of_records, why_not = scan_of_records(extended, frames.announced, frame_shape)
        scan = scan or of_records
        if why_not and options.navigation_shape is None:
            _log.info("%s", why_not)
    other = ""
    if options.navigation_shape is not None:
        other = "navigation_shape defines the sections"
    elif skipped:
        other = "skip_frames leaves out sections"
    elif scan is not None:
        other = "the sections are those of a scan or movie"
    tilt_file = AuxiliaryFile(TILT_ANGLES, options.tilt_file, scans.points.directory)
    tilts = find_tilts(
        headers, extended, tilt_file, frames, notes, by_tilt=options.sort_by_tilt, other=other
    )
    layout, axes = arrange(
        header,
        pixels,
        frames,
        notes,
        scan=scan,
        pixel_size=pixel_size,
        tilts=tilts,
        navigation_shape=options.navigation_shape,
    )
    table = table if tilts is None else tilts.table
    if skipped:
        table = skipped.file_frames(np.arange(layout.n_frames) if table is None else table)
    if table is not None:  # the frames are not in the order of the file
        table = table.reshape(layout.navigation_shape)
    return header, axes, layout, table, tilts


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
    ones = [one_frame(file.header, own) for file, own in zip(files, pixels, strict=True)]
    alike = len(set(pixels)) == 1
    parts: list[DatasetFile] = []
    said = [Notes() for _ in files]
    frames = MissingFrames(0, 0, options.allow_truncated)
    for file, one, own in zip(files, ones, said, strict=True):
        _require_same_kind(files[0], ones[0], file, one)
        if not frames.complete:
            raise TruncatedFileError(
                f"{parts[-1].file.location.shown} ends early, and another part follows it",
                code="part-truncated",
                cause="only the last part of an acquisition can be unfinished",
                remedy="copy the file again, or leave out the parts from there on",
            )
        with errors_at(file.location):
            part, more = file.part(one, own, allowed=frames.allowed)
        parts.append(part if alike else replace(part, pixels=one.pixels))
        frames = frames.followed_by(more)
    if places is not None and places > frames.announced and frames.complete:
        for i, (file, part) in enumerate(zip(files, parts, strict=True)):
            with errors_at(file.location):
                whole = file.whole_part(part, ones[i], at_most=places + 1)
            if whole.frames > part.frames:
                parts[i], said[i] = whole, Notes()
                frames = frames.with_unannounced(part.frames, whole.frames, said[i])
    for own, more_notes in zip(notes, said, strict=True):
        own.take(more_notes)
    return parts, frames


def _require_same_kind(first: OpenedFile, its_frame: Layout, file: OpenedFile, one: Layout) -> None:
    same_shape = one.frame_shape == its_frame.frame_shape
    if not same_shape or file.header.mode != first.header.mode:
        kind, its_kind = (
            f"{header.nx} × {header.ny} pixels of mode {header.mode}"
            for header in (file.header, first.header)
        )
        raise FormatError(
            f"{file.location.shown} does not match {first.location.shown}: {kind} against "
            f"{its_kind}",
            code="parts-differ",
            cause="the files are not parts of one acquisition",
            remedy="pass files that belong together, or open them one by one",
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
