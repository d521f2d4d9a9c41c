"""One pass over a block of frames, in tiles that stay in a core's cache meanwhile.

So each byte comes from memory once, however many results are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.fused_sums import fused_sums
from mrcdist.compute.reductions import FrameSum, Reduction, Tile, Window, compiled

__all__ = ["reduce_block"]

Array = npt.NDArray[Any]
_Rows = slice | npt.NDArray[np.intp]

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
    window: Window,
    reductions: Sequence[Reduction],
    present: npt.NDArray[np.bool_] | None = None,
    *,
    compile_loops: bool = True,
    tile_bytes: int = _TILE_BYTES,
    module: Any = np,
    results: Sequence[Array] | None = None,
) -> tuple[Array, ...]:
    """Reduce a block of frames in one pass; return a result per reduction.

    Frames are cropped to the window, which has all that the reductions need. Those that are not
    `present` are given to no reduction: rows for them stay as `Reduction.begin` made them. About
    `tile_bytes` go through all reductions at a time, with numba if it is installed and knows the
    dtype, unless `compile_loops` is false. `module` computes and holds the results: numpy, or one
    that works like it. The block is added to `results`, of which rows per frame are for those of
    this block; without them, to results of no pixel at all.
    """
    if results is None:
        results = [module.asarray(each.begin(len(frames), frames.dtype)) for each in reductions]
    results = list(results)
    rows, columns = window
    frame_bytes = max(len(rows) * len(columns) * frames.itemsize, 1)
    fast = compile_loops and compiled is not None and frames.dtype.char in _COMPILED_DTYPES
    fused = None
    if fast and frames.dtype.kind in "iu" and frame_bytes <= tile_bytes:
        fused = fused_sums(tuple(reductions), rows, columns)
    places = () if fused is None else fused.places
    together = max(tile_bytes // frame_bytes, 1)
    height = len(rows) if together > 1 else max(tile_bytes * len(rows) // frame_bytes, 1)
    if not frames.flags.c_contiguous:
        together = max(min(tile_bytes, _COPIED_BYTES) // frame_bytes, 1)
    elif fast and (len(places) == len(reductions) or [*map(type, reductions)] == [FrameSum]):
        together *= _LARGER_TILES
    others = [at for at in range(len(reductions)) if at not in places]
    whole = [at for at in others if reductions[at].whole_frames]
    banded = [at for at in others if not reductions[at].whole_frames]
    contiguous = _Copies(module is np and not any(each.whole_frames for each in reductions))

    def tiles(which: _Rows, numbers: Sequence[int], height: int) -> Iterator[Tile]:
        for top in range(0, len(rows), height):
            pixels = module.asarray(contiguous(frames[which, top : top + height]))
            yield Tile(pixels, rows[top : top + height], columns, numbers, fast, module)

    for which, numbers in _tiles_of_frames(len(frames), together, present):
        if fused is not None and places:
            for tile in tiles(which, numbers, len(rows)):
                fused.add(results, tile, which)
        for some, step in ((whole, len(rows)), (banded, height)):
            for tile in tiles(which, numbers, step) if some else ():
                for at in some:
                    results[at] = _added(reductions[at], results[at], tile, which)
    return tuple(results)


def _tiles_of_frames(
    n_frames: int, together: int, present: npt.NDArray[np.bool_] | None
) -> Iterator[tuple[_Rows, Sequence[int]]]:
    """Yield an index for the frames of each tile that are there, and their numbers."""
    for first in range(0, n_frames, together):
        numbers = range(first, min(first + together, n_frames))
        if present is None or present[first : numbers.stop].all():
            yield slice(first, numbers.stop), numbers
        elif present[first : numbers.stop].any():
            [there] = np.nonzero(present[first : numbers.stop])
            yield first + there, (first + there).tolist()


def _added(reduction: Reduction, result: Array, tile: Tile, which: _Rows) -> Array:
    """Add a tile to the result of a block, of which the tile has some frames."""
    if not reduction.per_frame:
        return reduction.add(result, tile)
    rows = reduction.add(result[which], tile)
    if not isinstance(which, slice):  # of which rows would be views
        result[which] = rows
    return result


class _Copies:
    """Copies tiles that are not contiguous, one at a time.

    Workers of dask make the C library return freed memory at once (`MALLOC_TRIM_THRESHOLD_`): with
    new memory for each tile, the kernel would clear as many pages as the frames have. So the next
    one takes its place, unless a function of the user's own may keep what it was given.
    """

    def __init__(self, again: bool) -> None:
        self._again = again
        self._memory = np.empty(0, np.uint8)

    def __call__(self, pixels: Array) -> Array:
        if pixels.flags.c_contiguous or not self._again:
            return np.ascontiguousarray(pixels)
        if self._memory.size < pixels.nbytes:
            self._memory = np.empty(pixels.nbytes, np.uint8)
        copy: Array = self._memory[: pixels.nbytes].view(pixels.dtype).reshape(pixels.shape)
        copy[...] = pixels
        return copy
