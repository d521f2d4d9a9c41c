"""The ``navigation_shape`` argument → lengths of array axes; and a guess at a missing one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.formatting import format_shape
from mrcdist.plan.truncation import SHAPE_REMEDY, MissingFrames

# A stack may be a scan if it has at least this many frames, and this many times the length of a
# frame's longer side. Tomograms, tilt series and movies have fewer.
_MIN_SCAN_POINTS = 1024
_MIN_POINTS_PER_SIDE = 4
# Maximum ratio of the length of a scan line to the number of lines.
_MAX_ASPECT = 4


@dataclass(frozen=True)
class RequestedShape:
    """The ``navigation_shape`` argument, in HyperSpy's order, fastest axis first.

    All `lengths` are positive, except for at most one -1, which stands for all remaining frames.
    """

    lengths: tuple[int, ...]

    @classmethod
    def of(cls, navigation_shape: Any) -> RequestedShape | None:
        """Return the validated argument; None if no shape is requested."""
        if navigation_shape is None:
            return None
        try:
            lengths = [int(length) for length in navigation_shape]
            integers = lengths == list(navigation_shape)
        except (TypeError, ValueError, OverflowError):
            lengths, integers = [], False
        if not lengths or not integers or isinstance(navigation_shape, str):
            raise _invalid(navigation_shape, "it must be a tuple or list of integers")
        if lengths.count(-1) > 1 or any(length < 1 and length != -1 for length in lengths):
            raise _invalid(navigation_shape, "lengths must be positive, except for at most one -1")
        return cls(tuple(lengths))

    @property
    def n_points(self) -> int | None:
        """Number of points; None if a length is -1."""
        return None if -1 in self.lengths else math.prod(self.lengths)

    @property
    def min_frames(self) -> int | None:
        """Minimum number of frames if a length is -1, otherwise None."""
        return -math.prod(self.lengths) if -1 in self.lengths else None

    def resolve(self, frames: MissingFrames) -> tuple[int, ...]:
        """Return the shape in array order, with -1 replaced by the remaining length.

        Lengths of 1 are dropped; if there are no others, the result is (1,).
        """
        lengths = list(self.lengths)
        if rest := self.min_frames:
            n_frames = next((number for number in frames.sizes if number % rest == 0), None)
            if n_frames is None:
                cause = f"{frames.announced} frames are not divisible by {rest}"
                raise _invalid(self.lengths, cause)
            lengths[lengths.index(-1)] = n_frames // rest
        frames.require_shape(math.prod(lengths), f"`navigation_shape={self.lengths}`")
        return tuple(length for length in reversed(lengths) if length != 1) or (1,)


def _invalid(navigation_shape: Any, cause: str) -> ArgumentError:
    return ArgumentError(
        f"`navigation_shape={navigation_shape!r}`",
        code="navigation-shape-invalid",
        argument="navigation_shape",
        cause=cause,
        remedy=SHAPE_REMEDY,
    )


def guess_scan(axes: Sequence[Axis]) -> tuple[int, int] | None:
    """Guess the shape of a scan that was stored as a plain stack, from its number of frames.

    Returns the number of points along (y, x), as nearly square as possible, with y the shorter one.
    None if there are few frames, or large ones, if they have a scan already, or if no rectangle has
    as many points. `axes` are the axes of the array.
    """
    names = [axis.name for axis in axes if axis.navigate]
    sides = [axis.size for axis in axes if not axis.navigate]
    if names not in (["z"], ["time"]) or len(sides) != 2:
        return None
    n_frames = axes[0].size
    if n_frames < max(_MIN_SCAN_POINTS, _MIN_POINTS_PER_SIDE * max(sides)):
        return None
    for y in range(math.isqrt(n_frames), math.isqrt(n_frames // _MAX_ASPECT), -1):
        if n_frames % y == 0:
            return y, n_frames // y
    return None


def scan_question(axes: Sequence[Axis]) -> str:
    """Return a suggestion how to read a long stack as a scan; empty if it cannot be one."""
    guess = guess_scan(axes)
    if guess is None:
        return ""
    y, x = guess
    n_frames, *frame = (axis.size for axis in axes)
    return (
        f"no scan shape is known for {n_frames} frames of "
        f"{format_shape(frame)}: {x} × {y}? "
        f"`navigation_shape=({x}, {y})`"
    )
