"""Loops over the pixels of a few frames, compiled by numba.

Frames have the shape (frames, rows, columns) and are contiguous; pixels are integers of at most 16
bits, or floats. Slices, rather than positions, are looped over: numba would check each position for
being negative, and such a loop uses no vector instructions.
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

# With absolute values of weights that add up to this, a sum of pixels from -2**15 to 2**15 - 1 fits
# into 32 bits.
LARGEST_WEIGHTS = 2**16 - 1

LONGEST_RUN = 256

# Pixels in a step of a dot product: two vectors of 256 bits, or more of fewer bits.
_LANES = 32

# Frames that go through all sums before the next ones do.
_TOGETHER = 4

# Weights of the sum of a run, and of its first moment.
_RAMP = np.stack([np.ones(LONGEST_RUN, np.int16), np.arange(LONGEST_RUN, dtype=np.int16)])

# So many 16-bit pixels have a sum that fits into 32 bits, also with sign.
_LONGEST = 2**15

_NARROW = {"u": np.uint32, "i": np.int32}

# Pixels of a frame that are added up, over many frames, in the level 1 cache.
_BAND = 4096

# The same for plain sums, which wait for the memory: it is fastest for long runs of bytes, and the
# level 2 cache will do.
_SUM_BAND = 2**15

# Without types of their own.
cgutils: Any = _untyped
_intrinsic: Any = intrinsic


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function once for each combination of array types, and keep the code on disk.

    Numba keeps the code for all types of a function under one name, and numbers the files. Two
    processes that compile for different types at once can take the same number, and later processes
    then run code for the wrong type (`numba.core.caching.IndexDataCacheFile.save`). So each
    combination is a function with a name, and so a file, of its own.
    """
    made: dict[tuple[str, ...], Callable[..., Any]] = {}

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        key = tuple(_array_type(each) for each in arguments if isinstance(each, np.ndarray))
        compiled = made.get(key) or made.setdefault(key, _compile(function, "_".join(key)))
        return compiled(*arguments)

    return call


def _array_type(array: npt.NDArray[Any]) -> str:
    """Return what numba distinguishes of an array."""
    flags = array.flags
    order = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
    kind = f"{array.dtype.char}{array.ndim}{order}"
    return kind + "r" * (not flags.writeable) + "u" * (not flags.aligned)


def _compile(function: Callable[..., Any], suffix: str) -> Callable[..., Any]:
    named = FunctionType(
        function.__code__, function.__globals__, function.__name__, None, function.__closure__
    )
    named.__qualname__ = f"{function.__qualname__}_{suffix}"
    # Floats may be added in any order, as vector instructions do; what is not a number stays so.
    njit = functools.partial(numba.njit, nogil=True, fastmath={"reassoc"}, error_model="numpy")
    try:
        return cast("Callable[..., Any]", njit(cache=True)(named))
    except RuntimeError:  # there is no folder in which to keep the code
        return cast("Callable[..., Any]", njit(named))


