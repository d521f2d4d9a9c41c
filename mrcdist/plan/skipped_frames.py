"""Frames of a file that belong to no point of its scan: `skip_frames`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import FrameTable
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Note, Notes

_REMEDY = (
    "pass the number of frames before the scan (negative: of points that have none), or a pair: "
    "this number, and the number of further frames at the end of each line"
)


def parse_skip_frames(given: Any) -> tuple[int, int]:
    """Return the frames to skip before the scan, and after each line of it."""
    given = given.tolist() if hasattr(given, "tolist") else given  # numpy's
    pair = (given, 0) if isinstance(given, int) else given
    whole = isinstance(pair, Sequence) and all(
        isinstance(number, Integral) and not isinstance(number, bool) for number in pair
    )
    if not whole or len(pair) != 2 or pair[1] < 0 or max(map(abs, pair)) >= 2**62:
        raise _invalid(given, "two whole numbers or one are needed, the second not negative")
    return int(pair[0]), int(pair[1])


@dataclass(frozen=True)
class SkippedFrames:
    """Map each place of the array to a frame of the file.

    There are frames `before` the first place (negative: places before the first frame), and
    `per_line` after each line of so many places.
    """

    before: int = 0
    per_line: int = 0
    line: int = 1

    @classmethod
    def of(cls, given: Any, line: int | None) -> SkippedFrames:
        """Take the argument `skip_frames`, and the places per line of the scan, if it is one."""
        before, per_line = parse_skip_frames(given)
        if per_line and line is None:
            raise _invalid(given, "there is no scan whose lines have a known length")
        return cls(before, per_line, line or 1)

    def __bool__(self) -> bool:
        return bool(self.before or self.per_line)

    def needed(self, places: int | None) -> int | None:
        """Count the frames that a file must have for so many places."""
        if places is None:
            return None
        return self.before + (places - 1) // self.line * self.per_line + places

    def place(self, frames: MissingFrames, places: int | None, notes: Notes) -> MissingFrames:
        """Return the counts of the frames that have a place in the scan.

        Frames after the last of its `places`, if they are known, are left out.
        """
        announced, present = self._kept(frames.announced), self._kept(frames.present)
        if present <= max(-self.before, 0):
            raise _invalid(self._given, f"none of the {frames.present} frames is left")
        if self.before < 0 and places is None:
            raise _invalid(self._given, "a negative number needs a scan or a navigation_shape")
        if self.before < 0:
            text = f"the first {-self.before} places have no frame and read as 0 (skip_frames)"
            notes.add(Note("frames-skipped", text))
        if places is not None and announced > places:
            text = f"{announced - places} frames after the scan are left out (skip_frames)"
            notes.add(Note("frames-skipped", text))
            announced, present = places, min(present, places)
        return MissingFrames(announced, present, frames.allowed)

    def frames(self, places: FrameTable) -> FrameTable:
        """Return the number in the file of each frame, -1 for none, by its place in the scan."""
        lines, rest = np.divmod(places.astype(np.int64), self.line)
        numbers = self.before + lines * (self.line + self.per_line) + rest
        numbers[(places < 0) | (numbers < 0)] = -1
        return numbers

    @property
    def _given(self) -> tuple[int, int] | int:
        return (self.before, self.per_line) if self.per_line else self.before

    def _kept(self, frames: int) -> int:
        """Count the places up to the last of so many frames."""
        lines, rest = divmod(max(frames - self.before, 0), self.line + self.per_line)
        return lines * self.line + min(rest, self.line)


def _invalid(given: Any, cause: str) -> ArgumentError:
    return ArgumentError(
        f"skip_frames={given!r}",
        code="skip-frames-invalid",
        argument="skip_frames",
        cause=cause,
        remedy=_REMEDY,
    )
