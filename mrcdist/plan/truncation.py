"""Missing frames: one policy for images, files, scans and shapes.

No frame is dropped or invented: more frames than scan points are always an error. Fewer frames are
an error unless the caller passes ``allow_truncated``. In that case a stack contains the complete
frames, missing frames of a scan read as 0, and a note gives their number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mrcdist.errors import ArgumentError, SidecarError, TruncatedFileError
from mrcdist.format.direct_electron.scan import Scan
from mrcdist.format.direct_electron.scan_points import MAX_POSITIONS
from mrcdist.warning_notes import Note, Notes

SHAPE_REMEDY = (
    "pass `navigation_shape=(x, y, ...)` in HyperSpy's order, fastest axis first; "
    "one length may be -1"
)


@dataclass(frozen=True)
class MissingFrames:
    """Policy for missing frames, and how many are missing.

    `allowed` is the caller's `allow_truncated`. `announced` is the number of frames according to
    the headers of the files counted so far, of which the first `present` are complete.
    """

    announced: int = 0
    present: int = 0
    allowed: bool = False

    def complete_rows(self, announced: int, *, nbytes: int, row_bytes: int, notes: Notes) -> int:
        """Return how many rows of a single image to read, and note missing ones.

        If not even one row is complete, all are announced to `in_file`, which raises.
        """
        rows = nbytes // row_bytes if self.allowed and row_bytes else 0
        if not 0 < rows < announced:
            return announced
        text = f"the file is truncated: {rows} of {announced} rows of the image are complete"
        notes.add(Note("file-truncated", text))
        return rows

    def in_file(
        self,
        announced: int,
        *,
        start: int,
        frame_bytes: int,
        file_size: int | None,
        notes: Notes,
    ) -> MissingFrames:
        """Count the complete frames of a file, and note missing frames and trailing bytes.

        `announced` is NZ, `start` the offset of the first frame. A file of unknown size is assumed
        to be complete. Raises if frames are missing and `allowed` is False, or if no frame is
        complete.
        """
        expected = start + announced * frame_bytes
        trailing = 0 if file_size is None else file_size - expected
        if trailing > 0:
            text = (
                f"{trailing} bytes follow the {announced} frames that the header announces: "
                "not read"
            )
            if frame_bytes and trailing % frame_bytes == 0:
                frames = announced + trailing // frame_bytes
                text += f"; `navigation_shape=({frames},)` reads them as frames"
            notes.add(Note("bytes-after-frames", text))
        if file_size is None or trailing >= 0:
            return replace(self, announced=announced, present=announced)
        present = max((file_size - start) // frame_bytes, 0)
        counts = replace(self, announced=announced, present=present)
        # If as many bytes are missing as the extended header has, it may not exist.
        no_extended_header = (
            "; if the data start at byte 1024, write NSYMBT = 0 (bytes 92 to 95)"
            if -trailing == start - 1024 > 0
            else ""
        )
        counts._require_allowed(
            f"the file has {file_size} bytes, but its header announces {expected}: "
            f"{counts.present} of {announced} frames are complete",
            cause="the acquisition was aborted or is still running, or the copy is incomplete",
            remedy="finish the acquisition or copy the file again; `allow_truncated=True` "
            f"loads the complete frames{no_extended_header}",
            if_none=f"the file has {file_size} bytes, less than one frame of {frame_bytes} bytes",
        )
        text = (
            f"the file is truncated: {counts.present} of {announced} frames are complete, "
            f"{announced - counts.present} missing"
        )
        notes.add(Note("file-truncated", text))
        return counts

    def in_sections(
        self, announced: int, complete: int, *, file_size: int, notes: Notes
    ) -> MissingFrames:
        """Count the complete sections of an MRCZ file, which are compressed separately.

        `announced` is NZ. Raises as `in_file` does.
        """
        counts = replace(self, announced=announced, present=complete)
        if counts.complete:
            return counts
        counts._require_allowed(
            f"the header announces {announced} compressed sections, but the {file_size} bytes "
            f"of the file contain {complete} complete ones",
            cause="the file is truncated, or is still being written or copied",
            remedy="copy it again; `allow_truncated=True` loads the complete sections",
            if_none=f"none of the sections in the {file_size} bytes of the file is complete",
        )
        missing = announced - complete
        text = f"{missing} of {announced} compressed sections are missing at the end"
        notes.add(Note("file-truncated", text))
        return counts

    def unannounced(self, nz: int, complete: int, notes: Notes) -> MissingFrames:
        """Return the counts of a file that has more `complete` frames than its NZ says.

        For a scan or a shape with more points than the headers announce frames: frames that exist
        must not read as 0.
        """
        text = (
            f"NZ = {nz} is out of date: the file has {complete} complete frames, and all are read"
        )
        notes.add(Note("frames-unannounced", text))
        return replace(self, announced=complete, present=complete)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of points of a shape without missing frames, or of the complete frames alone."""
        return (self.announced, self.present) if self.allowed else (self.announced,)

    @property
    def complete(self) -> bool:
        """Whether all announced frames are present."""
        return self.present == self.announced

    def followed_by(self, later: MissingFrames) -> MissingFrames:
        """Return the counts for these files followed by later ones."""
        announced, present = self.announced + later.announced, self.present + later.present
        return replace(self, announced=announced, present=present)

    def _require_allowed(self, problem: str, *, cause: str, remedy: str, if_none: str) -> None:
        """Raise unless frames may be missing and at least one is complete (`if_none`: problem)."""
        if not self.allowed:
            raise TruncatedFileError(problem, code="file-truncated", cause=cause, remedy=remedy)
        if self.present == 0:
            raise TruncatedFileError(
                if_none,
                code="file-truncated",
                cause="the acquisition was aborted, or the copy is incomplete",
                remedy="copy the file again",
            )

    def note_missing(self, n_points: int, notes: Notes) -> None:
        """Add a note with the number of points that have no frame, if any."""
        if n_points > self.present:
            missing = n_points - self.present
            text = f"{missing} of {n_points} frames are missing in the file and read as 0"
            notes.add(Note("frames-missing", text))

    def require_scan(self, scan: Scan) -> None:
        """Raise unless the frames fit the raster of a sidecar."""
        shape = " x ".join(str(axis.size) for axis in scan.navigation)
        problem = f"the scan of {shape} has {scan.size}"
        if scan.size < self.announced:
            raise SidecarError(
                f"{problem} points, but the file has {self.announced} frames",
                code="scan-size-mismatch",
                cause="the sidecar belongs to another acquisition, or frames were recorded outside "
                "the scan",
                remedy=f"{SHAPE_REMEDY}; or `metadata_file=None` to load a plain stack",
            )
        if self._too_long(scan.size):
            raise SidecarError(
                f"{problem} points, but the file has only {self.announced} frames",
                code="scan-too-long",
                cause=f"scans with missing frames can have at most {MAX_POSITIONS} points; the "
                "sidecar was edited or is damaged",
                remedy=SHAPE_REMEDY,
            )
        if not self._fit(scan.size):
            raise SidecarError(
                f"{problem} points, but the file has only {self.announced} frames",
                code="scan-incomplete",
                cause="the acquisition was aborted, or the sidecar belongs to another one",
                remedy=f"`allow_truncated=True` fills the missing frames with 0; or {SHAPE_REMEDY}",
            )

    def require_points(self, n_points: int, remedy: str) -> None:
        """Raise unless the frames fit a list of scan points.

        `remedy` applies if the list belongs to another file.
        """
        if self._fit(n_points):
            return
        if self.announced < n_points:
            cause = "the acquisition was aborted or is still running"
            remedy = "pass `allow_truncated=True` to fill the missing frames with 0"
        else:
            cause = "the list belongs to another acquisition, or the scan was repeated"
        raise SidecarError(
            f"the list of scan points has {n_points} points, but the movie has {self.announced} "
            "frames",
            code="scan-points-mismatch",
            argument="scan_file",
            cause=cause,
            remedy=remedy,
        )

    def require_shape(self, n_points: int, shown: str) -> None:
        """Raise unless the frames fit the caller's shape, which the error describes as `shown`."""
        too_long = self._too_long(n_points)
        if not too_long and (self._fit(n_points) or n_points in self.sizes):
            return
        cause = "every frame must belong to one point; none may be dropped or invented"
        remedy = f"{SHAPE_REMEDY}; `allow_truncated=True` fills missing frames with 0"
        if too_long:
            cause = f"scans with missing frames can have at most {MAX_POSITIONS} points"
            remedy = SHAPE_REMEDY
        raise ArgumentError(
            f"{shown} has {n_points} points, but the file has {self.announced} frames",
            code="navigation-shape-mismatch",
            argument="navigation_shape",
            cause=cause,
            remedy=remedy,
        )

    def _fit(self, n_points: int) -> bool:
        """Whether every frame has a point, and every point a frame unless some may be missing."""
        return n_points == self.announced or (self.allowed and n_points > self.announced)

    def _too_long(self, n_points: int) -> bool:
        return n_points > max(self.announced, MAX_POSITIONS)
