"""Missing frames: one policy for files, scans and shapes.

Every frame needs a place, and no frame is dropped or invented: more frames than places are always
an error. Fewer frames are an error unless the caller passes ``allow_truncated``. In that case a
stack contains the complete frames, missing frames of a scan read as 0, and a note gives their
number.
"""

from __future__ import annotations

from dataclasses import dataclass

from mrcdist.errors import ArgumentError, SidecarError, TruncatedFileError
from mrcdist.format.direct_electron.scan import Scan
from mrcdist.format.direct_electron.scan_points import MAX_PLACES
from mrcdist.warning_notes import Note, Notes

SHAPE_REMEDY = (
    "pass {navigation_shape=(x, y, ...)} in HyperSpy's order, fastest axis first; "
    "one length may be -1"
)


@dataclass(frozen=True)
class MissingFrames:
    """Number of frames that the headers of all files announce, and of those that are present.

    Complete frames are present, counted from the first. `allowed` is the caller's
    `allow_truncated`: whether frames may be missing.
    """

    announced: int
    present: int
    allowed: bool

    @classmethod
    def in_file(
        cls,
        announced: int,
        *,
        start: int,
        frame_bytes: int,
        file_size: int | None,
        allowed: bool,
        notes: Notes,
    ) -> MissingFrames:
        """Count the complete frames of a file, and note missing frames and trailing bytes.

        `announced` is NZ, `start` the byte of the first frame. All frames are taken to be there if
        the size of the file is unknown. Raises where frames are missing and may not, and where not
        one is complete.
        """
        expected = start + announced * frame_bytes
        more = 0 if file_size is None else file_size - expected
        if more > 0:
            text = f"{more} bytes follow the {announced} frames that the header announces: not read"
            if frame_bytes and more % frame_bytes == 0:
                frames = announced + more // frame_bytes
                text += f"; navigation_shape=({frames},) reads them as frames"
            notes.add(Note("bytes-after-frames", text))
        if file_size is None or more >= 0:
            return cls(announced, announced, allowed)
        present = max((file_size - start) // frame_bytes, 0)
        if not allowed:
            # The extended header alone may be what is missing; its zeros leave a doubt.
            either = (
                "; if the data begin at byte 1024, write NSYMBT = 0 (bytes 92 to 95)"
                if expected - file_size == start - 1024 > 0
                else ""
            )
            raise TruncatedFileError(
                f"the file has {file_size} bytes, its header announces {expected}: "
                f"{present} of {announced} frames are complete",
                code="file-truncated",
                cause="the acquisition was aborted or is still running, or the copy is incomplete",
                remedy="finish the acquisition or copy the file again; {allow_truncated=True} "
                f"loads the complete frames{either}",
            )
        _require_one(
            present, f"the file has {file_size} bytes, less than one frame of {frame_bytes} bytes"
        )
        text = (
            f"the file is truncated: {present} of {announced} frames are complete, "
            f"{announced - present} missing"
        )
        notes.add(Note("file-truncated", text))
        return cls(announced, present, allowed)

    @classmethod
    def in_sections(
        cls, announced: int, whole: int, *, file_size: int, allowed: bool, notes: Notes
    ) -> MissingFrames:
        """Count the complete sections of an MRCZ file, which are compressed separately.

        `announced` is NZ, `whole` how many are complete. Raises as `in_file` does.
        """
        missing = announced - whole
        if missing and not allowed:
            raise TruncatedFileError(
                f"the header announces {announced} compressed sections, but the {file_size} bytes "
                f"of the file contain {whole} complete ones",
                code="file-truncated",
                cause="the file is truncated, or is still being written or copied",
                remedy="copy it again; {allow_truncated=True} loads the complete sections",
            )
        if missing:
            _require_one(
                whole, f"none of the sections in the {file_size} bytes of the file is complete"
            )
            text = f"{missing} of {announced} compressed sections are missing at the end"
            notes.add(Note("file-truncated", text))
        return cls(announced, whole, allowed)

    def with_unannounced(self, nz: int, whole: int, notes: Notes) -> MissingFrames:
        """Return the counts with all complete frames of a file whose NZ is out of date.

        This is for a scan or a shape with more places than the headers announce frames: a frame
        that is there never reads as 0. `nz` of them are announced, and `whole` are there.
        """
        text = f"NZ = {nz} is out of date: the file has {whole} complete frames, and all are read"
        notes.add(Note("frames-unannounced", text))
        more = whole - nz
        return MissingFrames(self.announced + more, self.present + more, self.allowed)

    @property
    def complete(self) -> bool:
        """Whether all announced frames are present."""
        return self.present == self.announced

    def followed_by(self, later: MissingFrames) -> MissingFrames:
        """Return the counts for these files followed by later ones."""
        return MissingFrames(
            self.announced + later.announced, self.present + later.present, self.allowed
        )

    def note_empty(self, places: int, notes: Notes) -> None:
        """Add a note with the number of places that have no frame, if any."""
        if places > self.present:
            notes.add(
                f"{places - self.present} of {places} frames are missing in the file and read as 0"
            )

    def require_scan(self, scan: Scan) -> None:
        """Refuse another number of frames than a sidecar's raster has, but for missing ones."""
        shape = " x ".join(str(axis.size) for axis in scan.navigation)
        said = f"the scan of {shape} has {scan.size}"
        if scan.size < self.announced:
            raise SidecarError(
                f"{said} points, but the file has {self.announced} frames",
                code="scan-size-mismatch",
                cause="the sidecar belongs to another acquisition, or frames were recorded outside "
                "the scan",
                remedy=f"{SHAPE_REMEDY}; or {{metadata_file=None}} to load a plain stack",
            )
        if self._absurd(scan.size):
            raise SidecarError(
                f"{said} points, but the file only {self.announced} frames",
                code="scan-too-long",
                cause=f"scans with missing frames can have at most {MAX_PLACES} points; the "
                "sidecar was edited or is damaged",
                remedy=SHAPE_REMEDY,
            )
        if not self._fills(scan.size):
            raise SidecarError(
                f"{said} points, but the file only {self.announced} frames",
                code="scan-incomplete",
                cause="the acquisition was aborted, or the sidecar belongs to another one",
                remedy=f"{{allow_truncated=True}} fills the missing frames with 0; or "
                f"{SHAPE_REMEDY}",
            )

    def require_points(self, points: int, remedy: str) -> None:
        """Refuse another number of frames than a list has points, but for missing ones.

        `remedy` is what to do if the list belongs to another file.
        """
        if self._fills(points):
            return
        if self.announced < points:
            cause = "the acquisition was aborted or is still running"
            remedy = "pass {allow_truncated=True} to fill the missing frames with 0"
        else:
            cause = "the list belongs to another acquisition, or the scan was repeated"
        raise SidecarError(
            f"the list of scan points has {points} points, but the movie has {self.announced} "
            "frames",
            code="scan-points-mismatch",
            argument="scan_file",
            cause=cause,
            remedy=remedy,
        )

    def require_shape(self, places: int, given: str) -> None:
        """Refuse another number of frames than the caller's shape has places, but for missing ones.

        If some may be missing, the shape may also be that of the complete frames alone. `given` is
        the argument as text, for the error.
        """
        as_present = self.allowed and places == self.present
        if not self._absurd(places) and (self._fills(places) or as_present):
            return
        cause = "every frame needs a place, and no frame may be dropped or invented"
        remedy = f"{SHAPE_REMEDY}; {{allow_truncated=True}} fills missing frames with 0"
        if self._absurd(places):
            cause = f"scans with missing frames can have at most {MAX_PLACES} points"
            remedy = SHAPE_REMEDY
        raise ArgumentError(
            f"{given} has {places} points, but the file has {self.announced} frames",
            code="navigation-shape-mismatch",
            argument="navigation_shape",
            cause=cause,
            remedy=remedy,
        )

    def _fills(self, places: int) -> bool:
        """Whether every frame has a place, and every place a frame unless some may be missing."""
        return places == self.announced or (self.allowed and places > self.announced)

    def _absurd(self, places: int) -> bool:
        return places > max(self.announced, MAX_PLACES)


def _require_one(present: int, problem: str) -> None:
    """Raise an error if not a single frame is complete."""
    if present == 0:
        raise TruncatedFileError(
            problem,
            code="file-truncated",
            cause="the acquisition was aborted, or the copy is incomplete",
            remedy="copy the file again",
        )
