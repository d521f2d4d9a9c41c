"""The scan that a sidecar describes, and where the frames of these files belong in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrcdist.discover.auxiliary_files import AuxiliaryFile
from mrcdist.discover.directory import Directory
from mrcdist.errors import SidecarError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.filenames import find_part_before
from mrcdist.format.direct_electron.scan import Scan, describe_scan, describe_signal
from mrcdist.format.direct_electron.scan_points import POINTS_REMEDY, Points, frame_table
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.format.direct_electron.sidecar_keys import SCAN_ENABLE
from mrcdist.format.extended.registry import ExtendedHeader, recorded_scan
from mrcdist.plan.agreement import agreed_scan
from mrcdist.plan.layout import FrameTable
from mrcdist.plan.navigation_shape import count_places
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Notes

__all__ = ["FoundScan", "expected_places", "find_scan"]

ScanPoints = AuxiliaryFile[tuple[Points, tuple[str, ...]]]

_SHAPE_IS_GIVEN = "navigation_shape takes the frames in the order of the file"


@dataclass(frozen=True)
class FoundScan:
    """Scan shape and frame order, from the sidecar and the scan points.

    Attributes
    ----------
    scan : Scan or None
    table : ndarray of int32 or int64, shape (y, x) or (y, x, repeat), or None
        Of a custom scan, the frame at each point, -1 where there is none.
    """

    scan: Scan | None = None
    table: FrameTable | None = None


def find_scan(
    sidecars: Sequence[Sidecar],
    scan_points: ScanPoints,
    directory: Directory,
    names: Sequence[str],
    frames: MissingFrames,
    notes: Notes,
    *,
    frame_shape: tuple[int, int],
    navigation_shape: Sequence[int] | None,
) -> FoundScan:
    """Find out what the frames are: places of a scan, or times of a movie.

    Parameters
    ----------
    sidecars : sequence of Sidecar
        Several where the files are of several acquisitions.
    scan_points : AuxiliaryFile
        The list of scan points, read if there is a use for it.
    directory : Directory
        That of the first file.
    names : sequence of str
        Of the files, in the order of their frames.
    frames : MissingFrames
    notes : Notes
    frame_shape : (int, int)
    navigation_shape : sequence of int or None
        See `mrcdist.read_mrc`.

    Raises
    ------
    SidecarError
        The sidecar contradicts itself or the files, the points of its scan are not known, or one
        of several sidecars is that of a scan.
    """
    if not sidecars:
        _unused(scan_points, "there is no sidecar that describes a scan", notes)
        return FoundScan()
    try:
        _require_one_scan(sidecars)
        scan = agreed_scan(
            [
                describe_scan(each, n_frames=frames.announced, frame_shape=frame_shape)
                for each in sidecars
            ]
        )
    except SidecarError:
        if navigation_shape is None:
            raise
        # The caller's shape is the remedy that the error names.
        _unused(scan_points, _SHAPE_IS_GIVEN, notes)
        return FoundScan(_frames_alone(sidecars, frame_shape))
    notes.add(*scan.notes)
    if navigation_shape is not None:
        _unused(scan_points, _SHAPE_IS_GIVEN, notes)
        return FoundScan(scan)
    if scan.kind == "raster":
        _require_the_first_frames(names, directory, places=scan.size, n_frames=frames.announced)
    if scan.kind != "custom":
        why = f"the sidecar describes a {scan.kind}, whose frames are in the order of the file"
        _unused(scan_points, why, notes)
        return FoundScan(scan)
    points = _read_points(scan_points, notes)
    _require_the_first_frames(names, directory, places=len(points), n_frames=frames.announced)
    frames.require_points(len(points), POINTS_REMEDY)
    frames.note_empty(len(points), notes)
    rows, columns = (axis.size for axis in scan.navigation)
    table = frame_table(points, shape=(rows, columns), n_frames=frames.present)
    repeats = tuple(Axis("repeat", size, navigate=True) for size in table.shape[2:])
    return FoundScan(
        dataclasses.replace(scan, navigation=(*scan.navigation, *repeats)),
        table.astype(np.int32) if frames.present < 2**31 else table,
    )


def expected_places(
    sidecars: Sequence[Sidecar],
    scan_points: ScanPoints,
    extended: ExtendedHeader | None,
    notes: Notes,
    *,
    navigation_shape: Sequence[int] | None,
) -> tuple[int | None, int | None]:
    """Return how many places there should be for frames, whatever NZ says, and how many per line.

    Parameters
    ----------
    sidecars : sequence of Sidecar
        Several where the files are of several acquisitions.
    scan_points : AuxiliaryFile
    extended : ExtendedHeader or None
    notes : Notes
    navigation_shape : sequence of int or None
        Wins over all else.

    Returns
    -------
    places : int or None
        Of the caller's shape, or points of the scan; None where neither is known.
    line : int or None
        None if there is no raster, or its lines are unknown.

    Raises
    ------
    SidecarError
        The list of scan points cannot be read.
    """
    if navigation_shape is not None:
        known = isinstance(navigation_shape, Sequence)
        line = count_places(navigation_shape[:1]) if known else None
        return count_places(navigation_shape), line
    if len(sidecars) > 1:
        return None, None
    if not sidecars:
        recorded = recorded_scan(extended) if extended is not None else None
        return (None, None) if recorded is None else (math.prod(recorded.shape), recorded.shape[1])
    try:
        scan = describe_scan(sidecars[0], n_frames=1, frame_shape=(1, 1))
    except SidecarError:
        return None, None  # said where the scan is needed
    if scan.kind == "raster":
        return scan.size, math.prod(axis.size for axis in scan.navigation[2:])
    return (len(_read_points(scan_points, notes)) if scan.kind == "custom" else None), None


def _require_one_scan(sidecars: Sequence[Sidecar]) -> None:
    """Refuse to join the frames of a scan with those of another acquisition."""
    scans = [sidecar.flag(SCAN_ENABLE) for sidecar in sidecars].count(True)
    if scans and len(sidecars) > 1:
        raise SidecarError(
            f"the files have {len(sidecars)} sidecars that differ, {scans} of them of a scan",
            code="sidecars-differ",
            argument="metadata_file",
            cause="the files are of several scans, or of scans and movies, and their frames have "
            "no common order",
            remedy="open them one by one, or pass {navigation_shape}, or {metadata_file=None} to "
            "read the frames as a plain stack; {metadata_file=...} names one sidecar for all",
        )


def _frames_alone(sidecars: Sequence[Sidecar], frame_shape: tuple[int, int]) -> Scan | None:
    """What the sidecars say of the frames where the caller says how they follow one another."""
    try:
        signals = [describe_signal(sidecar, frame_shape=frame_shape) for sidecar in sidecars]
    except SidecarError:
        return None
    return agreed_scan([Scan("movie", (), signal) for signal in signals])


def _read_points(scan_points: ScanPoints, notes: Notes) -> Points:
    found = scan_points.read(notes)
    if found is None:
        raise SidecarError(
            "the sidecar describes a custom scan, but no list of scan points was found",
            code="scan-points-missing",
            argument="scan_file",
            cause=scan_points.absence(),
            remedy="pass {scan_file=...}, or {navigation_shape=(frames,)} for the frames in file "
            "order",
        )
    points, odd = found
    notes.add(*odd)
    return points


def _unused(scan_points: ScanPoints, why: str, notes: Notes) -> None:
    """Note that the caller's list of points counts for nothing."""
    if scan_points.named:
        notes.add(f"scan_file is not used: {why}")


def _require_the_first_frames(
    names: Sequence[str], directory: Directory, *, places: int, n_frames: int
) -> None:
    """Refuse a later part for the start of a scan: each frame would be at another one's place."""
    if n_frames >= places:
        return
    if absent := find_part_before(names, directory.listing):
        raise SidecarError(
            f"the scan has {places} points, but the files given have only {n_frames} "
            f"frames, and {absent} is not among them",
            code="scan-parts-missing",
            cause=f"{names[-1]} is a numbered part, and the frames of earlier parts come first",
            remedy="pass the first part, which finds the others, or all parts as a list; for these "
            "frames alone, pass {navigation_shape=(frames,)}, or {metadata_file=None}",
        )
