"""Loops over the pixels of a few frames, compiled by numba.

Frames have the shape (frames, rows, columns) and are contiguous; pixels are integers of at most 16
bits, or floats. Loops run over slices, not positions: numba would check whether each position is
negative, which prevents vector instructions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils as _untyped
from numba.extending import intrinsic

# If the absolute values of the weights add up to at most this, a weighted sum of pixels from -2**15
# to 2**15 - 1 fits into 32 bits.
LARGEST_WEIGHTS = 2**16 - 1

LONGEST_RUN = 256

# Pixels per step of a dot product: two vectors of 256 bits, or more of fewer bits.
_LANES = 32

# Number of frames for which all sums are computed before the next frames.
_FRAMES_AT_A_TIME = 4

# Weights for the sum of a run, and for its first moment.
_RAMP = np.stack([np.ones(LONGEST_RUN, np.int16), np.arange(LONGEST_RUN, dtype=np.int16)])

# Number of 16-bit pixels, signed or unsigned, whose sum fits into 32 bits.
_LONGEST_SUM = 2**15

_NARROW = {"u": np.uint32, "i": np.int32}

# Pixels of a frame whose sums over many frames stay in the level 1 cache.
_BAND = 4096

# The same for plain sums, which are limited by memory: they are fastest for long runs of bytes, and
# the level 2 cache is fast enough.
_SUM_BAND = 2**15

# Untyped in numba.
cgutils: Any = _untyped
_intrinsic: Any = intrinsic


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function once for each combination of array types, and cache the code on disk.

    Numba caches the code for all types of a function under one name, in numbered files. Two
    processes that compile for different types at once can use the same number, and later processes
    then run code for the wrong type (`numba.core.caching.IndexDataCacheFile.save`). So each
    combination is compiled as a function with its own name, and therefore its own file.
    """
    compiled = functools.cache(lambda types: _compile(function, types))

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        arrays = (each for each in arguments if isinstance(each, np.ndarray))
        return compiled("_".join(map(_array_type, arrays)))(*arguments)

    return call


def _array_type(array: npt.NDArray[Any]) -> str:
    """Return everything by which numba distinguishes array types."""
    flags = array.flags
    order = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
    kind = f"{array.dtype.char}{array.ndim}{order}"
    return kind + "r" * (not flags.writeable) + "u" * (not flags.aligned)


def _compile(function: Callable[..., Any], types: str) -> Callable[..., Any]:
    named = FunctionType(
        function.__code__, function.__globals__, function.__name__, None, function.__closure__
    )
    named.__qualname__ = f"{function.__qualname__}_{types}"
    # Floats may be added in any order, as vector instructions do; NaN and infinity are respected.
    njit = functools.partial(numba.njit, nogil=True, fastmath={"reassoc"}, error_model="numpy")
    try:
        return cast("Callable[..., Any]", njit(cache=True)(named))
    except RuntimeError:  # no folder for the cache
        return cast("Callable[..., Any]", njit(named))


