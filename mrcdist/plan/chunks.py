"""The ``chunks`` argument, and default chunks of whole frames, contiguous in the file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from dask.array.core import normalize_chunks

from mrcdist.config import default_chunk_bytes, parse_size
from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import Layout

Chunks = tuple[tuple[int, ...], ...]

# Above this number of chunks, a plan has a note, which becomes a warning: dask takes seconds to
# optimise such a graph, and the scheduler, at about 1 ms per task, takes as long as reading.
WARN_CHUNKS = 50_000

# More chunks along one axis are an error, raised before their lengths are listed: a damaged header
# can announce 2**31 of them. Their total number only causes a warning: slices of such arrays work.
MAX_CHUNKS = 2**22

# Frames of more bytes, such as stitched montages, are split into rows if the chunk size is smaller
# than a frame. Smaller frames are split only on request. A task holds its chunk and temporaries.
SPLIT_FRAMES_ABOVE = 2**29

# Smaller chunks take longer to schedule than to compute, so they are not chosen automatically,
# however little memory there is.
_MIN_AUTO_BYTES = 2**20

_REMEDY = (
    'pass "auto" or None (whole frames), a size such as "256 MiB", an int, a tuple or a dict '
    "with a chunk length per axis (-1: the whole axis)"
)


def is_auto(chunks: Any) -> bool:
    """Whether the chunks are chosen automatically."""
    return chunks is None or (isinstance(chunks, str) and chunks == "auto")


def plan_chunks(
    layout: Layout, chunks: Any = "auto", *, cut_frames: bool = True, largest: int | None = None
) -> Chunks:
    """Return the chunk lengths along each axis for the ``chunks`` argument of `read_mrc`.

    `cut_frames` is False if a frame is compressed as a whole. `largest` limits the bytes of
    automatic chunks, for a cluster with little memory.
    """
    default = default_chunk_bytes()
    if is_auto(chunks):
        limit = default if largest is None else min(default, max(largest, _MIN_AUTO_BYTES))
        return frame_chunks(layout, limit, cut_frames=cut_frames)
    if isinstance(chunks, str):
        size = parse_size(chunks)
        if size is None:
            raise _invalid(f"chunks={chunks!r}", "not a valid size in bytes")
        if size <= 0:
            raise _invalid(f"chunks={chunks!r}", "a chunk must have at least one byte")
        return frame_chunks(layout, size, cut_frames=cut_frames)
    by_axis = _dict_by_axis(chunks, layout)
    lengths = by_axis if isinstance(by_axis, tuple | list) else [by_axis] * len(layout.shape)
    for axis, (size, length) in enumerate(zip(layout.shape, lengths, strict=False)):
        if isinstance(length, int) and length > 0:
            _check_count(axis, size, length)
    problem = f"chunks={chunks!r} for an array of shape {layout.shape}"
    try:
        resolved: Chunks = normalize_chunks(by_axis, layout.shape, default, layout.dtype)
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


def frame_chunks(layout: Layout, limit: int, *, cut_frames: bool = True) -> Chunks:
    """Return chunks of whole, contiguous frames, of at most `limit` bytes or one frame.

    The fastest navigation axes are not split, one axis is split evenly, and slower ones have chunks
    of length 1. Frames of more than `SPLIT_FRAMES_ABOVE` bytes are split into rows, and rows into
    columns, if `limit` is smaller.
    """
    n_navigation = len(layout.navigation_shape)
    rows, columns, *components = layout.shape[n_navigation:]
    pixel_bytes = math.prod(components) * layout.dtype.itemsize
    row_bytes = max(columns * pixel_bytes, 1)
    max_frames = max(limit // max(rows * row_bytes, 1), 1)
    blocks: list[tuple[int, ...]] = []
    for axis, size in reversed(list(enumerate(layout.navigation_shape))):
        _check_count(axis, size, max(max_frames, 1))
        blocks.append(_even_blocks(size, max_frames))
        max_frames //= max(size, 1)  # 0 after the axis that is split: slower ones have chunks of 1
    max_rows, max_columns = rows, columns
    if cut_frames and rows * row_bytes > max(limit, SPLIT_FRAMES_ABOVE):
        max_rows, max_columns = max(limit // row_bytes, 1), max(limit // pixel_bytes, 1)
        _check_count(n_navigation, rows, max_rows)
        _check_count(n_navigation + 1, columns, max_columns)
    signal = (_even_blocks(rows, max_rows), _even_blocks(columns, max_columns))
    return (*reversed(blocks), *signal, *((size,) for size in components))


def _even_blocks(size: int, max_length: int) -> tuple[int, ...]:
    """Split an axis into as few chunks as `max_length` allows; lengths differ by at most 1."""
    if size == 0:
        return (0,)
    count = -(-size // max(max_length, 1))
    short, extra = divmod(size, count)
    return (short + 1,) * extra + (short,) * (count - extra)


def _check_count(axis: int, size: int, length: int) -> None:
    if size > MAX_CHUNKS * length:
        raise ArgumentError(
            f"an axis of {size} in chunks of {length}: more than {MAX_CHUNKS} chunks",
            code="chunks-too-many",
            argument="chunks",
            cause="the chunks are too small, or the header is damaged and announces too much",
            remedy=f"pass larger chunks, such as {{{axis}: {-(-size // MAX_CHUNKS)}}}, "
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
            f"chunks={chunks!r}: no axis {bad[0]!r} in an array of {n_axes} axes",
            "the keys of a dict are axis numbers",
            f"use keys from {-n_axes} to {n_axes - 1}",
        )
    by_axis = {axis % n_axes: length for axis, length in chunks.items()}
    return tuple(by_axis.get(axis, -1) for axis in range(n_axes))


def block_boxes(chunks: Chunks) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield the (start, stop) of each block along every axis, in array order."""
    spans = [list(itertools.pairwise(itertools.accumulate(axis, initial=0))) for axis in chunks]
    yield from itertools.product(*spans)


def chunk_notes(chunks: Chunks) -> tuple[str, ...]:
    """Return a note if there are more than `WARN_CHUNKS` chunks, or else nothing."""
    tasks = math.prod(map(len, chunks))
    if tasks <= WARN_CHUNKS:
        return ()
    return (
        f"{tasks:,} chunks are more than a dask scheduler handles efficiently (about 1 ms each, "
        "and seconds to optimise the graph); "
        'use larger ones: chunks="auto" or a size such as chunks="512 MiB"',
    )
