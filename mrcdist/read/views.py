"""Memory seen as frames, and frames as the arrays that tasks hand on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.plan.coalesce import Window
from mrcdist.plan.layout import Frames, Layout

__all__ = ["as_slice", "even_step", "frames_in", "native"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def even_step(frames: Frames) -> int:
    """The step of an arithmetic, increasing list of frames; 0 if it is none."""
    if frames.size == 1:
        return 1
    steps = np.diff(frames)
    return int(steps[0]) if steps[0] > 0 and np.all(steps == steps[0]) else 0


def as_slice(inside: Frames) -> slice | Frames:
    """A slice where the positions are even: it reads in place where a list would copy first."""
    step = even_step(inside)
    return slice(int(inside[0]), int(inside[-1]) + 1, step) if step else inside


def frames_in(buffer: Bytes, layout: Layout, window: Window, n_frames: int, step: int) -> Bytes:
    """View memory, from a window's first byte on, as (frames, rows, bytes), a frame a `step`."""
    first, last = layout.pixels.byte_range(window.columns)
    n_rows = window.rows[-1] - window.rows.start + 1
    # The last frame ends with the window: the strides do not lead past the buffer.
    shape = (n_frames, n_rows, last - first)
    strides = (step, layout.row_bytes, 1)
    reach = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1
    if reach > buffer.size:
        raise AssertionError(f"a view of {reach} bytes over a buffer of {buffer.size}")
    return np.ndarray(shape, np.uint8, buffer, strides=strides)


def native(block: Array) -> Array:
    """The same numbers in this machine's byte order and at their natural places in memory."""
    if not block.dtype.isnative:
        dtype = block.dtype.newbyteorder("=")
        if block.flags.writeable:  # memory of our own: maps are read-only
            return block.byteswap(inplace=True).view(dtype)
        return block.astype(dtype)
    # Data that begin at an odd byte: compiled code downstream wants its numbers aligned.
    return block if block.flags.aligned else block.copy()
