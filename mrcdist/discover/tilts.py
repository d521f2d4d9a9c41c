"""Tilt angles: passed by the caller, recorded in extended headers, or found next to the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcdist.discover.auxiliary_files import AuxiliaryFile
from mrcdist.errors import AccessDeniedError, ArgumentError, MissingFileError, SidecarError
from mrcdist.format.extended.registry import ExtendedHeader, tilt_angles
from mrcdist.format.header import VOLUME_STACKS, Header
from mrcdist.plan.tilt_series import TiltSeries
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Note, Notes

# Minimum range of a tilt series in degrees; a stationary stage drifts by less.
_MIN_TILT_RANGE = 1.0

# Maximum number of sections of a tilt series: a montage of 5 x 5 pieces at 200 tilts.
_MAX_SECTIONS = 5000


def find_tilts(
    headers: Sequence[Header],
    extended: ExtendedHeader | None,
    tilt_file: AuxiliaryFile[TiltSeries],
    frames: MissingFrames,
    notes: Notes,
    *,
    sort: bool,
    excluded_by: str,
) -> TiltSeries | None:
    """Return the tilt angles of the sections, if any.

    A file that the caller passes takes precedence over the extended headers, and these over a file
    found next to the data; for several data files, none is searched.

    `headers` has one entry per file; `extended` is the extended header of all files together.
    `excluded_by` is the reason why the sections have no angles, or "".
    """
    if excluded_by:
        series = None
    elif tilt_file.named:
        series = _passed(tilt_file, frames, notes)
    else:
        series = None if extended is None else _recorded(extended, frames)
        if series is None and len(headers) == 1 and _may_be_tilted(headers[0]):
            series = _discovered(tilt_file, frames, notes)
    if series is None:
        reason = excluded_by or "no tilt angles are known"
        for argument, is_passed in (("tilt_file", tilt_file.named), ("sort_by_tilt", sort)):
            if is_passed:
                notes.add(Note("option-unused", f"`{argument}` is not used: {reason}"))
        return None
    series = series.first(frames.present)
    return series.by_tilt() if sort else series


def _passed(
    tilt_file: AuxiliaryFile[TiltSeries], frames: MissingFrames, notes: Notes
) -> TiltSeries | None:
    """Return the angles in the file that the caller passes; raise if their number is wrong."""
    series = tilt_file.read(notes)
    if series is not None and len(series.angles) != frames.announced:
        raise ArgumentError(
            f"{series.source} has {len(series.angles)} tilt angles, but the file has "
            f"{frames.announced} sections",
            code="tilt-angles-mismatch",
            argument="tilt_file",
            cause="the list belongs to another tilt series, or sections were left out",
            remedy="pass the list that belongs to this file, or `tilt_file=None`",
        )
    return series


def _recorded(extended: ExtendedHeader, frames: MissingFrames) -> TiltSeries | None:
    """Return the angles in the extended headers, if all sections have one and they differ."""
    angles = tilt_angles(extended)
    if angles is None or len(angles) < frames.present:
        return None
    angles = angles[: frames.announced]
    if np.ptp(angles) < _MIN_TILT_RANGE:
        return None
    return TiltSeries.of(angles, "extended header")


def _discovered(
    tilt_file: AuxiliaryFile[TiltSeries], frames: MissingFrames, notes: Notes
) -> TiltSeries | None:
    """Return the angles in a file next to the data; add a note if they cannot be used."""
    try:
        series = tilt_file.read(notes)
    except (SidecarError, AccessDeniedError, MissingFileError) as error:
        # A movie and an image of a grid have an .mdoc without angles.
        if error.code != "tilt-angles-missing":
            notes.add(Note("tilt-angles-unused", f"no tilt angles are used: {error.problem}"))
        return None
    if series is None:
        return None
    if np.ptp(series.angles) < _MIN_TILT_RANGE:
        # SerialEM writes an .mdoc for everything it records; a list is made for a tilt series.
        if series.source.lower().endswith(".mdoc"):
            return None
        reason = (
            f"its tilt angles, from {min(series.angles):g} to {max(series.angles):g} degrees, are "
            "those of a stationary stage; a file that is passed as `tilt_file` is always used"
        )
    elif len(series.angles) != frames.announced:
        reason = (
            f"it has {len(series.angles)} tilt angles, but the file has {frames.announced} sections"
        )
    else:
        return series
    notes.add(Note("tilt-angles-unused", f"{series.source} is not used: {reason}"))
    return None


def _may_be_tilted(header: Header) -> bool:
    """Whether listing the directory is worthwhile: a volume with a section spacing has no tilts."""
    measured = header.ispg > 0 and header.pixel_size(2) is not None
    return 1 < header.nz <= _MAX_SECTIONS and not (measured or header.ispg in VOLUME_STACKS)
