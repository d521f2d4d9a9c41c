"""The ``navigation_shape`` argument: HyperSpy's order → lengths of array axes; a guess at it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.formatting import format_shape
from mrcdist.plan.truncation import SHAPE_REMEDY, MissingFrames

# Frames of a stack that may be a scan: at least so many, and so many times as long as a frame's
# longer side. Tomograms, tilt series and movies have fewer.
_LEAST_POINTS = 1024
_TIMES_SIDE = 4
# Lines of a scan are not much longer than there are lines.
_LONGEST_LINES = 4


def count_places(navigation_shape: Sequence[int]) -> int | None:
    """Count the places of a shape; None if a length is -1, or the shape is invalid."""
    try:
        sizes = [int(size) for size in navigation_shape]
    except (TypeError, ValueError, OverflowError):
        return None
    return math.prod(sizes) if min(sizes, default=0) > 0 else None


def count_required(navigation_shape: Sequence[int] | None) -> int | None:
    """Count the frames that a shape with a -1 takes at least; None for all other shapes."""
    sizes = list(navigation_shape) if isinstance(navigation_shape, list | tuple) else []
    return count_places([size for size in sizes if size != -1] or [1]) if -1 in sizes else None


def resolve_shape(navigation_shape: Sequence[int], frames: MissingFrames) -> tuple[int, ...]:
    """Return a validated shape in array order, with -1 replaced by the remaining length.

    It is given in HyperSpy's order, fastest axis first. Without lengths of 1; (1,) where there are
    no others.
    """
    given = f"navigation_shape={navigation_shape!r}"

    def invalid(cause: str) -> ArgumentError:
        return ArgumentError(
            given,
            code="navigation-shape-invalid",
            argument="navigation_shape",
            cause=cause,
            remedy=SHAPE_REMEDY,
        )

    try:
        sizes = [int(size) for size in navigation_shape]
        whole = all(size == wished for size, wished in zip(sizes, navigation_shape, strict=True))
    except (TypeError, ValueError, OverflowError):
        sizes, whole = [], False
    if not sizes or not whole or isinstance(navigation_shape, str):
        raise invalid("it must be a tuple or list of integers")
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise invalid("lengths must be positive, except for at most one -1")
    if -1 in sizes:
        rest = -math.prod(sizes)
        count = frames.announced
        if count % rest and frames.allowed:
            count = frames.present
        if count % rest:
            raise invalid(f"{frames.announced} frames are not divisible by {rest}")
        sizes[sizes.index(-1)] = count // rest
    frames.require_shape(math.prod(sizes), given)
    return tuple(size for size in reversed(sizes) if size != 1) or (1,)


def guess_scan(axes: Sequence[Axis]) -> tuple[int, int] | None:
    """Guess the shape of a scan whose frames are a plain stack, from their number alone.

    Points along (y, x), as nearly square as possible, with y the shorter one; None if the frames
    are few or large, have a scan already, or make no rectangle. `axes` are those of the array.
    """
    names = [axis.name for axis in axes if axis.navigate]
    sides = [axis.size for axis in axes if not axis.navigate]
    if names not in (["z"], ["time"]) or len(sides) != 2:
        return None
    n_frames = axes[0].size
    if n_frames < max(_LEAST_POINTS, _TIMES_SIDE * max(sides)):
        return None
    for y in range(math.isqrt(n_frames), math.isqrt(n_frames // _LONGEST_LINES), -1):
        if n_frames % y == 0:
            return y, n_frames // y
    return None


def scan_question(axes: Sequence[Axis]) -> str:
    """Ask whether a long stack is a scan, and say how to read it as one; empty if it is none."""
    guess = guess_scan(axes)
    if guess is None:
        return ""
    y, x = guess
    n_frames, *frame = (axis.size for axis in axes)
    return (
        f"no shape of a scan is known for {n_frames} frames of "
        f"{format_shape(frame)}: {x} \u00d7 {y}? navigation_shape=({x}, {y}), "
        f"or --navigation-shape {x},{y}"
    )
