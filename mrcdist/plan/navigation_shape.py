"""The ``navigation_shape`` argument: HyperSpy's order → lengths of array axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mrcdist.errors import ArgumentError
from mrcdist.plan.truncation import SHAPE_REMEDY, MissingFrames

__all__ = ["count_places", "resolve_shape"]


def count_places(navigation_shape: Sequence[int]) -> int | None:
    """Count the places of a shape that does not depend on the number of frames.

    Returns
    -------
    int or None
        None if a length is -1, or the shape is invalid.
    """
    try:
        sizes = [int(size) for size in navigation_shape]
    except (TypeError, ValueError, OverflowError):
        return None
    return math.prod(sizes) if min(sizes, default=0) > 0 else None


def resolve_shape(navigation_shape: Sequence[int], frames: MissingFrames) -> tuple[int, ...]:
    """Return a validated navigation shape, with -1 replaced by the remaining length.

    Parameters
    ----------
    navigation_shape : sequence of int
        In HyperSpy's order, fastest axis first.
    frames : MissingFrames
        The frames to arrange.

    Returns
    -------
    tuple of int
        In array order, without lengths of 1; (1,) where there are no others.

    Raises
    ------
    ArgumentError
        The shape is invalid or does not match the number of frames.
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
            cause="it must be a tuple or list of integers",
            remedy=SHAPE_REMEDY,
        )
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise ArgumentError(
            given,
            code="navigation-shape-invalid",
            argument="navigation_shape",
            cause="lengths must be positive, except for at most one -1",
            remedy=SHAPE_REMEDY,
        )
    if -1 in sizes:
        rest = -math.prod(sizes)
        if frames.announced % rest:
            raise ArgumentError(
                given,
                code="navigation-shape-invalid",
                argument="navigation_shape",
                cause=f"{frames.announced} frames are not divisible by {rest}",
                remedy=SHAPE_REMEDY,
            )
        sizes[sizes.index(-1)] = frames.announced // rest
    frames.require_shape(math.prod(sizes), given)
    return tuple(size for size in reversed(sizes) if size != 1) or (1,)
