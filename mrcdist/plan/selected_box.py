"""A box of an array, as a caller selects it: ranges along its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis

__all__ = ["Box", "cropped", "numbers_in", "parse_range", "selected_box"]

Box = tuple[slice, ...]


def selected_box(select: str | Sequence[slice], shape: tuple[int, ...]) -> Box:
    """Return a slice for each axis, with start and stop, of what the caller gives."""
    given = _parsed(select) if isinstance(select, str) else tuple(select)
    if len(given) > len(shape):
        raise _invalid(
            f"select: {len(given)} ranges for an array of {len(shape)} axes",
            f"the array has the shape {shape}",
            "give at most one range an axis",
        )
    if not all(isinstance(part, slice) for part in given):
        raise _invalid(
            f"select={select!r}",
            "it has one slice an axis",
            "pass slice(3, 4) for a position, so that the axis stays",
        )
    index = (*given, *(slice(None),) * (len(shape) - len(given)))
    if any(part.step not in (None, 1) for part in index):
        raise _invalid(
            "select has steps",
            "what is written is one box of the array",
            "give ranges without a step",
        )
    whole = tuple(slice(*part.indices(size)[:2]) for part, size in zip(index, shape, strict=True))
    if any(part.stop <= part.start for part in whole):
        raise _invalid(
            f"select leaves nothing of an array of the shape {shape}",
            "a range is empty",
            "give ranges with at least one position",
        )
    return whole


def _parsed(text: str) -> Box:
    try:
        return tuple(parse_range(part) for part in text.split(","))
    except ValueError:
        raise _invalid(
            f"select={text}",
            "it has one range an axis, slowest first: start:stop, either of which may be left out",
            "pass something like 0:10,:,64:192,64:192",
        ) from None


def parse_range(text: str) -> slice:
    """Parse ``START:STOP`` or ``START:STOP:STEP``, of which each number may be left out.

    Other text raises a ValueError.
    """
    numbers = text.strip().split(":")
    if len(numbers) not in (2, 3):
        raise ValueError(text)
    return slice(*(int(number) if number else None for number in numbers))


def _invalid(problem: str, cause: str, remedy: str) -> ArgumentError:
    return ArgumentError(
        problem, code="select-invalid", argument="select", cause=cause, remedy=remedy
    )


def numbers_in(box: Box, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the numbers of the positions in a box of an array, counted in C order."""
    along = np.ix_(*(np.arange(part.start, part.stop) for part in box))
    return np.asarray(np.ravel_multi_index(along, shape), np.int64)


def cropped(axis: Axis, part: slice) -> Axis:
    """Return the part of an axis between start and stop."""
    values = None if axis.values is None else axis.values[part]
    offset = axis.offset + part.start * axis.scale
    return replace(axis, size=part.stop - part.start, offset=offset, values=values)
