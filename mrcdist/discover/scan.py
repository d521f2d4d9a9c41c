"""The scan described by a sidecar or an extended header, and the positions of frames in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrcdist.discover.auxiliary_files import AuxiliaryFile
from mrcdist.errors import SidecarError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.filenames import find_part_before
from mrcdist.format.direct_electron.scan import Scan, describe_scan, describe_signal
from mrcdist.format.direct_electron.scan_points import POINTS_REMEDY, Points, frame_table
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.format.direct_electron.sidecar_keys import SCAN_ENABLE
from mrcdist.format.extended.registry import (
    ExtendedHeader,
    recorded_scan,
    scan_of_sections,
    scan_step,
)
from mrcdist.plan.agreement import common_scan
from mrcdist.plan.layout import FrameTable
from mrcdist.plan.navigation_shape import RequestedShape
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Note, Notes

_SHAPE_OVERRIDES = "`navigation_shape` takes the frames in the order of the file"


@dataclass(frozen=True)
class ScanSources:
    """Sources of information on the scan of some files; the `requested` shape overrides the others.

    Files of several acquisitions have several sidecars. `points` are read only if they are needed.
    `names` are the file names, in the order of their frames.
    """

    sidecars: Sequence[Sidecar]
    points: AuxiliaryFile[tuple[Points, tuple[Note, ...]]]
    names: Sequence[str]
    requested: RequestedShape | None
    notes: Notes

    def expected_points(self, extended: ExtendedHeader | None) -> tuple[int | None, int | None]:
        """Return the expected number of scan points, and the number per line.

        They come from the caller's shape or from the scan, whatever NZ is; None if unknown.
        """
        if self.requested is not None:
            line = self.requested.lengths[0]
            return self.requested.n_points, None if line == -1 else line
        if not self.sidecars:
            recorded = None if extended is None else recorded_scan(extended)
            return (math.prod(recorded.shape), recorded.shape[1]) if recorded else (None, None)
        if len(self.sidecars) > 1:
            return None, None
        try:
            scan = describe_scan(self.sidecars[0], n_frames=1, frame_shape=(1, 1))
        except SidecarError:
            return None, None  # raised by `find` if the scan is needed
        if scan.kind == "raster":
            return scan.size, math.prod(axis.size for axis in scan.navigation[2:])
        return (len(self._read_points()) if scan.kind == "custom" else None), None

    def find(
        self, frames: MissingFrames, frame_shape: tuple[int, int]
    ) -> tuple[Scan | None, FrameTable | None]:
        """Return the scan or movie that the sidecars describe, and the frame at each point.

        None without sidecars. Only a custom scan has a table of frames: -1 for points without a
        frame, shape (y, x) or (y, x, repeat). Raises if a sidecar contradicts itself or the files,
        if the points of its scan are unknown, or if one of several sidecars describes a scan.
        """
        if not self.sidecars:
            self._ignore_points("there is no sidecar that describes a scan")
            return None, None
        try:
            self._require_one_scan()
            scans = [
                describe_scan(each, n_frames=frames.announced, frame_shape=frame_shape)
                for each in self.sidecars
            ]
        except SidecarError:
            if self.requested is None:
                raise
            # The caller already follows the remedy of the error.
            self._ignore_points(_SHAPE_OVERRIDES)
            return self._signal_only(frame_shape), None
        self.notes.add(*(note for scan in scans for note in scan.notes))
        scan = common_scan(scans)
        if self.requested is not None:
            self._ignore_points(_SHAPE_OVERRIDES)
        elif scan.kind == "custom":
            return self._custom(scan, frames)
        else:
            if scan.kind == "raster":
                self._require_first_part(scan.size, frames.announced)
            self._ignore_points(
                f"the sidecar describes a {scan.kind}, whose frames are in the order of the file"
            )
        return scan, None

    def _custom(self, scan: Scan, frames: MissingFrames) -> tuple[Scan, FrameTable]:
        points = self._read_points()
        self._require_first_part(len(points), frames.announced)
        frames.require_points(len(points), POINTS_REMEDY)
        frames.note_missing(len(points), self.notes)
        rows, columns = (axis.size for axis in scan.navigation)
        table = frame_table(points, shape=(rows, columns), n_frames=frames.present)
        repeats = tuple(Axis("repeat", size, navigate=True) for size in table.shape[2:])
        scan = replace(scan, navigation=(*scan.navigation, *repeats))
        return scan, table.astype(np.int32) if frames.present < 2**31 else table

    def _require_one_scan(self) -> None:
        """Raise if the frames of a scan would be joined with those of another acquisition."""
        n_scans = [sidecar.flag(SCAN_ENABLE) for sidecar in self.sidecars].count(True)
        if n_scans and len(self.sidecars) > 1:
            raise SidecarError(
                f"the files have {len(self.sidecars)} sidecars that differ, {n_scans} of which "
                "describe a scan",
                code="sidecars-differ",
                argument="metadata_file",
                cause="the files belong to several scans, or to scans and movies, and their frames "
                "have no common order",
                remedy="open them one by one, or pass `navigation_shape`, or `metadata_file=None` "
                "to read the frames as a plain stack; `metadata_file=...` uses one sidecar for "
                "all files",
            )

    def _signal_only(self, frame_shape: tuple[int, int]) -> Scan | None:
        """Return the signal axes that the sidecars agree on, as a movie without a time axis."""
        try:
            signals = [describe_signal(each, frame_shape=frame_shape) for each in self.sidecars]
        except SidecarError:
            return None
        return common_scan([Scan("movie", (), signal) for signal in signals])

    def _read_points(self) -> Points:
        content = self.points.read(self.notes)
        if content is None:
            raise SidecarError(
                "the sidecar describes a custom scan, but no list of scan points was found",
                code="scan-points-missing",
                argument="scan_file",
                cause=self.points.absence(),
                remedy="pass `scan_file=...`, or `navigation_shape=(frames,)` for the frames in "
                "file order",
            )
        points, notes = content
        self.notes.add(*notes)
        return points

    def _ignore_points(self, reason: str) -> None:
        """Add a note if the caller passed a list of points, which is not used."""
        if self.points.named:
            self.notes.add(Note("option-unused", f"`scan_file` is not used: {reason}"))

    def _require_first_part(self, n_points: int, n_frames: int) -> None:
        """Raise if earlier parts of the scan are missing: frames would be at wrong points."""
        if n_frames >= n_points:
            return
        if missing := find_part_before(self.names, self.points.directory.listing):
            raise SidecarError(
                f"the scan has {n_points} points, but the files given have only {n_frames} "
                f"frames, and {missing} is not among them",
                code="scan-parts-missing",
                cause=f"{self.names[-1]} is a numbered part, and the frames of earlier parts come "
                "first",
                remedy="pass the first part, which finds the others, or all parts as a list; for "
                "these frames alone, pass `navigation_shape=(frames,)`, or `metadata_file=None`",
            )


def scan_of_records(
    extended: ExtendedHeader, n_frames: int, frame_shape: tuple[int, int]
) -> tuple[Scan | None, str | None]:
    """Return the scan that an extended header describes, if its points are the sections.

    Otherwise None, with the reason if a scan is described. Navigation axes are calibrated with the
    step of the scan. Signal axes are not calibrated, because the pixel size in the main header is
    also the step of the scan.
    """
    shape, reason = scan_of_sections(extended, n_sections=n_frames)
    if shape is None:
        return None, reason
    grid = [Axis(name, size, navigate=True) for name, size in zip("yx", shape, strict=True)]
    if step := scan_step(extended):
        axes_and_steps = zip(grid, step, strict=True)
        grid = [replace(axis, scale=scale, units="nm") for axis, scale in axes_and_steps]
    rows, columns = frame_shape
    signal = (Axis("ky", rows, navigate=False), Axis("kx", columns, navigate=False))
    return Scan("raster", tuple(grid), signal), None
