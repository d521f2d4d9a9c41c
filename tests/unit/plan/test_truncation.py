"""Missing frames: truncated files, and scan points without a frame."""

from __future__ import annotations

import pytest

from mrcdist.errors import ArgumentError, SidecarError, TruncatedFileError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.scan import Scan
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Notes


def of(announced, present=None, *, allowed=False):
    return MissingFrames(announced, announced if present is None else present, allowed)


def in_file(announced, size, *, allowed=False):
    """Return the counts for frames of 10 bytes from byte 1024 on, and the notes."""
    notes = Notes()
    frames = MissingFrames(allowed=allowed).in_file(
        announced, start=1024, frame_bytes=10, file_size=size, notes=notes
    )
    return frames, list(notes)


def raster(rows, columns):
    signal = (Axis("ky", 2, navigate=False), Axis("kx", 2, navigate=False))
    grid = (Axis("y", rows, navigate=True), Axis("x", columns, navigate=True))
    return Scan("raster", grid, signal)


CHECKS = {
    "scan": lambda frames, n_points: frames.require_scan(raster(n_points, 1)),
    "points": lambda frames, n_points: frames.require_points(n_points, "another list"),
    "shape": lambda frames, n_points: frames.require_shape(n_points, f"shape=({n_points},)"),
}


class TestFiles:
    @pytest.mark.parametrize("allowed", [False, True])
    def test_complete_file_has_all_its_frames(self, allowed):
        frames, notes = in_file(3, 1054, allowed=allowed)
        assert frames == of(3, allowed=allowed)
        assert (frames.complete, notes) == (True, [])

    def test_trailing_bytes_cause_a_note(self):
        frames, [note] = in_file(3, 1061)
        assert frames == of(3)
        assert "7 bytes follow the 3 frames" in note

    @pytest.mark.parametrize(
        ("nbytes", "allowed", "rows"),
        [(34, True, 3), (30, True, 3), (29, True, 2), (29, False, 3), (9, True, 3)],
    )
    def test_only_some_complete_rows_of_an_image_are_read_if_allowed(self, nbytes, allowed, rows):
        notes = Notes()
        policy = MissingFrames(allowed=allowed)
        assert policy.complete_rows(3, nbytes=nbytes, row_bytes=10, notes=notes) == rows
        assert len(list(notes)) == (rows == 2)

    def test_file_of_unknown_size_is_assumed_to_be_complete(self):
        assert in_file(3, None) == (of(3), [])

    @pytest.mark.parametrize(("size", "present"), [(1053, 2), (1044, 2), (1035, 1), (1034, 1)])
    def test_truncated_file_is_an_error_or_has_its_complete_frames(self, size, present):
        with pytest.raises(
            TruncatedFileError, match=f"{present} of 3 frames are complete"
        ) as caught:
            in_file(3, size)
        assert "allow_truncated=True" in caught.value.remedy
        frames, [note] = in_file(3, size, allowed=True)
        assert frames == of(3, present, allowed=True)
        assert not frames.complete
        assert f"{present} of 3 frames are complete, {3 - present} missing" in note

    @pytest.mark.parametrize("size", [1033, 1024, 1000, 0])
    def test_file_without_a_complete_frame_is_always_an_error(self, size):
        for allowed in (False, True):
            with pytest.raises(TruncatedFileError) as caught:
                in_file(3, size, allowed=allowed)
        assert "allow_truncated" not in caught.value.remedy

    def test_file_with_nz_0_is_complete(self):
        assert in_file(0, 1024) == (of(0), [])

    def test_missing_sections_are_an_error_or_a_note(self):
        with pytest.raises(TruncatedFileError, match=r"5 compressed sections.* contain 3 complete"):
            MissingFrames().in_sections(5, 3, file_size=99, notes=Notes())
        notes = Notes()
        frames = MissingFrames(allowed=True).in_sections(5, 3, file_size=99, notes=notes)
        assert frames == of(5, 3, allowed=True)
        assert list(notes) == ["2 of 5 compressed sections are missing at the end"]

    def test_counts_of_consecutive_files_are_added(self):
        both = of(4, allowed=True).followed_by(of(3, 1, allowed=True))
        assert both == of(7, 5, allowed=True)


class TestPoints:
    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    @pytest.mark.parametrize("allowed", [False, True])
    def test_as_many_points_as_frames_are_accepted(self, check, allowed):
        check(of(6, allowed=allowed), 6)

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    @pytest.mark.parametrize("allowed", [False, True])
    @pytest.mark.parametrize("frames", [7, 2**31])
    def test_more_frames_than_points_are_always_an_error(self, check, allowed, frames):
        with pytest.raises((SidecarError, ArgumentError), match=f"6 points.* {frames} frames"):
            check(of(frames, allowed=allowed), 6)

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_more_points_than_frames_must_be_allowed(self, check):
        with pytest.raises((SidecarError, ArgumentError), match=r"6 points.* 4 frames") as caught:
            check(of(4), 6)
        assert "allow_truncated=True" in caught.value.remedy
        check(of(4, allowed=True), 6)

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_points_for_all_announced_frames_of_a_truncated_file_are_accepted(self, check):
        check(of(6, 4, allowed=True), 6)

    def test_navigation_shape_of_the_complete_frames_alone_is_accepted(self):
        of(6, 4, allowed=True).require_shape(4, "shape=(4,)")
        for n_points in (3, 5):
            with pytest.raises(ArgumentError, match=f"{n_points} points.* 6 frames"):
                of(6, 4, allowed=True).require_shape(n_points, f"shape=({n_points},)")

    @pytest.mark.parametrize("check", [CHECKS["scan"], CHECKS["points"]])
    def test_scan_of_the_complete_frames_alone_is_an_error(self, check):
        with pytest.raises(SidecarError, match=r"4 points.* 6 frames"):
            check(of(6, 4, allowed=True), 4)

    @pytest.mark.parametrize("check", [CHECKS["scan"], CHECKS["shape"]])
    def test_scan_far_longer_than_its_file_is_an_error_even_if_allowed(self, check):
        check(of(4, allowed=True), 2**28)
        check(of(2**28 + 1, allowed=True), 2**28 + 1)
        with pytest.raises((SidecarError, ArgumentError), match="268435457 points") as caught:
            check(of(4, allowed=True), 2**28 + 1)
        assert "at most 268435456" in caught.value.cause

    @pytest.mark.parametrize(("frames", "allowed"), [(1, False), (3, False), (3, True), (0, False)])
    def test_numbers_of_points_and_frames_must_agree(self, frames, allowed):
        with pytest.raises(SidecarError, match=f"2 points.*{frames} frames") as caught:
            of(frames, allowed=allowed).require_points(2, "another list")
        assert (caught.value.remedy == "another list") is (frames > 2)

    @pytest.mark.parametrize(
        ("n_points", "expected"),
        [(6, []), (3, []), (8, ["2 of 8 frames are missing in the file and read as 0"])],
    )
    def test_points_that_read_as_zero_cause_a_note(self, n_points, expected):
        notes = Notes()
        of(7, 6, allowed=True).note_missing(n_points, notes)
        assert list(notes) == expected
