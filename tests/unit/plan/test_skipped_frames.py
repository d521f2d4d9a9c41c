"""Frames before a scan and after its lines: mapping of points to frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.errors import ArgumentError
from mrcdist.plan.skipped_frames import SkippedFrames
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Notes


def recorded(before: int, per_line: int, lines: int, line: int) -> list[int | None]:
    """Return the point of each frame, or None outside the scan, frame by frame."""
    points: list[int | None] = [None] * max(before, 0)
    for row in range(lines):
        points += [row * line + column for column in range(line)] + [None] * per_line
    return points[max(-before, 0) :]


@given(st.integers(-12, 12), st.integers(0, 3), st.integers(1, 5), st.integers(1, 6))
def test_frames_are_at_the_points_where_they_were_recorded(before, per_line, lines, line):
    expected = np.full(lines * line, -1)
    for frame, point in enumerate(recorded(before, per_line, lines, line)):
        if point is not None:
            expected[point] = frame
    skipped = SkippedFrames.of((before, per_line), line)
    found = skipped.file_frames(np.arange(lines * line))
    np.testing.assert_array_equal(found, expected)
    assert skipped.frames_needed(lines * line) == expected[-1] + 1 or expected[-1] == -1


@given(
    st.integers(-3, 9), st.integers(0, 3), st.integers(1, 5), st.integers(1, 6), st.integers(0, 3)
)
def test_number_of_frames_without_the_skipped_ones_is_that_of_the_scan(
    before, per_line, lines, line, missing
):
    points = recorded(before, per_line, lines, line)
    n_present = max(len(points) - missing, 0)
    reached = 1 + max((each for each in points[:n_present] if each is not None), default=-1)
    skipped, notes = SkippedFrames.of((before, per_line), line), Notes()
    frames = MissingFrames(len(points), n_present, allowed=False)
    if reached == 0:
        with pytest.raises(ArgumentError, match="none of the"):
            skipped.in_scan(frames, lines * line, notes)
        return
    counts = skipped.in_scan(frames, lines * line, notes)
    assert (counts.announced, counts.present) == (lines * line, reached)
    absent = next(each for each in points if each is not None)
    assert [note.split()[2] for note in notes] == [str(absent)] * (before < 0)


@pytest.mark.parametrize(("present", "in_scan"), [(12, 6), (8, 6), (7, 5), (3, 1)])
def test_frames_after_the_scan_are_left_out_with_a_note(present, in_scan):
    notes = Notes()
    counts = SkippedFrames.of(2, None).in_scan(MissingFrames(12, present, allowed=True), 6, notes)
    assert (counts.announced, counts.present) == (6, in_scan)
    assert list(notes) == ["4 frames after the scan are left out (`skip_frames`)"]


@pytest.mark.parametrize("given", ["1", 1.5, (1,), (1, 2, 3), (0, -1), (0, 1.0), None, (True, "")])
def test_invalid_arguments_are_refused(given):
    with pytest.raises(ArgumentError) as caught:
        SkippedFrames.of(given, 4)
    assert caught.value.code == "skip-frames-invalid"
    assert caught.value.argument == "skip_frames"
