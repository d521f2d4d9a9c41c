"""Reductions by functions of the user's own, which may fail."""

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


class FunctionFailedError(Exception):
    """A function of the user's own failed; its error is the cause.

    `numbers` are those of the frames with which it was called, counted from the first of the block;
    `alone` is the first of them with which it fails if it is called with nothing else, or None.
    """

    def __init__(self, numbers: Sequence[int], alone: int | None) -> None:
        super().__init__(numbers, alone)
        self.numbers, self.alone = numbers, alone


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
        """Distinguish versions of a function, which dask knows by its name alone."""
        fields = (self.function, self.merge, self.shape, self.title)
        dtype = None if self.dtype is None else np.dtype(self.dtype).str
        codes = [function_digest(each) for each in (self.function, self.merge)]
        return (type(self).__name__, normalize_token(fields), dtype, *codes)

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """The function, with its frames named where it fails."""
        frame_shape = data.layout.frame_shape
        if self.merge is not None:
            return (_Accumulated(frame_shape, self.function, self.merge),)
        return (_EachFrame(frame_shape, self.function, *self._value(data)),)

    def _value(self, data: Dataset) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and dtype of the value of a frame."""
        known = np.zeros(1)
        if self.shape is None or self.dtype is None:
            zeros = np.zeros((1, *data.layout.frame_shape), data.layout.dtype)
            # If it fails for all frames, the error will name them.
            with suppress(Exception), np.errstate(all="ignore"):
                known = np.asarray(self.function(zeros))
        shape = known.shape[1:] if self.shape is None else tuple(self.shape)
        return shape, known.dtype if self.dtype is None else np.dtype(self.dtype)

    def finish(self, data: Dataset, *values: Array) -> Result:
        """Name the axes of the values."""
        [found] = values
        if self.merge is None:
            axes = (*data.navigation_axes, *_counted(found.shape[data.n_navigation :]))
            return Result(self.title, found, axes, notes=data.zeros_note())
        if not len(found):
            raise ArgumentError("there are no frames to reduce", code="data-not-reducible")
        of_frames = found[0].shape == data.layout.frame_shape
        axes = data.signal_axes if of_frames else _counted(found[0].shape)
        return Result(self.title, found[0], axes, notes=data.missing_note(self.title))


def _counted(shape: tuple[int, ...]) -> tuple[Axis, ...]:
    return tuple(Axis(f"value_{n}", size, navigate=False) for n, size in enumerate(shape))


@dataclass(frozen=True, eq=False)
class _EachFrame(Reduction):
    """A value per frame."""

    function: Callable[[Array], Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    whole_frames: ClassVar = True

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        return np.zeros((n_frames, *self.shape), self.dtype)

    def add(self, result: Array, tile: Tile) -> Array:
        result[...] = _called(self._checked, tile)
        return result

    def _checked(self, frames: Array) -> Array:
        values = np.asarray(self.function(frames))
        if values.shape != (len(frames), *self.shape):
            raise ArgumentError(
                f"the function returned an array of shape {values.shape} for {len(frames)} frames",
                code="function-invalid",
                cause="its first axis has one element per frame, and each of them the same shape: "
                f"{(len(frames), *self.shape)}",
                remedy="return one value, or one array, per frame; or pass merge, if it is one "
                "value for all of them",
            )
        if not _can_keep(values, self.dtype):
            raise ArgumentError(
                f"the function returned values of dtype {values.dtype}",
                code="function-invalid",
                argument="dtype",
                cause=f"its values are kept as {self.dtype}, which cannot hold them; without "
                "dtype, that is the dtype of its value for a frame of zeros",
                remedy="pass FrameReduction(function, dtype=…) with a dtype for the values of "
                "all frames, such as float",
            )
        return values


def _can_keep(values: Array, dtype: np.dtype[Any]) -> bool:
    """Whether values of a dtype are the same in another one, but for rounding of floats."""
    if values.dtype.kind in "biu" and dtype.kind in "biu":
        return bool((values.astype(dtype) == values).all())
    return np.can_cast(values.dtype, dtype, "same_kind")


@dataclass(frozen=True, eq=False)
class _Accumulated(Reduction):
    """One value for all frames; arrays of length 1, or 0 as long as there is no frame."""

    function: Callable[[Array], Any]
    merge: Callable[[Array, Array], Any]
    joined_at_once: ClassVar = 4
    whole_frames: ClassVar = True
    per_frame: ClassVar = False

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        return np.empty(0)

    def add(self, result: Array, tile: Tile) -> Array:
        def merged(frames: Array) -> Array:
            return self._merged(result, np.asarray(self.function(frames))[None])

        return _called(merged, tile)

    def join(self, parts: Sequence[Array]) -> Array:
        total = parts[0]
        for part in parts[1:]:
            total = self._merged(total, part)
        return total

    def _merged(self, one: Array, other: Array) -> Array:
        if len(one) and len(other):
            return np.asarray(self.merge(one[0], other[0]))[None]
        return one if len(one) else other


def _called(function: Callable[[Array], Array], tile: Tile) -> Array:
    """Call a function with a tile of whole frames; an error says with which frames."""
    pixels = tile.pixels
    try:
        return function(pixels)
    except Exception as error:
        alone = None
        for number, frame in zip(tile.numbers, pixels, strict=True):
            try:
                function(frame[None])
            except Exception:  # noqa: BLE001 whatever it raises
                alone = number
                break
        raise FunctionFailedError(tile.numbers, alone) from error
