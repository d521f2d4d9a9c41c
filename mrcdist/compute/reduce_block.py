"""One pass over a block of frames, in tiles that stay in a core's cache meanwhile.

So each byte comes from memory once, however many results are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.fused_sums import fused_sums
from mrcdist.compute.reductions import FrameSum
from mrcdist.compute.tiles import Reduction, Tile, compiled

__all__ = ["join_all", "reduce_block"]

Array = npt.NDArray[Any]

# A core's share of the level 3 cache of common processors. Calls from Python take some 10 µs per
# tile and result, in which a core adds 0.2 MiB.
_TILE_BYTES = 2**21

_COMPILED_DTYPES = frozenset("BbHhfd")

# Tiles that are copied stay in a core's level 2 cache.
_COPIED_BYTES = 2**18

# A compiled loop that has all results goes through its tile once, a few frames at a time.
_LARGER_TILES = 8


def reduce_block(
    frames: Array,
    window: tuple[range, range],
    reductions: Sequence[Reduction],
    present: npt.NDArray[np.bool_] | None = None,
    *,
    compile_loops: bool = True,
    tile_bytes: int = _TILE_BYTES,
    module: Any = np,
    results: Sequence[Array] | None = None,
) -> tuple[Array, ...]:
    """Reduce a block of frames in one pass.

    Parameters
    ----------
    frames : ndarray, shape (frames, rows, columns)
        Cropped to the window.
    window : tuple of range
        Rows and columns of the detector that `frames` has; at least those of all reductions.
    reductions : sequence of Reduction
    present : ndarray of bool, shape (frames,), optional
        Which frames are there. Default: all. No reduction is given others: rows for them stay as
        `Reduction.begin` made them.
    compile_loops : bool, default True
        Use numba if it is installed and knows the dtype.
    tile_bytes : int
        About how much goes through all reductions at a time.
    module : module, default numpy
        What computes and holds the results: numpy, or one that works like it.
    results : sequence of ndarray, optional
        What the block is added to, per reduction; rows per frame are for those of this block.
        Default: results of no pixel at all.

    Returns
    -------
    tuple of ndarray
        A result per reduction.
    """
    if results is None:
        results = [module.asarray(each.begin(len(frames), frames.dtype)) for each in reductions]
    results = list(results)
    fast = compile_loops and compiled is not None and frames.dtype.char in _COMPILED_DTYPES
    rows, columns = window
    frame_bytes = max(len(rows) * len(columns) * frames.itemsize, 1)
    together = max(tile_bytes // frame_bytes, 1)
    height = len(rows) if together > 1 else max(tile_bytes * len(rows) // frame_bytes, 1)
    fused = None
    if fast and frames.dtype.kind in "iu" and frame_bytes <= tile_bytes:
        fused = fused_sums(tuple(reductions), rows, columns)
    alone = [type(each) for each in reductions] == [FrameSum]
    if fast and (alone or (fused is not None and len(fused.places) == len(reductions))):
        together *= _LARGER_TILES
    if not frames.flags.c_contiguous:
        together = max(min(tile_bytes, _COPIED_BYTES) // frame_bytes, 1)
    scratch = _Scratch(module is np and not any(each.whole_frames for each in reductions))
    others = [at for at in range(len(reductions)) if fused is None or at not in fused.places]
    whole = [at for at in others if reductions[at].whole_frames]
    banded = [at for at in others if not reductions[at].whole_frames]
    for first in range(0, len(frames), together):
        some = frames[first : first + together]
        there = None if present is None else present[first : first + together]
        if there is not None and not there.any():
            continue
        if there is not None and there.all():
            there = None

        def tile_of(top: int, height: int, some: Array = some, first: int = first) -> Tile:
            pixels = module.asarray(scratch.contiguous(some[:, top : top + height]))
            numbers = range(first, first + len(pixels))
            return Tile(pixels, first, rows[top : top + height], columns, fast, numbers, module)

        if fused is not None and fused.places:
            tile = tile_of(0, len(rows))
            if there is None:
                fused.add(results, tile, slice(first, first + len(some)))
            else:
                tile = _only(tile, there)
                fused.add(results, tile, tile.numbers)
        for places, step in ((whole, len(rows)), (banded, height)):
            if not places:
                continue
            for top in range(0, len(rows), max(step, 1)):
                tile = tile_of(top, step)
                found = None if there is None else _only(tile, there)
                for at in places:
                    each = reductions[at]
                    if found is None:
                        results[at] = each.add(results[at], tile)
                    elif each.per_frame:
                        results[at][found.numbers] = each.add(results[at][found.numbers], found)
                    else:
                        results[at] = each.add(results[at], found)
    return tuple(results)


class _Scratch:
    """Memory for tiles that are copied since they are not contiguous, one at a time.

    Workers of dask make the C library return freed memory at once (`MALLOC_TRIM_THRESHOLD_`): with
    new memory for each tile, the kernel would clear as many pages as the frames have.

    Parameters
    ----------
    again : bool
        Whether the next tile may take the place of the last one: a function of the user's own may
        keep what it was given.
    """

    def __init__(self, again: bool) -> None:
        self._again = again
        self._memory = np.empty(0, np.uint8)

    def contiguous(self, pixels: Array) -> Array:
        """Return pixels as they are, or a copy that lasts until the next one."""
        if pixels.flags.c_contiguous or not self._again:
            return np.ascontiguousarray(pixels)
        if self._memory.size < pixels.nbytes:
            self._memory = np.empty(pixels.nbytes, np.uint8)
        copy: Array = self._memory[: pixels.nbytes].view(pixels.dtype).reshape(pixels.shape)
        copy[...] = pixels
        return copy


def _only(tile: Tile, there: npt.NDArray[np.bool_]) -> Tile:
    """Return the frames of a tile that are there, for a result with rows for these alone."""
    numbers = [int(number) for number in np.asarray(tile.numbers)[there]]
    return replace(tile, pixels=tile.pixels[there], first=0, numbers=numbers)


def join_all(
    reductions: Sequence[Reduction], parts: Sequence[tuple[Array, ...]]
) -> tuple[Array, ...]:
    """Combine the results of consecutive blocks, for each reduction."""
    return tuple(
        reduction.join(results)
        for reduction, results in zip(reductions, zip(*parts, strict=True), strict=True)
    )
