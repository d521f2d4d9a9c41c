"""One pass over a block of frames, in tiles small enough to stay in a core's cache.

Each byte is therefore read from memory only once, however many results are computed. Sums of
integer pixels with integer weights share one compiled loop, since the overhead of calling numpy for
every few frames would exceed the time of the sums.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.reductions import (
    FrameSum,
    PixelSums,
    Reduction,
    Tile,
    Window,
    band_weights,
    compiled,
)

Array = npt.NDArray[Any]
_Index = slice | npt.NDArray[np.intp]

# Tiles for CuPy are so large that the time to start a kernel, some 10 µs, does not matter. As
# float64, a tile takes four times this much of the GPU's memory, and each thread has its own.
_DEVICE_TILE_BYTES = 2**26

# A core's share of the level 3 cache of common processors. Calls from Python take some 10 µs per
# tile and result, in which a core could add up 0.2 MiB.
_TILE_BYTES = 2**21

_COMPILED_DTYPES = frozenset("BbHhfd")

# Tiles that are copied should stay in a core's level 2 cache.
_COPIED_TILE_BYTES = 2**18

# Factor by which tiles are larger if one compiled loop computes all results: it reads its tile only
# once, a few frames at a time.
_LARGER_TILES = 8

# Maximum size of the weights of all fused sums, which have to stay in a core's cache. For larger
# frames, loops over runs of pixels are as fast.
_WEIGHT_BYTES = 2**19

# Numbers of pixels whose products are added up in 32 bits: the largest that the weights allow.
_PIXELS_PER_SUM = (1024, 512, 256, 128)


def reduce_block(
    frames: Array,
    window: Window,
    reductions: Sequence[Reduction],
    present: npt.NDArray[np.bool_] | None = None,
    *,
    results: list[Array] | None = None,
    first: int = 0,
    describe: Callable[[int], str] = str,
    compile_loops: bool = True,
    tile_bytes: int | None = None,
    module: Any = np,
) -> list[Array]:
    """Add a block of frames to the results of several reductions, in one pass.

    Frames are cropped to `window`, which contains all pixels that the reductions need. Those that
    are not `present` are skipped: their rows keep the values of `Reduction.begin`. `results` are
    updated in place and returned; the rows of the block begin at `first` in those with one row per
    frame. By default, they are those of this block alone. Tiles have about `tile_bytes`; loops are
    compiled if numba is installed and supports the dtype, unless `compile_loops` is false. For
    errors, `describe` returns where a frame of the block is, given its number.

    `module` is numpy, or a replacement with its functions, arrays of its own, and `asnumpy`, such
    as CuPy. Tiles move to its device once for all results, which come back at the end. Sums of
    integers stay exact, as the same code computes them in 64-bit integers and float64. Functions of
    the user, which need whole frames, are called with numpy's arrays.
    """
    if results is None:
        results = [each.begin(len(frames), frames.dtype) for each in reductions]
    block = slice(first, first + len(frames))
    on_device = [module is not np and not each.whole_frames for each in reductions]
    parts = [
        module.asarray(each.begin(len(frames), frames.dtype))
        if moves
        else result[block]
        if each.per_frame
        else result
        for each, result, moves in zip(reductions, results, on_device, strict=True)
    ]
    _add_tiles(
        frames, window, reductions, parts, present, describe, compile_loops, tile_bytes, module
    )
    for at, (each, part) in enumerate(zip(reductions, parts, strict=True)):
        if on_device[at] and each.per_frame:
            results[at][block] = module.asnumpy(part)
        elif on_device[at]:
            results[at] = each.join([results[at], module.asnumpy(part)])
        elif not each.per_frame:
            results[at] = part
    return results


def _add_tiles(
    frames: Array,
    window: Window,
    reductions: Sequence[Reduction],
    results: list[Array],
    present: npt.NDArray[np.bool_] | None,
    describe: Callable[[int], str],
    compile_loops: bool,
    tile_bytes: int | None,
    module: Any,
) -> None:
    """Add tiles as `reduce_block` does, to results of this block alone, in memory of the device."""
    rows, columns = window
    all_rows = any(each.whole_frames for each in reductions)
    is_compiled = module is np and compile_loops and compiled is not None
    is_compiled = is_compiled and frames.dtype.char in _COMPILED_DTYPES
    tile_bytes = tile_bytes or (_TILE_BYTES if module is np or all_rows else _DEVICE_TILE_BYTES)
    frame_bytes = max(len(rows) * len(columns) * frames.itemsize, 1)
    fused = None
    if is_compiled and frames.dtype.kind in "iu" and frame_bytes <= tile_bytes:
        fused = _fused_sums(tuple(reductions), rows, columns)
    others = [at for at in range(len(reductions)) if fused is None or at not in fused.indices]
    height = max(len(rows) if all_rows else tile_bytes * len(rows) // frame_bytes, 1)
    n_frames = max(tile_bytes // frame_bytes, 1)
    scratch = None
    if not frames.flags.c_contiguous:
        n_frames = max(min(tile_bytes, _COPIED_TILE_BYTES) // frame_bytes, 1)
        # Copies share one buffer: dask workers return freed memory at once
        # (`MALLOC_TRIM_THRESHOLD_`), so that the kernel would have to clear new memory for each.
        # Not for functions of the user, which may keep the array that they are passed.
        if module is np and not all_rows:
            scratch = np.empty((n_frames, min(height, len(rows)), len(columns)), frames.dtype)
    elif is_compiled and (not others or [*map(type, reductions)] == [FrameSum]):
        n_frames *= _LARGER_TILES
    for index, numbers in _split(len(frames), n_frames, present):
        for top in range(0, len(rows), height):
            pixels = _contiguous(frames[index, top : top + height], scratch)
            tile = Tile(pixels, rows[top : top + height], columns, numbers, describe, is_compiled)
            moved = replace(tile, pixels=module.asarray(pixels), module=module)
            if fused is not None:
                fused.add(results, tile, index)
            for at in others:
                each = reductions[at]
                results[at] = _added(each, results[at], tile if each.whole_frames else moved, index)
            del pixels, tile, moved  # so that the next copy can take the same memory


def _split(
    n_frames: int, length: int, present: npt.NDArray[np.bool_] | None
) -> Iterator[tuple[_Index, Sequence[int]]]:
    """Yield an index for the frames of each tile that are present, and their numbers."""
    for first in range(0, n_frames, length):
        numbers = range(first, min(first + length, n_frames))
        if present is None or present[first : numbers.stop].all():
            yield slice(first, numbers.stop), numbers
        elif present[first : numbers.stop].any():
            index = first + np.flatnonzero(present[first : numbers.stop])
            yield index, index.tolist()


def _added(reduction: Reduction, result: Array, tile: Tile, index: _Index) -> Array:
    """Add a tile to a result; `index` selects the tile's frames in the block."""
    if not reduction.per_frame:
        return reduction.add(result, tile)
    if isinstance(index, slice):
        reduction.add(result[index], tile)
    else:
        positions = tile.module.asarray(index)
        result[positions] = reduction.add(result[positions], tile)
    return result


