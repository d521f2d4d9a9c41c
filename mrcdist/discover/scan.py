"""The scan that a sidecar or an extended header describes, and where the frames belong in it."""

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
from mrcdist.plan.navigation_shape import count_points
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Notes

_SHAPE_IS_GIVEN = "navigation_shape takes the frames in the order of the file"


@dataclass(frozen=True)
class ScanSources:
    """What says how the frames of some files belong in a scan.

    There are several sidecars where the files are of several acquisitions; `points` are read if
    there is a use for them; `names` are those of the files in the order of their frames. The
    caller's shape wins over all else.
    """

    sidecars: Sequence[Sidecar]
    points: AuxiliaryFile[tuple[Points, tuple[str, ...]]]
    names: Sequence[str]
    navigation_shape: Sequence[int] | None
    notes: Notes

    def expected_places(self, extended: ExtendedHeader | None) -> tuple[int | None, int | None]:
        """Return how many places there should be for frames, whatever NZ says, and per line.

        Of the caller's shape, or of the scan; None where they are not known, or lines are none.
        """
        shape = self.navigation_shape
        if shape is not None:
            line = count_points(shape[:1]) if isinstance(shape, Sequence) else None
            return count_points(shape), line
        if len(self.sidecars) > 1:
            return None, None
        if not self.sidecars:
            recorded = None if extended is None else recorded_scan(extended)
            if recorded is None:
                return None, None
            return math.prod(recorded.shape), recorded.shape[1]
        try:
            scan = describe_scan(self.sidecars[0], n_frames=1, frame_shape=(1, 1))
        except SidecarError:
            return None, None  # said where the scan is needed
        if scan.kind == "raster":
            return scan.size, math.prod(axis.size for axis in scan.navigation[2:])
        return (len(self._read_points()) if scan.kind == "custom" else None), None

    def find(
        self, frames: MissingFrames, frame_shape: tuple[int, int]
    ) -> tuple[Scan | None, FrameTable | None]:
        """Find out what the frames are: places of a scan, or times of a movie.

        Returns the scan of the sidecars, None without any; and of a custom scan the frame at each
        point, -1 where there is none, shape (y, x) or (y, x, repeat). Raises where a sidecar
        contradicts itself or the files, the points of its scan are not known, or one of several
        sidecars is that of a scan.
        """
        if not self.sidecars:
            self._ignore_points("there is no sidecar that describes a scan")
            return None, None
        try:
            self._require_one_scan()
            scan = common_scan(
                [
                    describe_scan(each, n_frames=frames.announced, frame_shape=frame_shape)
                    for each in self.sidecars
                ]
            )
        except SidecarError:
            if self.navigation_shape is None:
                raise
            # The caller's shape is the remedy that the error names.
            self._ignore_points(_SHAPE_IS_GIVEN)
            return self._frames_alone(frame_shape), None
        self.notes.add(*scan.notes)
        if self.navigation_shape is not None:
            self._ignore_points(_SHAPE_IS_GIVEN)
        elif scan.kind == "custom":
            return self._custom(scan, frames)
        else:
            if scan.kind == "raster":
                self._require_the_first_frames(scan.size, frames.announced)
            self._ignore_points(
                f"the sidecar describes a {scan.kind}, whose frames are in the order of the file"
            )
        return scan, None

    def _custom(self, scan: Scan, frames: MissingFrames) -> tuple[Scan, FrameTable]:
        points = self._read_points()
        self._require_the_first_frames(len(points), frames.announced)
        frames.require_points(len(points), POINTS_REMEDY)
        frames.note_missing(len(points), self.notes)
        rows, columns = (axis.size for axis in scan.navigation)
        table = frame_table(points, shape=(rows, columns), n_frames=frames.present)
        repeats = tuple(Axis("repeat", size, navigate=True) for size in table.shape[2:])
        scan = replace(scan, navigation=(*scan.navigation, *repeats))
        return scan, table.astype(np.int32) if frames.present < 2**31 else table

    def _require_one_scan(self) -> None:
        """Refuse to join the frames of a scan with those of another acquisition."""
        scans = [sidecar.flag(SCAN_ENABLE) for sidecar in self.sidecars].count(True)
        if scans and len(self.sidecars) > 1:
            raise SidecarError(
                f"the files have {len(self.sidecars)} sidecars that differ, {scans} of them of a "
                "scan",
                code="sidecars-differ",
                argument="metadata_file",
                cause="the files are of several scans, or of scans and movies, and their frames "
                "have no common order",
                remedy="open them one by one, or pass {navigation_shape}, or {metadata_file=None} "
                "to read the frames as a plain stack; {metadata_file=...} names one sidecar for "
                "all",
            )

    def _frames_alone(self, frame_shape: tuple[int, int]) -> Scan | None:
        """What the sidecars say of the frames where the caller says how they follow one another."""
        try:
            signals = [describe_signal(each, frame_shape=frame_shape) for each in self.sidecars]
        except SidecarError:
            return None
        return common_scan([Scan("movie", (), signal) for signal in signals])

    def _read_points(self) -> Points:
        found = self.points.read(self.notes)
        if found is None:
            raise SidecarError(
                "the sidecar describes a custom scan, but no list of scan points was found",
                code="scan-points-missing",
                argument="scan_file",
                cause=self.points.absence(),
                remedy="pass {scan_file=...}, or {navigation_shape=(frames,)} for the frames in "
                "file order",
            )
        points, odd = found
        self.notes.add(*odd)
        return points

    def _ignore_points(self, why: str) -> None:
        """Note that the caller's list of points counts for nothing."""
        if self.points.named:
            self.notes.add(f"scan_file is not used: {why}")

    def _require_the_first_frames(self, places: int, n_frames: int) -> None:
        """Refuse a later part for the start of a scan: frames would be at others' places."""
        if n_frames >= places:
            return
        if absent := find_part_before(self.names, self.points.directory.listing):
            raise SidecarError(
                f"the scan has {places} points, but the files given have only {n_frames} "
                f"frames, and {absent} is not among them",
                code="scan-parts-missing",
                cause=f"{self.names[-1]} is a numbered part, and the frames of earlier parts come "
                "first",
                remedy="pass the first part, which finds the others, or all parts as a list; for "
                "these frames alone, pass {navigation_shape=(frames,)}, or {metadata_file=None}",
            )


def scan_of_records(
    extended: ExtendedHeader, n_frames: int, frame_shape: tuple[int, int]
) -> tuple[Scan | None, str | None]:
    """Return the scan whose points the sections are, by their extended header; or why it is none.

    Its step calibrates the scan. The pixel size in the main header is that of the scan, too.
    """
    shape, note = scan_of_sections(extended, n_sections=n_frames)
    if shape is None:
        return None, note
    step = scan_step(extended)
    grid = [Axis(name, size, navigate=True) for name, size in zip("yx", shape, strict=True)]
    if step is not None:
        both = zip(grid, step, strict=True)
        grid = [replace(axis, scale=scale, units="nm") for axis, scale in both]
    ky, kx = (
        Axis(name, size, navigate=False)
        for name, size in zip(("ky", "kx"), frame_shape, strict=True)
    )
    return Scan("raster", tuple(grid), (ky, kx)), None
