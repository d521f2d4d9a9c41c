"""The ``navigation_shape`` argument → lengths of array axes; and a guess at a missing one."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def count_points(navigation_shape: Sequence[int]) -> int | None:
    """Return the number of points of a shape; None if a length is -1, or the shape is invalid."""
    try:
        sizes = [int(size) for size in navigation_shape]
    except (TypeError, ValueError, OverflowError):
        return None
    return math.prod(sizes) if min(sizes, default=0) > 0 else None


def min_frames(navigation_shape: Sequence[int] | None) -> int | None:
    """Return the minimum number of frames for a shape with a -1; None for all other shapes."""
    sizes = list(navigation_shape) if isinstance(navigation_shape, list | tuple) else []
    return count_points([size for size in sizes if size != -1] or [1]) if -1 in sizes else None


def resolve_shape(navigation_shape: Sequence[int], frames: MissingFrames) -> tuple[int, ...]:
    """Return a validated shape in array order, with -1 replaced by the remaining length.

    The argument is in HyperSpy's order, fastest axis first. Lengths of 1 are dropped; if there are
    no others, the result is (1,).
    """
    argument = f"navigation_shape={navigation_shape!r}"

    def invalid(cause: str) -> ArgumentError:
        return ArgumentError(
            argument,
            code="navigation-shape-invalid",
            argument="navigation_shape",
            cause=cause,
            remedy=SHAPE_REMEDY,
        )

    try:
        sizes = [int(size) for size in navigation_shape]
        integers = sizes == list(navigation_shape)
    except (TypeError, ValueError, OverflowError):
        sizes, integers = [], False
    if not sizes or not integers or isinstance(navigation_shape, str):
        raise invalid("it must be a tuple or list of integers")
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise invalid("lengths must be positive, except for at most one -1")
    if -1 in sizes:
        rest = -math.prod(sizes)
        n_frames = frames.announced
        if n_frames % rest and frames.allowed:
            n_frames = frames.present
        if n_frames % rest:
            raise invalid(f"{frames.announced} frames are not divisible by {rest}")
        sizes[sizes.index(-1)] = n_frames // rest
    frames.require_shape(math.prod(sizes), argument)
    return tuple(size for size in reversed(sizes) if size != 1) or (1,)


def guess_scan(axes: Sequence[Axis]) -> tuple[int, int] | None:
    """Guess the shape of a scan that was stored as a plain stack, from its number of frames.

    Returns the number of points along (y, x), as nearly square as possible, with y the shorter one.
    None if there are few frames, or large ones, if they have a scan already, or if no rectangle has
    as many points. `axes` are those of the array.
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
        f"{format_shape(frame)}: {x} × {y}? navigation_shape=({x}, {y}), "
        f"or --navigation-shape {x},{y}"
    )