def _contiguous(pixels: Array, scratch: Array | None) -> Array:
    """Return contiguous pixels: the same, or a copy, in `scratch` if there is one."""
    if pixels.flags.c_contiguous or scratch is None:
        return np.ascontiguousarray(pixels)
    copy = scratch[: len(pixels), : pixels.shape[1]]
    copy[...] = pixels
    return copy


@dataclass(frozen=True)
class _FusedSums:
    """Sums of several reductions that are computed in one loop, for `compiled.sum_together`."""

    total: int | None  # index of the `FrameSum` among the reductions
    sums: Sequence[tuple[int, slice]]  # index of each `PixelSums`, and its rows of the weights
    weights: npt.NDArray[np.int16]  # shape (rows, pixels)
    spans: npt.NDArray[np.int64]
    block: int
    middle: npt.NDArray[np.int64]  # row and column from which the moments are counted

    @property
    def indices(self) -> list[int]:
        """Indices of the reductions that are computed."""
        return [at for at, _ in self.sums] + ([] if self.total is None else [self.total])

    def add(self, results: Sequence[Array], tile: Tile, index: _Index) -> None:
        """Add a tile of whole frames to the results; `index` selects its frames in the block."""
        sums = np.zeros((len(tile.pixels), len(self.weights)), np.int64)
        total = np.empty((0, 0), np.int64) if self.total is None else results[self.total]
        compiled.sum_together(tile.pixels, total, self.weights, self.spans, self.block, sums)
        for at, rows in self.sums:
            added = sums[:, rows]
            added[:, 1:] += added[:, :1] * self.middle[: added.shape[1] - 1]
            results[at][index] += added


