"""The tilt angles of a series: from a named file, extended headers, or a file beside the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mrcdist.discover.auxiliary_files import AuxiliaryFile
from mrcdist.errors import AccessDeniedError, ArgumentError, MissingFileError, SidecarError
from mrcdist.format.extended.registry import ExtendedHeader, tilt_angles
from mrcdist.format.header import VOLUME_STACKS, Header
from mrcdist.plan.tilt_series import TiltSeries
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Notes

TiltFile = AuxiliaryFile[tuple[str, npt.NDArray[np.float64]]]

# Degrees between the extremes of a tilt series; a stage that is meant to stand still moves less.
_LEAST_TILT_RANGE = 1.0

# A montage of 5 x 5 pieces at 200 tilts has as many sections.
_MAX_SECTIONS = 5000


def find_tilts(
    headers: Sequence[Header],
    extended: ExtendedHeader | None,
    tilt_file: TiltFile,
    frames: MissingFrames,
    notes: Notes,
    *,
    by_tilt: bool,
    other: str,
) -> TiltSeries | None:
    """Find the tilt angles of the sections that are there.

    A file that the caller names wins over the extended headers, which win over one that lies
    beside the data. None is looked for beside a list of files.

    `headers` are those of the files, `extended` is that of all together. `other` is what else says
    what the sections are, so that they have no angles; "" if nothing does.
    """
    series = None
    if not other and tilt_file.named:
        series = _named(tilt_file, frames, notes)
    elif not other:
        announced = sum(header.nz for header in headers)
        series = None if extended is None else _recorded(extended, announced, frames)
        if series is None and len(headers) == 1 and _may_be_tilted(headers[0]):
            series = _look(tilt_file, frames, notes)
    if series is None:
        why = other or "no tilt angles are known"
        for argument, given in (("tilt_file", tilt_file.named), ("sort_by_tilt", by_tilt)):
            if given:
                notes.add(f"{argument} is not used: {why}")
        return None
    series = series.first(frames.present)
    return series.by_tilt() if by_tilt else series


def _named(tilt_file: TiltFile, frames: MissingFrames, notes: Notes) -> TiltSeries | None:
    """The angles in the file that the caller names."""
    series = _read(tilt_file, notes)
    if series is not None and len(series.angles) != frames.announced:
        raise ArgumentError(
            f"{tilt_file.shown} has {len(series.angles)} tilt angles, the file "
            f"{frames.announced} sections",
            code="tilt-angles-mismatch",
            argument="tilt_file",
            cause="the list belongs to another tilt series, or sections were left out",
            remedy="pass the list that belongs to this file, or {tilt_file=None}",
        )
    return series


def _read(tilt_file: TiltFile, notes: Notes) -> TiltSeries | None:
    found = tilt_file.read(notes)
    if found is None:
        return None
    name, angles = found
    return TiltSeries.of(angles, name or "tilt_file")


def _recorded(extended: ExtendedHeader, announced: int, frames: MissingFrames) -> TiltSeries | None:
    """The angles in the extended headers, where all sections have one and they differ."""
    angles = tilt_angles(extended)
    if angles is None or len(angles) < min(announced, frames.present):
        return None
    angles = angles[:announced]
    if np.ptp(angles) < _LEAST_TILT_RANGE:
        return None
    return TiltSeries.of(angles.tolist(), "extended header")


def _look(tilt_file: TiltFile, frames: MissingFrames, notes: Notes) -> TiltSeries | None:
    """The angles in a file beside the data; it is only noted that they cannot be used."""
    try:
        series = _read(tilt_file, notes)
    except (SidecarError, AccessDeniedError, MissingFileError) as error:
        # A movie's frames and an image of a grid have an .mdoc, too.
        if error.code != "tilt-angles-missing":
            notes.add(f"no tilt angles are used: {error.problem}")
        return None
    if series is None:
        return None
    if np.ptp(series.angles) < _LEAST_TILT_RANGE:
        # SerialEM writes an .mdoc for whatever it records; a list is made for a tilt series.
        if not series.source.lower().endswith(".mdoc"):
            notes.add(
                f"{series.source} is not used: its tilt angles, from {min(series.angles):g} to "
                f"{max(series.angles):g} degrees, are those of a stationary stage; a file "
                "that is named as tilt_file is used whatever its angles"
            )
        return None
    if len(series.angles) != frames.announced:
        notes.add(
            f"{series.source} is not used: it has {len(series.angles)} tilt angles, the file "
            f"{frames.announced} sections"
        )
        return None
    return series


def _may_be_tilted(header: Header) -> bool:
    """Whether it is worth listing the directory: a volume with a distance of sections is none."""
    measured = header.ispg > 0 and header.pixel_size(2) is not None
    return 1 < header.nz <= _MAX_SECTIONS and not (measured or header.ispg in VOLUME_STACKS)
