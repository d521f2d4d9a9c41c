"""Tiles, the few frames that a reduction is given at a time, and what a reduction is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

try:
    from mrcdist.compute import compiled
except ImportError:  # numba is an extra
    compiled = None  # type: ignore[assignment]

__all__ = ["FunctionFailedError", "Reduction", "Tile", "compiled"]

Array = npt.NDArray[Any]


class FunctionFailedError(Exception):
    """A function of the user's own failed; its error is the cause.

    Attributes
    ----------
    numbers : sequence of int
        Of the frames with which it was called, counted from the first of the block.
    alone : int or None
        The first of them with which it fails if it is called with nothing else.
    """

    def __init__(self, numbers: Sequence[int], alone: int | None) -> None:
        super().__init__(numbers, alone)
        self.numbers, self.alone = numbers, alone


@dataclass(frozen=True)
class Tile:
    """A few frames, or a band of rows of one.

    Attributes
    ----------
    pixels : ndarray, shape (frames, rows, columns)
        Contiguous.
    first : int
        Row of the first frame in a result with one row per frame.
    rows, columns : range
        Of the detector.
    compiled : bool
        Whether to use the compiled loops.
    numbers : sequence of int
        Of the frames, counted from the first of the block.
    module : module
        That the pixels are arrays of: numpy, or one that works like it.
    """

    pixels: Array
    first: int
    rows: range
    columns: range
    compiled: bool
    numbers: Sequence[int]
    module: Any = np


class Reduction(Protocol):
    """A computation over frames, and the rule that combines results of consecutive blocks."""

    @property
    def window(self) -> tuple[range, range]:
        """Rows and columns of the frames that are needed."""

    @property
    def joined_at_once(self) -> int:
        """Maximum number of results to join in one task."""

    @property
    def whole_frames(self) -> bool:
        """Whether tiles have to hold all rows."""

    @property
    def per_frame(self) -> bool:
        """Whether the result has one row per frame."""

    def begin(self, n_frames: int, dtype: np.dtype[Any]) -> Array:
        """Return the result of no pixel at all."""

    def add(self, result: Array, tile: Tile) -> Array:
        """Add a tile to the result, and return it: the same array, or one that takes its place."""

    def join(self, parts: Sequence[Array]) -> Array:
        """Combine the results of consecutive blocks."""