@functools.lru_cache(maxsize=8)
def _fused_sums(reductions: tuple[Any, ...], rows: range, columns: range) -> _FusedSums | None:
    """Return the sums to fuse, which are the same for all blocks of a task; None if there are none.

    The sum of frames alone is as fast by itself.
    """
    middle = np.array([axis.start + len(axis) // 2 for axis in (rows, columns)])
    total = None
    sums: list[tuple[int, slice]] = []
    found: list[npt.NDArray[np.int16]] = []
    for at, each in enumerate(reductions):
        if type(each) is FrameSum and total is None:
            total = at
        elif isinstance(each, PixelSums) and each.detector.has_integer_weights:
            stop = len(found) + (3 if each.moments else 1)
            if 2 * len(rows) * len(columns) * stop > _WEIGHT_BYTES:
                continue
            weights = _weights(each, (rows, columns), middle)
            if weights is not None:
                sums.append((at, slice(len(found), stop)))
                found.extend(weights)
    if not sums:
        return None
    weights = np.array(found)
    block = next(size for size in _PIXELS_PER_SUM if _fits(weights, size))
    return _FusedSums(total, sums, weights, _spans(weights, block), block, middle)


def _weights(
    sums: PixelSums, window: Window, middle: npt.NDArray[np.int64]
) -> npt.NDArray[np.int16] | None:
    """Return the weights of all pixels of a window, shape (1 or 3, pixels); None if too large.

    Those of moments are counted from the middle of the window, so that they are small.
    """
    weights = band_weights(sums.detector, *sums.window, sums.moments)
    weights = weights.T.reshape(-1, *map(len, sums.window))
    weights = weights - np.multiply.outer([0, *middle][: len(weights)], weights[0])
    margins = [
        (own.start - axis.start, axis.stop - own.stop)
        for own, axis in zip(sums.window, window, strict=True)
    ]
    weights = np.pad(weights, ((0, 0), *margins)).reshape(len(weights), -1)
    fits = np.abs(weights).max() <= np.iinfo(np.int16).max and _fits(weights, _PIXELS_PER_SUM[-1])
    return weights.astype(np.int16) if fits else None


def _fits(weights: Array, block: int) -> bool:
    """Whether products with a block of pixels have a sum of 32 bits."""
    sizes = np.abs(weights.astype(np.int64))
    sums = np.add.reduceat(sizes, np.arange(0, sizes.shape[1], block), axis=1)
    return bool(sums.max() <= compiled.LARGEST_WEIGHTS)


def _spans(weights: Array, block: int) -> npt.NDArray[np.int64]:
    """Return the first pixel and the last pixel + 1 of the blocks with non-zero weights."""
    n_pixels = weights.shape[1]
    used = np.logical_or.reduceat(weights != 0, np.arange(0, n_pixels, block), axis=1)
    starts = used.argmax(axis=1) * block
    stops = (used.shape[1] - used[:, ::-1].argmax(axis=1)) * block
    return np.stack([starts, np.minimum(stops, n_pixels)], axis=1)