@_intrinsic  # type: ignore[untyped-decorator]
def _dot(_context: Any, pixels: Any, weights: Any) -> Any:
    """Compile the dot product of contiguous integers, added up in 32 bits.

    2**15 is subtracted from unsigned pixels of 16 bits, so that they are signed. Products of
    neighbours are added to each other first: processors have an instruction for this, which numba's
    own loops use at only half its width.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pixel_array, weight_array = (
            context.make_array(kind)(context, builder, array)
            for kind, array in zip((pixels, weights), arguments, strict=True)
        )
        half = ir.VectorType(ir.IntType(32), _LANES // 2)

        def products(first: Any, n: int) -> Any:
            return builder.mul(
                _load(builder, pixel_array.data, pixels.dtype, first, n),
                _load(builder, weight_array.data, weights.dtype, first, n),
            )

        def add(total: Any, value: Any) -> None:
            builder.store(builder.add(builder.load(total), value), total)

        length = builder.extract_value(pixel_array.shape, 0)
        lanes = length.type(_LANES)
        steps = builder.udiv(length, lanes)
        sums = cgutils.alloca_once_value(builder, half([0] * half.count))
        with cgutils.for_range(builder, steps) as loop:
            found = products(builder.mul(loop.index, lanes), _LANES)
            for parity in (0, 1):
                every_second = half(list(range(parity, _LANES, 2)))
                add(sums, builder.shuffle_vector(found, found, every_second))
        add_up = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(half.element, [half]),
            f"llvm.vector.reduce.add.v{half.count}i32",
        )
        added_up = builder.call(add_up, [builder.load(sums)])
        total = cgutils.alloca_once_value(builder, added_up)
        done = builder.mul(steps, lanes)
        with cgutils.for_range(builder, builder.sub(length, done)) as loop:
            add(total, products(builder.add(done, loop.index), 1))
        return builder.sext(builder.load(total), ir.IntType(64))

    return numba.int64(pixels, weights), generate


def _load(builder: Any, data: Any, dtype: Any, first: Any, n: int) -> Any:
    """Load `n` integers from position `first`, and extend them to 32 bits."""
    number, wide = ir.IntType(dtype.bitwidth), ir.IntType(32)
    kind, wide = (ir.VectorType(number, n), ir.VectorType(wide, n)) if n > 1 else (number, wide)
    values = builder.load(builder.bitcast(builder.gep(data, [first]), kind.as_pointer()))
    values.align = dtype.bitwidth // 8
    if dtype == numba.uint16:  # flipping the highest bit subtracts 2**15
        values = builder.xor(values, kind([-(2**15)] * n if n > 1 else -(2**15)))
    is_signed = dtype.signed or dtype == numba.uint16
    return (builder.sext if is_signed else builder.zext)(values, wide)


def _subtracted(frames: Any) -> int | None:
    """Return what dot products subtract from each pixel; None for floats, which do not use them."""
    return None if frames.dtype.kind == "f" else 2**15 * (frames.dtype == np.uint16)


def sum_together(frames: Any, total: Any, weights: Any, spans: Any, block: int, out: Any) -> None:
    """Add frames of integers to their sum, and their weighted sums to `out`, in one loop.

    A few frames at a time, which fit into the level 2 cache, go through all sums. The `total` of
    frames (uint64 or int64) is not computed if it has no elements. Products of a `block` of pixels
    are added up in 32 bits: the absolute values of its `weights` (int16, shape (sums, pixels)) add
    up to at most `LARGEST_WEIGHTS`. `spans` (int64, shape (sums, 2)) are the first and last pixel
    + 1 of the blocks with non-zero weights. `out` is int64, (frames, sums).
    """
    pixels = _flat(frames)
    narrow = np.zeros(total.size, _NARROW[frames.dtype.kind])
    for first in range(0, len(frames), _LONGEST_SUM):
        some = slice(first, first + _LONGEST_SUM)
        _sum_together(pixels[some], narrow, weights, spans, block, out[some])
        total += narrow.reshape(total.shape)
        narrow[:] = 0
    out += _subtracted(frames) * weights.sum(axis=1, dtype=np.int64)


@_compiled
def _sum_together(frames: Any, total: Any, weights: Any, spans: Any, block: Any, out: Any) -> None:
    for i in range(0, frames.shape[0], _FRAMES_AT_A_TIME):
        stop = min(i + _FRAMES_AT_A_TIME, frames.shape[0])
        if total.shape[0] > 0:
            _add_some(frames, i, stop, 0, total)
        for j in range(i, stop):
            for k in range(weights.shape[0]):
                for start in range(spans[k, 0], spans[k, 1], block):
                    stretch = slice(start, start + block)
                    out[j, k] += _dot(frames[j, stretch], weights[k, stretch])


@numba.njit(nogil=True, error_model="numpy")
def _add_some(frames: Any, start: Any, end: Any, first: Any, sums: Any) -> None:
    """Add the pixels from `first` of some frames to sums that can hold them, four at a time."""
    narrow = sums.dtype.type
    stop = first + sums.shape[0]
    for i in range(start, end - 3, 4):
        a, b = frames[i, first:stop], frames[i + 1, first:stop]
        c, d = frames[i + 2, first:stop], frames[i + 3, first:stop]
        for x in range(sums.shape[0]):
            one = narrow(narrow(a[x]) + narrow(b[x]))
            other = narrow(narrow(c[x]) + narrow(d[x]))
            sums[x] = narrow(sums[x] + narrow(one + other))
    for i in range(end - (end - start) % 4, end):
        a = frames[i, first:stop]
        for x in range(sums.shape[0]):
            sums[x] = narrow(sums[x] + narrow(a[x]))


def sum_runs(frames: Any, runs: Any, first_row: int, first_column: int, out: Any) -> None:
    """Add the sum of each frame over runs of pixels to `out`, and its first moments.

    `runs` (int64, shape (runs, 3)) are row, first column and last column + 1 within `frames`, of at
    most `LONGEST_RUN` pixels each. In the moments, rows and columns of `frames` are counted from
    `first_row` and `first_column`. `out` is int64 or float64, of shape (frames, 1) or (frames, 3).
    """
    _sum_runs(frames, runs, first_row, first_column, _subtracted(frames), _RAMP, out)


@_compiled
def _sum_runs(
    frames: Any, runs: Any, first_row: Any, first_column: Any, offset: Any, ramp: Any, out: Any
) -> None:
    moments = out.shape[1] > 1
    for i in range(frames.shape[0]):
        for k in range(runs.shape[0]):
            row, column = runs[k, 0], runs[k, 1]
            pixels = frames[i, row, column : runs[k, 2]]
            if offset is None:  # numba compiles one of the branches
                mass = inside = np.float64(0)
                for x in range(pixels.shape[0]):
                    mass += np.float64(pixels[x])
                if moments:
                    for x in range(pixels.shape[0]):
                        inside += x * np.float64(pixels[x])
            else:
                n: Any = np.int64(pixels.shape[0])
                mass = _dot(pixels, ramp[0, :n]) + offset * n
                inside = n * 0
                if moments:
                    inside = _dot(pixels, ramp[1, :n]) + offset * (n * (n - 1) // 2)
            out[i, 0] += mass
            if moments:
                out[i, 1] += (first_row + row) * mass
                out[i, 2] += (first_column + column) * mass + inside


def add_frames(frames: Any, total: Any) -> None:
    """Add frames to their sum."""
    narrow = np.empty(_SUM_BAND, _NARROW.get(frames.dtype.kind, np.float64))
    _add_frames(_flat(frames), total.reshape(-1), narrow)


@_compiled
def _add_frames(frames: Any, total: Any, scratch: Any) -> None:
    """Add as many frames as fit into the 32 bits of a scratch array, then add that to the sum."""
    for first in range(0, frames.shape[1], scratch.shape[0]):
        into = total[first : first + scratch.shape[0]]
        sums = scratch[: into.shape[0]]
        for start in range(0, frames.shape[0], _LONGEST_SUM):
            sums[:] = 0
            _add_some(frames, start, min(start + _LONGEST_SUM, frames.shape[0]), first, sums)
            for x in range(sums.shape[0]):
                into[x] += sums[x]


def add_squares(frames: Any, total: Any) -> None:
    """Add the squares of the pixels to their sum."""
    # The square of a 16-bit number, signed or not, fits into 32 bits without sign.
    square = np.float64 if frames.dtype.kind == "f" else np.uint32
    _add_squares(_flat(frames), total.reshape(-1), np.empty(0, square))


@_compiled
def _add_squares(frames: Any, total: Any, example: Any) -> None:
    square, wide = example.dtype.type, total.dtype.type
    n = frames.shape[0]
    for first in range(0, frames.shape[1], _BAND):
        sums = total[first : first + _BAND]
        stop = first + sums.shape[0]
        for i in range(0, n - 1, 2):
            a, b = frames[i, first:stop], frames[i + 1, first:stop]
            for x in range(sums.shape[0]):
                one, other = square(a[x]), square(b[x])
                sums[x] += wide(square(one * one)) + wide(square(other * other))
        for i in range(n - n % 2, n):
            a = frames[i, first:stop]
            for x in range(sums.shape[0]):
                one = square(a[x])
                sums[x] += wide(square(one * one))


def _flat(frames: Any) -> Any:
    return frames.reshape(len(frames), math.prod(frames.shape[1:]))


@_compiled
def sum_bins(frames: Any, bins: Any, out: Any) -> None:
    """Add the pixels of each frame to their bins; pixels with a negative bin are left out."""
    for i in range(frames.shape[0]):
        sums = out[i]
        for y in range(frames.shape[1]):
            a, at = frames[i, y], bins[y]
            for x in range(a.shape[0]):
                if at[x] >= 0:
                    sums[at[x]] += a[x]
