"""Frames that should be there and are not: one policy for files, scans and shapes.

Every frame has its place, and none is dropped or invented: more frames than places are always an
error. Fewer frames are one too, unless the caller allows it (``allow_truncated``). Then a stack has
the whole frames that are there, the places of a scan without a frame read as 0, and a note says how
many.
"""

from __future__ import annotations

from dataclasses import dataclass

from mrcdist.errors import ArgumentError, SidecarError, TruncatedFileError
from mrcdist.format.direct_electron.scan import Scan
from mrcdist.notes import Note, Notes

__all__ = ["SHAPE_REMEDY", "MissingFrames"]

SHAPE_REMEDY = (
    "pass {navigation_shape=(x, y, ...)} in HyperSpy's order, fastest axis first; "
    "one length may be -1"
)

# Of a scan that is longer than its file: 16384 × 16384 points.
_MOST_PLACES = 2**28


@dataclass(frozen=True)
class MissingFrames:
    """Which frames of a dataset are there, and what follows for those that are not.

    Attributes
    ----------
    announced : int
        Frames that the headers announce, of all files together.
    present : int
        Whole frames that the files hold, from the first on.
    allowed : bool
        Whether frames may be missing: the caller's `allow_truncated`.
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
        """Count the whole frames of a file, and note what else there is.

        Parameters
        ----------
        announced : int
            NZ.
        start : int
            Byte at which the frames begin.
        frame_bytes : int
        file_size : int or None
            None where it is unknown: all frames are taken to be there.
        allowed : bool
        notes : Notes

        Raises
        ------
        TruncatedFileError
            Frames are missing and that is not allowed, or there is not one.
        """
        expected = start + announced * frame_bytes
        if file_size is None or file_size >= expected:
            if file_size is not None and file_size > expected:
                notes.add(
                    Note(
                        "bytes-after-frames",
                        f"{file_size - expected} bytes follow the {announced} frames that the "
                        "header announces: not read",
                    )
                )
            return cls(announced, announced, allowed)
        present = max((file_size - start) // frame_bytes, 0)
        if not allowed:
            raise TruncatedFileError(
                f"the file has {file_size} bytes, its header announces {expected}: "
                f"{present} of {announced} frames are whole",
                code="file-truncated",
                cause="the acquisition was aborted or is still running, or the copy broke off",
                remedy="finish the acquisition or copy the file again; {allow_truncated=True} "
                "loads the whole frames that are there",
            )
        _require_one(
            present,
            f"the file has {file_size} bytes, and not one whole frame of {frame_bytes} bytes",
        )
        notes.add(
            Note(
                "file-truncated",
                f"the file was cut short: {present} of {announced} frames are there, "
                f"{announced - present} missing",
            )
        )
        return cls(announced, present, allowed)

    @classmethod
    def in_sections(
        cls, announced: int, whole: int, *, file_size: int, allowed: bool, notes: Notes
    ) -> MissingFrames:
        """Take the sections of an MRCZ file, which are compressed each for itself.

        Parameters
        ----------
        announced : int
            NZ.
        whole : int
            Sections that the file holds from their first byte to their last.
        file_size : int
        allowed : bool
        notes : Notes

        Raises
        ------
        TruncatedFileError
            Sections are missing and that is not allowed, or there is not one.
        """
        missing = announced - whole
        if missing and not allowed:
            raise TruncatedFileError(
                f"the header announces {announced} compressed sections, the file's {file_size} "
                f"bytes hold {whole} whole ones",
                code="file-truncated",
                cause="the file was cut short, or is still being written or copied",
                remedy="copy it again; {allow_truncated=True} loads the sections that are there",
            )
        if missing:
            _require_one(whole, f"the file has {file_size} bytes, and not one whole section")
            text = f"{missing} of {announced} compressed sections are missing at the end"
            notes.add(Note("file-truncated", text))
        return cls(announced, whole, allowed)

    @property
    def complete(self) -> bool:
        """Whether all frames that the headers announce are there."""
        return self.present == self.announced

    def followed_by(self, later: MissingFrames) -> MissingFrames:
        """Return the frames of these files and of later ones, one behind the other."""
        return MissingFrames(
            self.announced + later.announced, self.present + later.present, self.allowed
        )

    def note_empty(self, places: int, notes: Notes) -> None:
        """Note how many of so many places have no frame."""
        if places > self.present:
            notes.add(
                f"{places - self.present} of {places} frames are missing in the file and read as 0"
            )

    def require_scan(self, scan: Scan) -> None:
        """Check that the frames fit the raster that a sidecar describes.

        Raises
        ------
        SidecarError
            There are frames without a place, or places without a frame and that is not allowed.
        """
        shape = " x ".join(str(axis.size) for axis in scan.navigation)
        points = f"the scan of {shape} has {scan.size} points"
        if scan.size < self.announced:
            raise SidecarError(
                f"{points}, the file {self.announced} frames",
                code="scan-size-mismatch",
                cause="the sidecar belongs to another acquisition, or frames were recorded beside "
                "the scan",
                remedy=f"{SHAPE_REMEDY}; or {{metadata_file=None}} to load a plain stack",
            )
        if self._absurd(scan.size):
            raise SidecarError(
                f"{points}, the file only {self.announced} frames",
                code="scan-too-long",
                cause=f"a scan that is longer than its file has at most {_MOST_PLACES} points "
                "here; the sidecar was edited or is damaged",
                remedy=SHAPE_REMEDY,
            )
        if not self._fills(scan.size):
            raise SidecarError(
                f"{points}, the file only {self.announced} frames",
                code="scan-incomplete",
                cause="the acquisition was aborted, or the sidecar belongs to another one",
                remedy=f"{{allow_truncated=True}} fills the missing frames with 0; or "
                f"{SHAPE_REMEDY}",
            )

    def require_points(self, points: int, remedy: str) -> None:
        """Check that the frames fit a list of scan points.

        Parameters
        ----------
        points : int
        remedy : str
            For a list that belongs to another file.

        Raises
        ------
        SidecarError
            There are frames without a point, or points without a frame and that is not allowed.
        """
        if self._fills(points):
            return
        if self.announced < points:
            cause = "The acquisition was aborted or is still running."
            remedy = "Pass {allow_truncated=True} to read the points that have no frame as 0."
        else:
            cause = "The list belongs to another acquisition, or the scan was repeated."
        raise SidecarError(
            f"The list of scan points has {points} points, but the movie has {self.announced} "
            "frames",
            code="scan-points-mismatch",
            argument="scan_file",
            cause=cause,
            remedy=remedy,
        )

    def require_shape(self, places: int, given: str) -> None:
        """Check that the frames fit the caller's navigation shape.

        Parameters
        ----------
        places : int
        given : str
            The shape in words.

        Raises
        ------
        ArgumentError
            There are frames without a place, or places without a frame and that is not allowed.
        """
        if not self._absurd(places) and self._fills(places):
            return
        cause = "every frame needs its place, and none may be dropped or invented"
        remedy = f"{SHAPE_REMEDY}; {{allow_truncated=True}} fills missing frames with 0"
        if self._absurd(places):
            cause = f"a scan that is longer than its file has at most {_MOST_PLACES} points here"
            remedy = SHAPE_REMEDY
        raise ArgumentError(
            f"{given} has {places} points, the file {self.announced} frames",
            code="navigation-shape-mismatch",
            argument="navigation_shape",
            cause=cause,
            remedy=remedy,
        )

    def _fills(self, places: int) -> bool:
        """Whether every frame has its place, and every place its frame, or may go without."""
        return places == self.announced or (self.allowed and places > self.announced)

    def _absurd(self, places: int) -> bool:
        return places > max(self.announced, _MOST_PLACES)


def _require_one(present: int, problem: str) -> None:
    """Refuse a file that has frames and not one of them whole."""
    if present == 0:
        raise TruncatedFileError(
            problem,
            code="file-truncated",
            cause="the acquisition was aborted, or the copy broke off",
            remedy="copy the file again",
        )
