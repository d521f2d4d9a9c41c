"""The ``chunks`` argument, and default chunks of whole frames, contiguous in the file.

The default size of chunks comes from `mrcdist.default_chunk_size`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from dask.array.core import normalize_chunks

from mrcdist.byte_size import parse_size
from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import Layout
from mrcdist.read_limits import ReadLimits
from mrcdist.warning_notes import Note

Chunks = tuple[tuple[int, ...], ...]

_REMEDY = (
    'pass `chunks="auto"` (whole frames), a size such as `chunks="256 MiB"`, or a chunk length per '
    "axis, such as `chunks=(32, 256, -1, -1)` (-1: the whole axis)"
)


def is_auto(chunks: Any) -> bool:
    """Whether the chunks are chosen automatically."""
    return chunks is None or (isinstance(chunks, str) and chunks == "auto")


def plan_chunks(
    layout: Layout,
    chunks: Any,
    default_size: int,
    limits: ReadLimits,
    *,
    cut_frames: bool = True,
) -> Chunks:
    """Return the chunk lengths along each axis for the ``chunks`` argument of `read_mrc`.

    `default_size` is the size of automatic chunks in bytes. `cut_frames` is False if a frame is
    compressed as a whole.
    """
    if is_auto(chunks):
        return frame_chunks(layout, default_size, limits, cut_frames=cut_frames)
    if isinstance(chunks, str):
        size = parse_size(chunks)
        if size is None:
            raise _invalid(f"`chunks={chunks!r}`", "not a valid size in bytes")
        if size <= 0:
            raise _invalid(f"`chunks={chunks!r}`", "a chunk must have at least one byte")
        return frame_chunks(layout, size, limits, cut_frames=cut_frames)
    by_axis = _dict_by_axis(chunks, layout)
    lengths = by_axis if isinstance(by_axis, tuple | list) else [by_axis] * len(layout.shape)
    for axis, (size, length) in enumerate(zip(layout.shape, lengths, strict=False)):
        if isinstance(length, int) and length > 0:
            _check_count(axis, size, length, limits)
    problem = f"`chunks={chunks!r}` for an array of shape {layout.shape}"
    try:
        resolved: Chunks = normalize_chunks(by_axis, layout.shape, default_size, layout.dtype)
    except (ValueError, TypeError, NotImplementedError, ZeroDivisionError) as error:
        is_zero = isinstance(error, ZeroDivisionError)
        raise _invalid(problem, "a chunk length is 0" if is_zero else str(error)) from error
    if any(
        min(axis, default=0) < 0 or (size > 0 and 0 in axis)
        for axis, size in zip(resolved, layout.shape, strict=True)
    ):
        raise _invalid(problem, "a chunk length is 0 or negative")
    return resolved


def _invalid(problem: str, cause: str, remedy: str = _REMEDY) -> ArgumentError:
    return ArgumentError(
        problem, code="chunks-invalid", argument="chunks", cause=cause, remedy=remedy
    )


def frame_chunks(
    layout: Layout, size: int, limits: ReadLimits, *, cut_frames: bool = True
) -> Chunks:
    """Return chunks of whole, contiguous frames, of at most `size` bytes or one frame.

    The fastest navigation axes are not split, one axis is split evenly, and slower ones have chunks
    of length 1. Frames above `limits.largest_frame` are split into rows, and rows into columns, if
    `size` is smaller.
    """
    n_navigation = len(layout.navigation_shape)
    rows, columns, *components = layout.shape[n_navigation:]
    pixel_bytes = math.prod(components) * layout.dtype.itemsize
    row_bytes = max(columns * pixel_bytes, 1)
    max_frames = max(size // max(rows * row_bytes, 1), 1)
    blocks: list[tuple[int, ...]] = []
    for axis, length in reversed(list(enumerate(layout.navigation_shape))):
        _check_count(axis, length, max(max_frames, 1), limits)
        blocks.append(_even_blocks(length, max_frames))
        max_frames //= max(length, 1)  # 0 after the axis that is split
    max_rows, max_columns = rows, columns
    if cut_frames and rows * row_bytes > max(size, limits.largest_frame):
        max_rows, max_columns = max(size // row_bytes, 1), max(size // pixel_bytes, 1)
        _check_count(n_navigation, rows, max_rows, limits)
        _check_count(n_navigation + 1, columns, max_columns, limits)
    signal = (_even_blocks(rows, max_rows), _even_blocks(columns, max_columns))
    return (*reversed(blocks), *signal, *((length,) for length in components))


def _even_blocks(size: int, max_length: int) -> tuple[int, ...]:
    """Split an axis into as few chunks as `max_length` allows; lengths differ by at most 1."""
    if size == 0:
        return (0,)
    count = -(-size // max(max_length, 1))
    short, extra = divmod(size, count)
    return (short + 1,) * extra + (short,) * (count - extra)


def _check_count(axis: int, size: int, length: int, limits: ReadLimits) -> None:
    most = limits.max_chunks_per_axis
    if size > most * length:
        raise ArgumentError(
            f"an axis of {size} in chunks of {length}: more than {most} chunks",
            code="chunks-too-many",
            argument="chunks",
            cause="the chunks are too small, or the header is damaged and announces too much",
            remedy=f"pass larger chunks, such as {{{axis}: {-(-size // most)}}}, "
            "or copy the file again",
        )


def _dict_by_axis(chunks: Any, layout: Layout) -> Any:
    """Return chunks as a tuple if they are a dict; axes that are not in the dict are not split."""
    if not isinstance(chunks, dict):
        return chunks
    n_axes = len(layout.shape)
    bad = [axis for axis in chunks if not isinstance(axis, int) or not -n_axes <= axis < n_axes]
    if bad:
        raise _invalid(
            f"`chunks={chunks!r}`: no axis {bad[0]!r} in an array of {n_axes} axes",
            "the keys of a dict are axis numbers",
            f"use keys from {-n_axes} to {n_axes - 1}",
        )
    by_axis = {axis % n_axes: length for axis, length in chunks.items()}
    return tuple(by_axis.get(axis, -1) for axis in range(n_axes))


def block_boxes(chunks: Chunks) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield the (start, stop) of each block along every axis, in array order."""
    spans = [list(itertools.pairwise(itertools.accumulate(axis, initial=0))) for axis in chunks]
    yield from itertools.product(*spans)


def chunk_notes(chunks: Chunks, itemsize: int, limits: ReadLimits) -> tuple[Note, ...]:
    """Return a note if there are so many chunks that scheduling takes long, or else nothing.

    Plans warn of it, and `explain` shows it.
    """
    tasks = math.prod(map(len, chunks))
    largest = math.prod(map(max, chunks)) * itemsize
    most = limits.many_small_chunks if largest < limits.small_chunk else limits.many_chunks
    if tasks <= most:
        return ()
    text = (
        f"{tasks:,} chunks are more than a dask scheduler handles efficiently (about 1 ms each, "
        "and seconds to optimise the graph); "
        'use larger ones: `chunks="auto"` or a size such as `chunks="512 MiB"`'
    )
    return (Note("chunks-many", text),)
