"""Into which parts an object is cut.

Limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

from dataclasses import dataclass

from dask.utils import format_bytes

from mrcdist.errors import ArgumentError
from mrcdist.write.grid import Grid

__all__ = ["S3Limits", "s3_grid"]


@dataclass(frozen=True)
class S3Limits:
    """What a store allows, and what is a good size of a part.

    Attributes
    ----------
    least, most : int
        Bytes of a part; the last one may be shorter.
    parts : int
        In one upload.
    usual : int
        Bytes of a part where nothing else decides: long enough that a request's latency does not
        count, short enough to be sent again.
    """

    least: int = 5 * 2**20
    most: int = 5 * 2**30
    parts: int = 10_000
    usual: int = 16 * 2**20


def s3_grid(offset: int, size: int, block: int, limits: S3Limits | None = None) -> Grid:
    """Choose the parts of an upload.

    A block is cut in equal parts, if that can be, so that no bytes go from one task to another.

    Parameters
    ----------
    offset : int
        Where the pixels begin; the first part has the header, too.
    size : int
        Bytes of the file.
    block : int
        Bytes of most blocks.
    limits : S3Limits, optional

    Raises
    ------
    ArgumentError
        The blocks are too small for so large a file: it would have too many parts.
    """
    limits = limits or S3Limits()
    step = block
    if block > limits.usual:
        cuts = range(-(-block // limits.usual), block // limits.least + 1)
        step = next((block // n for n in cuts if block % n == 0), limits.usual)
    elif block < limits.least:
        step = block * -(-limits.least // block)
    grid = Grid(offset + step, step, size)
    if grid.cells > limits.parts:
        # Fewer, larger parts: blocks, as they are held in memory anyway.
        grid = Grid(offset + block, block, size)
    if grid.cells > limits.parts or grid.step > limits.most:
        least = -(-size // limits.parts)
        raise ArgumentError(
            f"chunks of {format_bytes(block)} for a file of {format_bytes(size)}",
            code="upload-parts-too-many",
            argument="data",
            cause=f"an object is made of at most {limits.parts:,} parts, each of one chunk",
            remedy=f"rechunk the array to whole frames and at least {format_bytes(least)} a chunk",
        )
    return grid
