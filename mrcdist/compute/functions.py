"""Reductions by functions of the user, which may fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from dask.tokenize import normalize_token

from mrcdist.compute.function_digest import function_digest
from mrcdist.compute.reductions import Reduction, Tile
from mrcdist.compute.results import Array, Dataset, Result
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis


@dataclass(frozen=True, eq=False)
class FrameReduction:
    """Result of your own function: one value per frame, or one value for all frames.

    Parameters
    ----------
    function : callable
        Called with an ndarray of shape (frames, rows, columns), which it must not modify: as many
        frames as fit into the CPU cache. It runs on the workers, in several threads. Without
        `merge`, it returns an array whose first axis has one element per frame; with `merge`, any
        array.
    merge : callable, optional
        Combines two arrays that `function` returned for different frames, such as
        `numpy.minimum`. The order in which arrays are merged is not specified.
    shape : tuple of int, optional
        Shape of one frame's value, without `merge`. Default: that for a frame of zeros.
    dtype : dtype, optional
        Dtype of the values, without `merge`. Default: that for a frame of zeros. Values that it
        cannot hold raise an error.
    title : str

    Examples
    --------
    >>> darkest = FrameReduction(lambda frames: frames.min(axis=0), merge=np.minimum)
    """

    function: Callable[[Array], Any]
    merge: Callable[[Array, Array], Any] | None = None
    shape: tuple[int, ...] | None = None
    dtype: npt.DTypeLike | None = None
    title: str = "function of frames"

    def __dask_tokenize__(self) -> Any:
        """Distinguish versions of a function, which dask knows by name only."""
        fields = (self.function, self.merge, self.shape, self.title)
        dtype = None if self.dtype is None else np.dtype(self.dtype).str
        codes = [function_digest(each) for each in (self.function, self.merge)]
        return (type(self).__name__, normalize_token(fields), dtype, *codes)

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Return the function as a reduction whose errors name the frames."""
        frame_shape = data.layout.frame_shape
        if self.merge is not None:
            return (_Accumulated(frame_shape, self.function, self.merge),)
        example = np.zeros(1)
        if self.shape is None or self.dtype is None:
            zeros = np.zeros((1, *frame_shape), data.layout.dtype)
            # Ignore failures: if the function also fails in a task, the error names the frames.
            with suppress(Exception), np.errstate(all="ignore"):
                example = np.asarray(self.function(zeros))
        shape = example.shape[1:] if self.shape is None else tuple(self.shape)
        dtype = example.dtype if self.dtype is None else np.dtype(self.dtype)
        return (_EachFrame(frame_shape, self.function, shape, dtype),)

    def finish(self, data: Dataset, *values: Array) -> Result:
        """Name the axes of the values."""
        [joined] = values
        if self.merge is None:
            axes = (*data.navigation_axes, *_numbered_axes(joined.shape[data.n_navigation :]))
            return Result(self.title, joined, axes, notes=data.missing_note())
        data.require_frames()
        [value] = joined
        is_frame = value.shape == data.layout.frame_shape
        axes = data.signal_axes if is_frame else _numbered_axes(value.shape)
        return Result(self.title, value, axes, notes=data.missing_note(self.title))


def _numbered_axes(shape: tuple[int, ...]) -> tuple[Axis, ...]:
    return tuple(Axis(f"value_{n}", size, navigate=False) for n, size in enumerate(shape))


@dataclass(frozen=True, eq=False)
class _EachFrame(Reduction):
    """One value per frame."""

    function: Callable[[Array], Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    whole_frames: ClassVar = True

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        return np.zeros((n_frames, *self.shape), self.dtype)

    def add(self, result: Array, tile: Tile) -> Array:
        result[...] = _call(self._checked, tile)
        return result

    def _checked(self, frames: Array) -> Array:
        values = np.asarray(self.function(frames))
        expected = (len(frames), *self.shape)
        if values.shape != expected:
            raise ArgumentError(
                f"the function returned an array of shape {values.shape} for {len(frames)} frames",
                code="function-invalid",
                argument="function",
                cause="without merge, it must return one element per frame along the first axis, "
                f"all of the same shape: {expected}",
                remedy="return one value or one array per frame, or pass `merge` if it returns one "
                "value for all frames",
            )
        if not _can_hold(self.dtype, values):
            raise ArgumentError(
                f"the function returned values of dtype {values.dtype}",
                code="function-invalid",
                argument="dtype",
                cause=f"they are stored as {self.dtype}, which cannot hold them; the default dtype "
                "is that of the value for a frame of zeros",
                remedy="pass `FrameReduction(function, dtype=…)` with a dtype for the values of "
                "all frames, such as float",
            )
        return values


def _can_hold(dtype: np.dtype[Any], values: Array) -> bool:
    """Whether a dtype can hold values exactly, except for rounding of floats."""
    if values.dtype.kind in "biu" and dtype.kind in "biu":
        return bool((values.astype(dtype) == values).all())
    return np.can_cast(values.dtype, dtype, "same_kind")


@dataclass(frozen=True, eq=False)
class _Accumulated(Reduction):
    """One value for all frames, as an array of length 1, or 0 before the first frame."""

    function: Callable[[Array], Any]
    merge: Callable[[Array, Array], Any]
    max_joined: ClassVar = 4
    whole_frames: ClassVar = True
    per_frame: ClassVar = False

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        return np.empty(0)

    def add(self, result: Array, tile: Tile) -> Array:
        def merged(frames: Array) -> Array:
            return self.join([result, np.asarray(self.function(frames))[None]])

        return _call(merged, tile)

    def join(self, parts: Sequence[Array]) -> Array:
        filled = [part[0] for part in parts if len(part)]
        if not filled:
            return parts[0]
        merged, *others = filled
        for other in others:
            # `merge` receives arrays even if it returns lists; numpy scalars if they have no axes.
            merged = np.asarray(self.merge(merged, other))[()]
        return np.asarray(merged)[None]


def _call(function: Callable[[Array], Array], tile: Tile) -> Array:
    """Call a function with a tile of whole frames; notes of its exception name the frames."""
    try:
        return function(tile.pixels)
    except Exception as error:
        first, last = tile.describe(tile.numbers[0]), tile.describe(tile.numbers[-1])
        error.add_note(f"raised for {len(tile.numbers)} frames: {first} to {last}")
        for number, frame in zip(tile.numbers, tile.pixels, strict=True):
            try:
                function(frame[None])
            except Exception:  # noqa: BLE001 it may raise anything
                error.add_note(f"also raised for a single frame: {tile.describe(number)}")
                break
        raise
