"""The caller's ``navigation_shape``: HyperSpy's order in, lengths of array axes out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mrcdist.errors import ArgumentError

__all__ = ["MOST_PLACES", "REMEDY", "resolve_shape"]

REMEDY = (
    "pass {navigation_shape=(x, y, ...)} in HyperSpy's order, fastest axis first; "
    "one length may be -1"
)

# Of a scan that is longer than its file: 16384 × 16384 points.
MOST_PLACES = 2**28


def resolve_shape(
    navigation_shape: Sequence[int], n_frames: int, *, allow_truncated: bool
) -> tuple[int, ...]:
    """Check a navigation shape, and fill in its -1.

    Parameters
    ----------
    navigation_shape : sequence of int
        In HyperSpy's order, fastest first.
    n_frames : int
        Frames that want a place.
    allow_truncated : bool
        Accept more places than frames.

    Returns
    -------
    tuple of int
        In array order, without lengths of 1.

    Raises
    ------
    ArgumentError
        It is no shape, or not for so many frames.
    """
    given = f"navigation_shape={navigation_shape!r}"
    try:
        sizes = [int(size) for size in navigation_shape]
        whole = all(size == wished for size, wished in zip(sizes, navigation_shape, strict=True))
    except (TypeError, ValueError, OverflowError):
        sizes, whole = [], False
    if not sizes or not whole or isinstance(navigation_shape, str):
        raise ArgumentError(
            given,
            code="navigation-shape-invalid",
            argument="navigation_shape",
            cause="a tuple or list of integers is needed",
            remedy=REMEDY,
        )
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise ArgumentError(
            given,
            code="navigation-shape-invalid",
            argument="navigation_shape",
            cause="lengths are positive, at most one is -1",
            remedy=REMEDY,
        )
    if -1 in sizes:
        rest = -math.prod(sizes)
        if n_frames % rest:
            raise ArgumentError(
                given,
                code="navigation-shape-invalid",
                argument="navigation_shape",
                cause=f"{n_frames} frames do not divide by {rest}",
                remedy=REMEDY,
            )
        sizes[sizes.index(-1)] = n_frames // rest
    places = math.prod(sizes)
    if places > max(n_frames, MOST_PLACES):
        raise ArgumentError(
            f"{given} has {places} points, the file {n_frames} frames",
            code="navigation-shape-mismatch",
            argument="navigation_shape",
            cause=f"a scan that is longer than its file has at most {MOST_PLACES} points here",
            remedy=REMEDY,
        )
    if places != n_frames and not (allow_truncated and places > n_frames):
        raise ArgumentError(
            f"{given} has {places} points, the file {n_frames} frames",
            code="navigation-shape-mismatch",
            argument="navigation_shape",
            cause="every frame needs its place, and none may be dropped or invented",
            remedy=f"{REMEDY}; {{allow_truncated=True}} fills missing frames with 0",
        )
    return tuple(size for size in reversed(sizes) if size != 1)
