"""The ``skip_frames`` argument: frames that were recorded before a scan or after its lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import FrameTable
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Note, Notes

_REMEDY = (
    "pass the number of frames before the scan (negative: the number of points without a frame), "
    "or a pair: this number, and the number of extra frames after each line"
)


def parse_skip_frames(skip_frames: Any) -> tuple[int, int]:
    """Return the number of frames to skip before the scan, and after each of its lines."""
    if hasattr(skip_frames, "tolist"):  # numpy arrays and numbers
        skip_frames = skip_frames.tolist()
    pair = (skip_frames, 0) if isinstance(skip_frames, int) else skip_frames
    integers = isinstance(pair, Sequence) and all(
        isinstance(number, Integral) and not isinstance(number, bool) for number in pair
    )
    if not integers or len(pair) != 2 or pair[1] < 0 or max(map(abs, pair)) >= 2**62:
        raise _invalid(skip_frames, "it must be an integer, or two with the second not negative")
    return int(pair[0]), int(pair[1])


@dataclass(frozen=True)
class SkippedFrames:
    """Map from the points of a scan to frames of the file.

    There are `before` frames before the first point (negative: points before the first frame), and
    `per_line` frames after each line of `line` points.
    """

    before: int = 0
    per_line: int = 0
    line: int = 1

    @classmethod
    def of(cls, skip_frames: Any, line: int | None) -> SkippedFrames:
        """Parse `skip_frames`; `line` is the number of points per scan line, if known."""
        before, per_line = parse_skip_frames(skip_frames)
        if per_line and line is None:
            raise _invalid(skip_frames, "there is no scan whose lines have a known length")
        return cls(before, per_line, line or 1)

    def __bool__(self) -> bool:
        return bool(self.before or self.per_line)

    def frames_needed(self, n_points: int | None) -> int | None:
        """Return the number of frames that a file must have for `n_points`; None if unknown."""
        if n_points is None:
            return None
        return self.before + (n_points - 1) // self.line * self.per_line + n_points

    def in_scan(self, frames: MissingFrames, n_points: int | None, notes: Notes) -> MissingFrames:
        """Return the counts of the frames that belong to scan points.

        If `n_points` is known, later frames are left out.
        """
        announced, present = (
            self._count_points(frames.announced),
            self._count_points(frames.present),
        )
        argument = (self.before, self.per_line) if self.per_line else self.before
        absent = self._count_points(0)  # before the first frame
        if present <= absent:
            raise _invalid(argument, f"none of the {frames.present} frames is left")
        if self.before < 0 and n_points is None:
            raise _invalid(argument, "a negative number needs a scan or `navigation_shape`")
        if self.before < 0:
            text = f"the first {absent} points have no frame and read as 0 (`skip_frames`)"
            notes.add(Note("frames-skipped", text))
        if n_points is not None and announced > n_points:
            text = f"{announced - n_points} frames after the scan are left out (`skip_frames`)"
            notes.add(Note("frames-skipped", text))
            announced, present = n_points, min(present, n_points)
        return replace(frames, announced=announced, present=present)

    def file_frames(self, points: FrameTable) -> FrameTable:
        """Return the frame of the file at each of some points of the scan; -1 for none."""
        lines, columns = np.divmod(points.astype(np.int64), self.line)
        frames = self.before + lines * (self.line + self.per_line) + columns
        frames[(points < 0) | (frames < 0)] = -1
        return frames

    def _count_points(self, n_frames: int) -> int:
        """Return the number of points up to the last of `n_frames` frames."""
        lines, rest = divmod(max(n_frames - self.before, 0), self.line + self.per_line)
        return lines * self.line + min(rest, self.line)


def _invalid(skip_frames: Any, cause: str) -> ArgumentError:
    return ArgumentError(
        f"`skip_frames={skip_frames!r}`",
        code="skip-frames-invalid",
        argument="skip_frames",
        cause=cause,
        remedy=_REMEDY,
    )
