"""The parts of an object in S3, and how they are joined if there are more than allowed.

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

# Parts that a task sends at most: while it waits between two blocks, another fills the line.
_AT_A_TIME = 8

# A block is cut in at least as many parts, so that one that is encoded is small beside the block.
_FEWEST_CUTS = 4


@dataclass(frozen=True)
class S3Limits:
    """Limits of a store, and the preferred size of a part; in bytes, but for `parts` of an upload.

    A part has `least` to `most`; the last one may be shorter. It has the `usual` size where nothing
    else decides: long enough that a request's latency does not count, short enough to be sent
    again. `copied` is what the store copies by one request, unless these would be too many.
    """

    least: int = 5 * 2**20
    most: int = 5 * 2**30
    parts: int = 10_000
    usual: int = 16 * 2**20
    copied: int = 256 * 2**20


def s3_grid(offset: int, size: int, block: int, limits: S3Limits) -> Grid:
    """Choose the parts of a file of so many bytes, most blocks of which have `block`.

    A block is cut in equal parts, if that can be, so that no bytes go from one task to another. The
    first part has the header, too: pixels begin at `offset`. There may be more parts than one
    upload takes; see `segments`. A file that no object can hold is an `ArgumentError`.
    """
    if block < limits.least:
        steps = [block * -(-limits.least // block)]
    elif block <= limits.usual:
        steps = [block]
    else:
        usual = min(max(block // 8, limits.least), limits.usual)
        most = block // usual
        cuts = range(most, min(most, _FEWEST_CUTS) - 1, -1)
        steps = [block // cut for cut in cuts if block % cut == 0]
        steps = [step for step in steps if offset + step <= limits.most]
        if not steps or steps[0] > 4 * usual:
            steps.insert(0, usual)
    grids = [_short_first(offset, step, size, limits.least) for step in steps]
    grid = next((grid for grid in grids if grid.cells <= limits.parts), grids[0])
    joined_parts(0, [stop - start for start, stop in segments(grid, limits)], limits)
    return grid


def _short_first(offset: int, step: int, size: int, least: int) -> Grid:
    """Let the first part, which a task keeps for the header, be as short as it may be.

    The next one has the rest of those bytes, if they are enough for a part.
    """
    first = max(offset, least)
    if offset + step - first < least:
        return Grid(offset + step, step, size)
    return Grid(first, step, size, lacking=first - offset)


def encoded_at_a_time(block: int, step: int) -> int:
    """Choose how many parts of `step` bytes a task encodes and sends at a time.

    They take half of the block's bytes in memory; `block` is 0 for parts of the block's own memory.
    0 where a part takes more than that: one at a time is sent, encoded while it is.
    """
    return min(_AT_A_TIME, block // 2 // (step + TEMPORARIES)) if block else _AT_A_TIME


def segments(grid: Grid, limits: S3Limits) -> list[tuple[int, int]]:
    """Return the byte ranges that are uploaded as objects of their own; none if one upload will do.

    Each is of as many parts as an upload takes. The store copies them to one object in the end.
    """
    if grid.cells <= limits.parts:
        return []
    return [
        (grid.span(first)[0], grid.span(min(first + limits.parts, grid.cells) - 1)[1])
        for first in range(0, grid.cells, limits.parts)
    ]


class PackedPieces(NamedTuple):
    """Objects that a compressed block is kept in, until the store joins those of all blocks.

    There are at most `number`, each of `nbytes`; the last one may be longer by a short part.
    """

    nbytes: int = S3Limits.usual
    number: int = 1


def packed_pieces(block: int, sections: int, blocks: int, limits: S3Limits) -> PackedPieces:
    """Choose how much of a block of so many bytes and sections is compressed before it is sent.

    Too many blocks are an `ArgumentError`.
    """
    if blocks < limits.parts // 2:
        number = min(_FEWEST_CUTS, (limits.parts - 1) // blocks)
        # What cannot be compressed becomes longer by a header for each section.
        longest = block + sections * CHUNK_HEADER_BYTES
        return PackedPieces(max(-(-longest // number), limits.least), number)
    raise ArgumentError(
        f"{blocks:,} compressed blocks",
        code="upload-parts-too-many",
        argument="data",
        cause=f"an object is made of at most {limits.parts:,} parts, and a block of two or more",
        remedy="rechunk the array to larger chunks, or write it in several files",
    )


def joined_parts(
    start: int, sizes: Sequence[int], limits: S3Limits
) -> list[list[tuple[int | None, int, int]]]:
    """Cut a header of `start` bytes, if any, and the objects that follow it into parts.

    Of each part, the pieces are returned: number of the object, None for the header; first byte and
    end in it. A part of one piece of an object can be copied by the store. More than an object can
    hold is an `ArgumentError`.
    """
    # The header, and each object, begins one part at most; the others are for objects that are cut.
    others = max(limits.parts - len(sizes) - (start > 0), 1)
    copied = min(max(limits.copied, -(-sum(sizes) // others)), limits.most)
    parts: list[list[tuple[int | None, int, int]]] = [[(None, 0, start)]] if start else []
    pending = start  # bytes of the last part, if it may grow
    for number, size in enumerate(sizes):
        at = 0
        if 0 < pending < limits.least:
            lacking = limits.least - pending
            # What is left of the object has to be a part, or to be sent.
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
            cause=f"an object is made of at most {limits.parts:,} parts, each of at most "
            f"{format_bytes(limits.most)}",
            remedy="write the data in several files",
        )
    return parts
