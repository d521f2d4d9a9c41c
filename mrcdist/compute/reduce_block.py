"""One pass over a block of frames, in tiles that stay in a core's cache meanwhile.

So each byte comes from memory once, however many results are wanted. Sums of integer pixels with
integer weights are computed by one compiled loop together: calls from Python for each few frames
would take longer than the sums.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.reductions import FrameSum, PixelSums, Reduction, Tile, Window, compiled

Array = npt.NDArray[Any]
_Rows = slice | npt.NDArray[np.intp]

# Of CuPy: large enough that starting a kernel, some 10 µs, does not count; as float64 it takes four
# times as much of the GPU's memory, for each thread.
_MOVED_BYTES = 2**26

# A core's share of the level 3 cache of common processors. Calls from Python take some 10 µs per
# tile and result, in which a core adds 0.2 MiB.
_TILE_BYTES = 2**21

_COMPILED_DTYPES = frozenset("BbHhfd")

# Tiles that are copied stay in a core's level 2 cache.
_COPIED_BYTES = 2**18

# A compiled loop that has all results goes through its tile once, a few frames at a time.
_LARGER_TILES = 8

# Weights of all sums, which have to stay in a core's cache; in larger frames, runs are as fast.
_WEIGHT_BYTES = 2**19

# Pixels whose products are added up in 32 bits, as many as their weights allow.
_BLOCKS = (1024, 512, 256, 128)


def reduce_block(
    frames: Array,
    window: Window,
    reductions: Sequence[Reduction],
    present: npt.NDArray[np.bool_] | None = None,
    *,
    compile_loops: bool = True,
    tile_bytes: int | None = None,
    module: Any = np,
    results: Sequence[Array] | None = None,
) -> tuple[Array, ...]:
    """Reduce a block of frames in one pass; return a result per reduction.

    Frames are cropped to the window, which has all that the reductions need. Those that are not
    `present` are given to no reduction: rows for them stay as `Reduction.begin` made them. About
    `tile_bytes` go through all reductions at a time, with numba if it is installed and knows the
    dtype, unless `compile_loops` is false. The block is added to `results`, of which rows per frame
    are for those of this block; without them, to results of no pixel at all.

    `module` computes: numpy, or another one with its functions, arrays of its own, and `asnumpy`,
    such as CuPy, with the memory of a GPU. Tiles move there once for all results, which come back
    at the end. Sums of integers stay exact: they are numpy's, in 64-bit integers and float64, by
    the same code. Functions of the user's own, which need whole frames, are called with numpy's
    arrays.
    """
    if results is None:
        results = [each.begin(len(frames), frames.dtype) for each in reductions]
    moved = [module is not np and not each.whole_frames for each in reductions]
    into = [
        module.asarray(each.begin(len(frames), frames.dtype)) if moves else result
        for each, result, moves in zip(reductions, results, moved, strict=True)
    ]
    whole = any(each.whole_frames for each in reductions)
    rows, columns = window
    tile_bytes = tile_bytes or (_MOVED_BYTES if all(moved) else _TILE_BYTES)
    frame_bytes = max(len(rows) * len(columns) * frames.itemsize, 1)
    together = max(tile_bytes // frame_bytes, 1)
    height = max(len(rows) if whole else tile_bytes * len(rows) // frame_bytes, 1)
    known = compiled is not None and frames.dtype.char in _COMPILED_DTYPES
    fast = known and compile_loops and not any(moved)
    of_integers = fast and frames.dtype.kind in "iu" and frame_bytes <= tile_bytes
    fused = _fused_sums(tuple(reductions) if of_integers else (), rows, columns)
    if not frames.flags.c_contiguous:
        together = max(min(tile_bytes, _COPIED_BYTES) // frame_bytes, 1)
    elif fast and (len(fused.places) == len(reductions) or [*map(type, reductions)] == [FrameSum]):
        together *= _LARGER_TILES
    others = [at for at in range(len(reductions)) if at not in fused.places]
    # Workers of dask make the C library return freed memory at once (`MALLOC_TRIM_THRESHOLD_`): for
    # new copies, the kernel would clear as many pages as frames have. But functions of the user's
    # own may keep what they were given.
    scratch = None
    if not frames.flags.c_contiguous and not whole and module is np:
        scratch = np.empty((together, min(height, len(rows)), len(columns)), frames.dtype)
    for which, numbers in _tiles_of_frames(len(frames), together, present):
        for top in range(0, len(rows), height):
            pixels = _contiguous(frames[which, top : top + height], scratch)
            here = Tile(pixels, rows[top : top + height], columns, numbers, fast)
            there = replace(here, pixels=module.asarray(pixels), module=module)
            if fused.places:
                fused.add(into, here, which)
            for at in others:
                into[at] = _added(reductions[at], into[at], there if moved[at] else here, which)
            del pixels, here, there  # the next copy is to take the same memory
    return tuple(
        _brought_back(each, result, module.asnumpy(found)) if moves else found
        for each, result, found, moves in zip(reductions, results, into, moved, strict=True)
    )


def _brought_back(reduction: Reduction, result: Array, found: Array) -> Array:
    if not reduction.per_frame:
        return reduction.join([result, found])
    result[...] = found
    return result


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
    if isinstance(which, slice):
        reduction.add(result[which], tile)
    else:
        index = tile.module.asarray(which)
        result[index] = reduction.add(result[index], tile)
    return result


def _contiguous(pixels: Array, scratch: Array | None) -> Array:
    """Return pixels as they are, or a copy that lasts as long as nothing else is in its place."""
    if pixels.flags.c_contiguous or scratch is None:
        return np.ascontiguousarray(pixels)
    copy = scratch[: len(pixels), : pixels.shape[1]]
    copy[...] = pixels
    return copy


class _FusedSums:
    """Those of several reductions that are computed in one loop; `places` says which these are."""

    def __init__(self, reductions: Sequence[Reduction], window: Window) -> None:
        self._middle = np.array([_middle(axis) for axis in window])
        self._total: int | None = None
        self._sums: list[tuple[int, slice]] = []  # reduction, and its weights
        pixels = len(window[0]) * len(window[1])
        found: list[npt.NDArray[np.int16]] = []
        for at, each in enumerate(reductions):
            if type(each) is FrameSum and self._total is None:
                self._total = at
            elif isinstance(each, PixelSums) and each.detector.has_integer_weights:
                stop = len(found) + (3 if each.moments else 1)
                weights = None if 2 * pixels * stop > _WEIGHT_BYTES else _weights(each, *window)
                if weights is not None:
                    self._sums.append((at, slice(len(found), stop)))
                    found.extend(weights)
        self._weights = np.array(found, np.int16).reshape(len(found), pixels)
        self._block = next(size for size in _BLOCKS if _fits(self._weights, size))
        self._spans = _spans(self._weights, self._block)
        # The sum of frames alone is as fast by itself.
        total = () if self._total is None or not self._sums else (self._total,)
        self.places = (*total, *(at for at, _ in self._sums))

    def add(self, results: Sequence[Array], tile: Tile, rows: Any) -> None:
        """Add a tile of whole frames to the results of all reductions.

        `rows` are an index: those of the frames in results with a row per frame.
        """
        sums = np.zeros((len(tile.pixels), len(self._weights)), np.int64)
        total = np.empty((0, 0), np.int64) if self._total is None else results[self._total]
        compiled.sum_together(tile.pixels, total, self._weights, self._spans, self._block, sums)
        for at, weights in self._sums:
            found = sums[:, weights]
            found[:, 1:] += found[:, :1] * self._middle[: found.shape[1] - 1]
            results[at][rows] += found


@functools.lru_cache(maxsize=8)
def _fused_sums(reductions: tuple[Any, ...], rows: range, columns: range) -> _FusedSums:
    """Return the `_FusedSums` of reductions, which are the same for all blocks of a task."""
    return _FusedSums(reductions, (rows, columns))


def _weights(sums: Any, rows: range, columns: range) -> npt.NDArray[np.int16] | None:
    """Return the weights of all pixels of a window, shape (1 or 3, pixels); None if too large.

    Positions are counted from the middle of the window, so that they are small.
    """
    weights = np.zeros((len(rows), len(columns)), np.int64)
    inside = weights[
        sums.window[0].start - rows.start : sums.window[0].stop - rows.start,
        sums.window[1].start - columns.start : sums.window[1].stop - columns.start,
    ]
    inside[...] = sums.detector.weights(*sums.window)
    kinds = [weights]
    if sums.moments:
        y, x = np.asarray(rows) - _middle(rows), np.asarray(columns) - _middle(columns)
        kinds += [weights * y[:, None], weights * x]
    found = np.stack([kind.ravel() for kind in kinds])
    if np.abs(found).max() > np.iinfo(np.int16).max or not _fits(found, _BLOCKS[-1]):
        return None
    return found.astype(np.int16)


def _middle(axis: range) -> int:
    return axis.start + len(axis) // 2


def _fits(weights: Array, block: int) -> bool:
    """Whether products with a block of pixels have a sum of 32 bits."""
    sizes = np.abs(weights.astype(np.int64))
    if not sizes.size:
        return True
    sums = np.add.reduceat(sizes, np.arange(0, sizes.shape[1], block), axis=1)
    return bool(sums.max() <= compiled.LARGEST_WEIGHTS)


def _spans(weights: Array, block: int) -> npt.NDArray[np.int64]:
    """Return the first and last pixel + 1 of the blocks in which weights are not 0."""
    spans = np.zeros((len(weights), 2), np.int64)
    for span, row in zip(spans, weights, strict=True):
        [used] = np.nonzero(row)
        if used.size:
            span[:] = used[0] // block * block, min((used[-1] // block + 1) * block, len(row))
    return spans
