"""Planning on the client: a few small reads → axes, layout, chunks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mrcdist.discover.auxiliary_files import SCAN_POINTS, TILT_ANGLES, AuxiliaryFile, find_sidecars
from mrcdist.discover.files import Directory, FoundFiles, errors_at
from mrcdist.discover.images import CompanionImages, FoundImage
from mrcdist.discover.mrc_file import OpenedFile, open_files
from mrcdist.discover.scan import ScanSources, scan_of_records
from mrcdist.discover.tilts import find_tilts
from mrcdist.errors import ArgumentError, FormatError, TruncatedFileError
from mrcdist.format.axis import Axis
from mrcdist.format.extended.registry import (
    ExtendedHeader,
    recorded_scan,
    scan_step,
    section_pixel_size,
)
from mrcdist.format.header import Header
from mrcdist.format.pixels import PixelFormat
from mrcdist.options import ReadOptions
from mrcdist.plan.agreement import (
    common_header,
    common_pixels,
    common_sidecar,
    joined_extended,
)
from mrcdist.plan.axes import arrange, one_frame
from mrcdist.plan.layout import FrameTable, Layout
from mrcdist.plan.navigation_shape import RequestedShape
from mrcdist.plan.skipped_frames import SkippedFrames
from mrcdist.plan.tilt_series import TiltSeries
from mrcdist.plan.truncation import MissingFrames
from mrcdist.read.source import DatasetFile, MrcSource
from mrcdist.read_limits import DEFAULT_LIMITS, ReadLimits
from mrcdist.read_plan import Plan, source_chunks
from mrcdist.warning_notes import Notes

_log = logging.getLogger(__name__)


def make_plan(
    found: FoundFiles,
    options: ReadOptions,
    notes: Notes | None = None,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Plan:
    """Return the plan of a dataset in one or more files, in the given order.

    `notes` about the files become the first notes of the plan.
    """
    files = open_files(found.files, options.endianness, limits)
    with errors_at(found.files[0]):
        plan = _plan(files, found.directory, options, notes or Notes())
        return plan if found.section is None else _select_section(plan, found.section)


def plan_image(image: FoundImage) -> Plan:
    """Return the plan of a companion image, which has no sidecar of its own."""
    return make_plan(FoundFiles.of(image.location), ReadOptions(metadata_file=None))


def _select_section(plan: Plan, number: int) -> Plan:
    """Return the plan of one frame; `number` counts from 1, in array order."""
    layout, table = plan.layout, plan.source.table
    if not 1 <= number <= layout.n_frames:
        raise ArgumentError(
            f"section {number} of {layout.n_frames}",
            code="section-missing",
            argument="filename",
            cause="the stack has no such section; sections are counted from 1",
            remedy="check the number before the @",
        )
    frame = np.asarray(number - 1 if table is None else table.flat[number - 1])
    single = replace(layout, navigation_shape=())
    n_navigation = len(layout.navigation_shape)
    return replace(
        plan,
        source=replace(plan.source, layout=single, table=frame),
        axes=plan.axes[n_navigation:],
        chunks=plan.chunks[n_navigation:],
        tilts=None,
    )


def _plan(
    files: Sequence[OpenedFile], directory: Directory, options: ReadOptions, notes: Notes
) -> Plan:
    file_notes = [notes.of_file(file.location.name, *file.notes) for file in files]
    locations = [file.location for file in files]
    sidecars, sidecar_by_file = find_sidecars(locations, options.metadata_file, directory, notes)
    sidecar = common_sidecar(sidecars, notes)
    notes.add(*(note for each in sidecars for note in each.notes))
    formats = common_pixels([file.header for file in files], sidecar_by_file, options.mode0, notes)
    missing = MissingFrames(allowed=options.allow_truncated)
    if len(files) == 1:
        files = [files[0].with_complete_rows(formats[0], missing, file_notes[0])]
    headers = [file.header for file in files]
    extended = joined_extended([file.extended for file in files], headers, notes)
    points = AuxiliaryFile(SCAN_POINTS, options.scan_file, directory)
    requested = RequestedShape.of(options.navigation_shape)
    scans = ScanSources(sidecars, points, [file.name for file in locations], requested, notes)
    n_points, line = scans.expected_points(extended)
    skipped = SkippedFrames.of(options.skip_frames, line)
    min_frames = None if requested is None else requested.min_frames
    required = skipped.frames_needed(n_points) or min_frames
    parts, in_files = _parts(files, formats, file_notes, missing, required)
    frames = skipped.in_scan(in_files, n_points, notes) if skipped else in_files
    header, axes, layout, table, tilts = _arrange(
        headers, formats[0], extended, scans, frames, skipped, options
    )
    layout = replace(layout, present=in_files.present)
    source = MrcSource(tuple(parts), layout, table, files[0].limits)
    return Plan(
        chunks=source_chunks(source, options.chunks),
        source=source,
        header=header,
        axes=axes,
        directory=directory,
        companions=CompanionImages(
            directory, sidecar, options.virtual_images, options.external_images
        ),
        sidecar=sidecar,
        extended=extended,
        tilts=tilts,
        file_notes=tuple(notes),
        options=options.command_line(),
    )


def _arrange(
    headers: Sequence[Header],
    pixels: PixelFormat,
    extended: ExtendedHeader | None,
    scans: ScanSources,
    frames: MissingFrames,
    skipped: SkippedFrames,
    options: ReadOptions,
) -> tuple[Header, tuple[Axis, ...], Layout, FrameTable | None, TiltSeries | None]:
    """Return header, axes, layout, the frame at each position, and tilt angles."""
    notes, requested = scans.notes, scans.requested
    frame_shape = (headers[0].ny, headers[0].nx)
    scan, table = scans.find(frames, frame_shape)
    # The calibration of a scan is that of its sidecar, so differences of headers are irrelevant.
    header = common_header(headers, notes if scan is None else Notes())
    pixel_size = None
    if extended is not None:
        pixel_size = _pixel_size(extended, frames.announced, frame_shape)
        recorded, reason = scan_of_records(extended, frames.announced, frame_shape)
        scan = scan or recorded
        if reason and requested is None:
            _log.info("%s", reason)
    no_tilts = ""
    if requested is not None:
        no_tilts = "`navigation_shape` defines the sections"
    elif skipped:
        no_tilts = "`skip_frames` leaves out sections"
    elif scan is not None:
        no_tilts = "the sections are those of a scan or movie"
    tilt_file = AuxiliaryFile(TILT_ANGLES, options.tilt_file, scans.points.directory)
    tilts = find_tilts(
        headers, extended, tilt_file, frames, notes, sort=options.sort_by_tilt, excluded_by=no_tilts
    )
    layout, axes = arrange(
        header,
        pixels,
        frames,
        notes,
        scan=scan,
        pixel_size=pixel_size,
        tilts=tilts,
        requested=requested,
    )
    table = table if tilts is None else tilts.table
    if skipped:
        table = skipped.file_frames(np.arange(layout.n_frames) if table is None else table)
    if table is not None:  # the frames are not in file order
        table = table.reshape(layout.navigation_shape)
    return header, axes, layout, table, tilts


def _parts(
    files: Sequence[OpenedFile],
    formats: Sequence[PixelFormat],
    notes: Sequence[Notes],
    frames: MissingFrames,
    required: int | None,
) -> tuple[list[DatasetFile], MissingFrames]:
    """Check that the files belong together, and count their frames.

    If the scan has more points than the headers announce frames, NZ may be out of date: frames
    after NZ are then read, too. `required` is the number of frames for all points, if known.
    """
    announced = sum(file.header.nz for file in files)
    at_most = 0 if required is None or required <= announced else required + 1
    one_format = len(set(formats)) == 1
    first = one_frame(files[0].header, formats[0])
    parts: list[DatasetFile] = []
    for file, pixels, file_notes in zip(files, formats, notes, strict=True):
        one = one_frame(file.header, pixels)
        _require_same_kind(files[0], first, file, one)
        if not frames.complete:
            raise TruncatedFileError(
                f"{parts[-1].file.location.shown} ends early, and another part follows it",
                code="part-truncated",
                cause="only the last part of an acquisition can be unfinished",
                remedy="copy the file again, or leave out the parts from there on",
            )
        with errors_at(file.location):
            part, counts = file.part(one, frames, file_notes, at_most=at_most)
        parts.append(part if one_format else replace(part, pixels=pixels))
        frames = frames.followed_by(counts)
    return parts, frames


def _require_same_kind(
    first: OpenedFile, first_frame: Layout, file: OpenedFile, frame: Layout
) -> None:
    same_shape = frame.frame_shape == first_frame.frame_shape
    if not same_shape or file.header.mode != first.header.mode:
        kind, first_kind = (
            f"{header.nx} × {header.ny} pixels of mode {header.mode}"
            for header in (file.header, first.header)
        )
        raise FormatError(
            f"{file.location.shown} does not match {first.location.shown}: {kind} against "
            f"{first_kind}",
            code="parts-differ",
            cause="the files are not parts of one acquisition",
            remedy="pass files that belong together, or open them one by one",
        )


def _pixel_size(
    extended: ExtendedHeader, n_frames: int, frame_shape: tuple[int, int]
) -> tuple[float, float] | None:
    """Return the pixel size of the sections; None if it may be the step of a scan."""
    size, step = section_pixel_size(extended), scan_step(extended)
    scan = recorded_scan(extended)
    by_camera = n_frames > 1 and scan is not None and scan.shape != frame_shape
    if by_camera and (size is None or step is None or np.allclose(size, step, rtol=1e-3)):
        return None
    return size
