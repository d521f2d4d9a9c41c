"""Frames before a scan and after its lines: which frame belongs to which place."""

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
    """The place of each frame, None for those outside the scan, written down frame by frame."""
    places: list[int | None] = [None] * max(before, 0)
    for row in range(lines):
        places += [row * line + column for column in range(line)] + [None] * per_line
    return places[max(-before, 0) :]


@given(st.integers(-12, 12), st.integers(0, 3), st.integers(1, 5), st.integers(1, 6))
def test_frames_are_at_the_places_where_they_were_recorded(before, per_line, lines, line):
    expected = np.full(lines * line, -1)
    for frame, place in enumerate(recorded(before, per_line, lines, line)):
        if place is not None:
            expected[place] = frame
    skipped = SkippedFrames.of((before, per_line), line)
    found = skipped.file_frames(np.arange(lines * line))
    np.testing.assert_array_equal(found, expected)
    assert skipped.frames_needed(lines * line) == expected[-1] + 1 or expected[-1] == -1


@given(st.integers(-3, 9), st.integers(0, 3), st.integers(1, 5), st.integers(1, 6))
def test_all_frames_of_a_scan_have_a_place(before, per_line, lines, line):
    n_frames = len(recorded(before, per_line, lines, line))
    skipped, notes = SkippedFrames.of((before, per_line), line), Notes()
    frames = MissingFrames(n_frames, n_frames, allowed=False)
    if lines * line + min(before, 0) <= 0:
        with pytest.raises(ArgumentError, match="none of the"):
            skipped.in_scan(frames, lines * line, notes)
        return
    placed = skipped.in_scan(frames, lines * line, notes)
    assert (placed.announced, placed.present) == (lines * line, lines * line)


def test_frames_after_the_scan_are_left_out_with_a_note():
    notes = Notes()
    placed = SkippedFrames.of(2, None).in_scan(MissingFrames(12, 12, allowed=False), 6, notes)
    assert placed.announced == 6
    assert list(notes) == ["4 frames after the scan are left out (skip_frames)"]


@pytest.mark.parametrize("given", ["1", 1.5, (1,), (1, 2, 3), (0, -1), (0, 1.0), None, (True, "")])
def test_what_is_no_number_of_frames_is_refused(given):
    with pytest.raises(ArgumentError) as refused:
        SkippedFrames.of(given, 4)
    assert refused.value.code == "skip-frames-invalid"
    assert refused.value.argument == "skip_frames"