@_intrinsic  # type: ignore[untyped-decorator]
def _dot(_context: Any, pixels: Any, weights: Any, _flip: Any) -> Any:
    """Compile the dot product of contiguous integers, added up in 32 bits.

    Products of neighbours are added to each other first, for which processors have an instruction
    that a loop over numbers is compiled to only at half its width.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [
            context.make_array(kind)(context, builder, array)
            for kind, array in zip((pixels, weights), arguments, strict=False)
        ]
        int16, int32 = ir.IntType(16), ir.IntType(32)
        wide, sums = ir.VectorType(int32, _LANES), ir.VectorType(int32, _LANES // 2)
        flips = _repeated(builder, arguments[2])

        def products(at: Any, n: int) -> Any:
            factors = []
            for kind, array in ((pixels, arrays[0]), (weights, arrays[1])):
                number = ir.IntType(kind.dtype.bitwidth)
                place = builder.gep(array.data, [at])
                if n > 1:
                    place = builder.bitcast(place, ir.VectorType(number, n).as_pointer())
                values = builder.load(place)
                values.align = kind.dtype.bitwidth // 8
                if array is arrays[0] and number == int16:
                    values = builder.xor(values, flips if n > 1 else arguments[2])
                extend = builder.sext if kind.dtype.signed else builder.zext
                factors.append(extend(values, wide if n > 1 else int32))
            return builder.mul(*factors)

        def add(total: Any, value: Any) -> None:
            builder.store(builder.add(builder.load(total), value), total)

        length = builder.extract_value(arrays[0].shape, 0)
        steps = builder.udiv(length, length.type(_LANES))
        total = cgutils.alloca_once_value(builder, sums([0] * sums.count))
        with cgutils.for_range(builder, steps) as loop:
            found = products(builder.mul(loop.index, length.type(_LANES)), _LANES)
            for first in (0, 1):
                which = sums(list(range(first, _LANES, 2)))
                add(total, builder.shuffle_vector(found, found, which))
        rest = cgutils.alloca_once_value(builder, _added_up(builder, builder.load(total)))
        done = builder.mul(steps, length.type(_LANES))
        with cgutils.for_range(builder, builder.sub(length, done)) as loop:
            add(rest, products(builder.add(done, loop.index), 1))
        return builder.sext(builder.load(rest), ir.IntType(64))

    return numba.int64(pixels, weights, numba.int16), generate


def _repeated(builder: Any, number: Any) -> Any:
    """Return a vector of the same number in all lanes."""
    vector = ir.VectorType(number.type, _LANES)(ir.Undefined)
    first = builder.insert_element(vector, number, ir.IntType(32)(0))
    return builder.shuffle_vector(first, first, ir.VectorType(ir.IntType(32), _LANES)([0] * _LANES))


def _added_up(builder: Any, vector: Any) -> Any:
    """Return the sum of a vector of 32-bit integers."""
    kind = ir.FunctionType(vector.type.element, [vector.type])
    name = f"llvm.vector.reduce.add.v{vector.type.count}i32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [vector])


def _signed(frames: Any) -> tuple[Any, Any]:
    """Return pixels as dot products take them, and what they have to be flipped by (xor).

    A pixel of 16 bits without sign, flipped, is itself - 2**15. None for floats.
    """
    if frames.dtype.kind == "f":
        return frames, None
    if frames.dtype == np.uint16:
        return frames.view(np.int16), np.int16(-(2**15))
    return frames, np.int16(0)


def sum_together(frames: Any, total: Any, weights: Any, spans: Any, block: int, out: Any) -> None:
    """Add frames of integers to their sum, and their weighted sums to `out`, in one loop.

    A few frames, which fit into the level 2 cache, go through all of it before the next. The
    `total` of frames (uint64 or int64) is not computed if it has no element. Products of a `block`
    of pixels are added up in 32 bits: the absolute values of its `weights` (int16, shape (sums,
    pixels)) add up to at most `LARGEST_WEIGHTS`. `spans` (int64, shape (sums, 2)) are first and
    last pixel + 1 of the blocks with weights that are not 0. `out` is int64, (frames, sums).
    """
    pixels = _flat(frames)
    signed, flip = _signed(pixels)
    narrow = np.zeros(total.size, _NARROW[frames.dtype.kind])
    for first in range(0, len(frames), _LONGEST):
        some = slice(first, first + _LONGEST)
        _sum_together(pixels[some], signed[some], narrow, weights, spans, block, flip, out[some])
        total += narrow.reshape(total.shape)
        narrow[:] = 0
    out -= int(flip) * weights.sum(axis=1, dtype=np.int64)


@_compiled
def _sum_together(
    frames: Any, signed: Any, total: Any, weights: Any, spans: Any, block: Any, flip: Any, out: Any
) -> None:
    for i in range(0, frames.shape[0], _TOGETHER):
        stop = min(i + _TOGETHER, frames.shape[0])
        if total.shape[0] > 0:
            _add_some(frames, i, stop, 0, total)
        for j in range(i, stop):
            for k in range(weights.shape[0]):
                for start in range(spans[k, 0], spans[k, 1], block):
                    inside = weights[k, start : start + block]
                    out[j, k] += _dot(signed[j, start : start + block], inside, flip)


@numba.njit(nogil=True, error_model="numpy")
def _add_some(frames: Any, start: Any, end: Any, first: Any, sums: Any) -> None:
    """Add the pixels from `first` of some frames to sums that they fit into, four at a time."""
    narrow = sums.dtype.type
    stop = first + sums.shape[0]
    for i in range(start, end - 3, 4):
        a, b = frames[i, first:stop], frames[i + 1, first:stop]
        c, d = frames[i + 2, first:stop], frames[i + 3, first:stop]
        for x in range(sums.shape[0]):
            pair = narrow(narrow(a[x]) + narrow(b[x]))
            other = narrow(narrow(c[x]) + narrow(d[x]))
            sums[x] = narrow(sums[x] + narrow(pair + other))
    for i in range(end - (end - start) % 4, end):
        a = frames[i, first:stop]
        for x in range(sums.shape[0]):
            sums[x] = narrow(sums[x] + narrow(a[x]))


def sum_runs(frames: Any, runs: Any, first_row: int, first_column: int, out: Any) -> None:
    """Add the sum of each frame over runs of pixels to `out`, and its first moments.

    `runs` (int64, shape (runs, 3)) are row, first column and last column + 1, within `frames`; of
    at most `LONGEST_RUN` pixels. The first row and column of `frames` count as `first_row` and
    `first_column` in the moments. `out` is int64 or float64, of shape (frames, 1) or (frames, 3).
    """
    pixels, flip = _signed(frames)
    _sum_runs(pixels, runs, first_row, first_column, flip, _RAMP, out)


@_compiled
def _sum_runs(
    frames: Any, runs: Any, first_row: Any, first_column: Any, flip: Any, ramp: Any, out: Any
) -> None:
    moments = out.shape[1] > 1
    for i in range(frames.shape[0]):
        for k in range(runs.shape[0]):
            row, column = runs[k, 0], runs[k, 1]
            pixels = frames[i, row, column : runs[k, 2]]
            if flip is None:  # numba compiles one of the branches
                mass = inside = np.float64(0)
                for x in range(pixels.shape[0]):
                    mass += np.float64(pixels[x])
                if moments:
                    for x in range(pixels.shape[0]):
                        inside += x * np.float64(pixels[x])
            else:
                n: Any = np.int64(pixels.shape[0])
                mass = _dot(pixels, ramp[0, :n], flip) - flip * n
                inside = n * 0
                if moments:
                    inside = _dot(pixels, ramp[1, :n], flip) - flip * (n * (n - 1) // 2)
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
    """Add so many frames as fit into the 32 bits of a scratch array, then that to the sum."""
    for first in range(0, frames.shape[1], scratch.shape[0]):
        into = total[first : first + scratch.shape[0]]
        sums = scratch[: into.shape[0]]
        for start in range(0, frames.shape[0], _LONGEST):
            sums[:] = 0
            _add_some(frames, start, min(start + _LONGEST, frames.shape[0]), first, sums)
            for x in range(sums.shape[0]):
                into[x] += sums[x]


def add_squares(frames: Any, total: Any) -> None:
    """Add the squares of the pixels to their sum."""
    # The square of 16 bits has 32, also without sign.
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
    """Add the pixels of each frame to the bins that they belong to; negative ones to none."""
    for i in range(frames.shape[0]):
        sums = out[i]
        for y in range(frames.shape[1]):
            a, at = frames[i, y], bins[y]
            for x in range(a.shape[0]):
                if at[x] >= 0:
                    sums[at[x]] += a[x]
