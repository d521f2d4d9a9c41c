"""Division of an object in S3 into parts, and joining of objects if there are too many parts.

Limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dask.utils import format_bytes

from mrcdist.errors import ArgumentError
from mrcdist.format.mrcz import CHUNK_HEADER_BYTES
from mrcdist.write.encoded_block import TEMPORARIES
from mrcdist.write.grid import Grid

# Maximum number of parts that a task sends concurrently.
_CONCURRENT_PARTS = 8

# Minimum number of parts per block, so that an encoded part is small compared to the block.
_MIN_PARTS_PER_BLOCK = 4


@dataclass(frozen=True)
class S3Limits:
    """Limits of a store, and preferred sizes, in bytes."""

    least: int = 5 * 2**20  # of a part other than the last one
    most: int = 5 * 2**30
    parts: int = 10_000  # of an upload
    usual: int = 16 * 2**20  # long enough to make latency negligible, short enough to be sent again
    copied: int = 256 * 2**20  # per request, unless that takes too many requests


def s3_grid(offset: int, size: int, block: int, limits: S3Limits) -> Grid:
    """Choose the parts of a file of `size` bytes, most blocks of which have `block` bytes.

    If possible, a block is divided into equal parts, so that no bytes have to be passed from one
    task to another. The first part includes the header: pixels start at `offset`. There may be
    more parts than one upload allows; see `segments`. Raise `ArgumentError` if the file is too
    large for an object.
    """
    if block < limits.least:
        steps = [block * -(-limits.least // block)]
    elif block <= limits.usual:
        steps = [block]
    else:
        usual = min(max(block // 8, limits.least), limits.usual)
        most = block // usual
        numbers = range(most, min(most, _MIN_PARTS_PER_BLOCK) - 1, -1)
        steps = [block // number for number in numbers if block % number == 0]
        steps = [step for step in steps if offset + step <= limits.most]
        if not steps or steps[0] > 4 * usual:
            steps.insert(0, usual)
    grids = [_short_first(offset, step, size, limits.least) for step in steps]
    grid = next((grid for grid in grids if grid.cells <= limits.parts), grids[0])
    joined_parts(0, [stop - start for start, stop in segments(grid, limits)], limits)
    return grid


def _short_first(offset: int, step: int, size: int, least: int) -> Grid:
    """Make the first part, which a task keeps for the header, as short as allowed.

    The second part gets the remaining bytes of the first step, if they are enough for a part.
    """
    first = max(offset, least)
    if offset + step - first < least:
        return Grid(offset + step, step, size)
    return Grid(first, step, size, lacking=first - offset)


def encoded_at_a_time(block: int, step: int) -> int:
    """Return how many parts of `step` bytes a task encodes and sends concurrently.

    They take at most half as much memory as the block. `block` is its size in memory, or 0 if the
    parts are the memory of the block itself. If the result is 0 because a part needs more memory,
    parts are sent one at a time and encoded piece by piece.
    """
    if not block:
        return _CONCURRENT_PARTS
    return min(_CONCURRENT_PARTS, block // 2 // (step + TEMPORARIES))


def segments(grid: Grid, limits: S3Limits) -> list[tuple[int, int]]:
    """Return byte ranges to upload as separate objects; none if one upload is enough.

    Each has as many parts as an upload allows. At the end, the store copies them to one object.
    """
    if grid.cells <= limits.parts:
        return []
    return [
        (grid.span(first)[0], grid.span(min(first + limits.parts, grid.cells) - 1)[1])
        for first in range(0, grid.cells, limits.parts)
    ]


class PackedPieces(NamedTuple):
    """Objects that hold a compressed block until the store joins all blocks.

    There are at most `number` of `nbytes` bytes each; the last one may be longer by less than a
    part.
    """

    nbytes: int = S3Limits.usual
    number: int = 1


def packed_pieces(block: int, sections: int, blocks: int, limits: S3Limits) -> PackedPieces:
    """Choose the objects for a compressed block, given its size and number of sections.

    Raise `ArgumentError` if there are too many `blocks`.
    """
    if blocks < limits.parts // 2:
        number = min(_MIN_PARTS_PER_BLOCK, (limits.parts - 1) // blocks)
        # Incompressible data grow by a header for each section.
        longest = block + sections * CHUNK_HEADER_BYTES
        return PackedPieces(max(-(-longest // number), limits.least), number)
    raise ArgumentError(
        f"{blocks:,} compressed blocks",
        code="upload-parts-too-many",
        argument="data",
        cause=f"an object has at most {limits.parts:,} parts, and a block needs at least two",
        remedy="rechunk the array to larger chunks, or write it in several files",
    )


def joined_parts(
    start: int, sizes: Sequence[int], limits: S3Limits
) -> list[list[tuple[int | None, int, int]]]:
    """Divide a header of `start` bytes, if any, and the objects that follow it into parts.

    Return the pieces of each part: the number of the object, or None for the header, and the start
    and end in it. A part with a single piece of an object can be copied by the store. Raise
    `ArgumentError` if they are too large for one object.
    """
    # The header and each object start at most one part; the others are for dividing objects.
    others = max(limits.parts - len(sizes) - (start > 0), 1)
    copied = min(max(limits.copied, -(-sum(sizes) // others)), limits.most)
    parts: list[list[tuple[int | None, int, int]]] = [[(None, 0, start)]] if start else []
    pending = start  # size of the last part, if more may be added to it
    for number, size in enumerate(sizes):
        at = 0
        if 0 < pending < limits.least:
            lacking = limits.least - pending
            # Use all of the object if the rest would be too short for a part.
            at = lacking if size - lacking >= limits.least else size
            parts[-1].append((number, 0, at))
            pending += at
        if at == size:
            continue
        rest = size - at
        cuts = max(1, min(-(-rest // copied), rest // limits.least))
        edges = [at + rest * cut // cuts for cut in range(cuts + 1)]
        parts += [[(number, low, high)] for low, high in itertools.pairwise(edges)]
        pending = rest if rest < limits.least else limits.least
    if len(parts) > limits.parts:
        raise ArgumentError(
            f"a file of {format_bytes(start + sum(sizes))}",
            code="upload-parts-too-many",
            argument="data",
            cause=f"an object has at most {limits.parts:,} parts of at most "
            f"{format_bytes(limits.most)}",
            remedy="write the data in several files",
        )
    return parts
