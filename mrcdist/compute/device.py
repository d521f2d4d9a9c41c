"""The same reductions by another array module, such as CuPy, with the memory of a GPU.

Whole frames move to its memory once per tile, for all results; results come back at the end of a
block. Sums of integers stay exact: they are numpy's, in 64-bit integers and float64, by the same
code. Functions of the user's own are called with numpy's arrays.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.reduce_block import reduce_block
from mrcdist.compute.reductions import Reduction, Window
from mrcdist.errors import ArgumentError, MissingExtraError
from mrcdist.extras import install_command

__all__ = ["DEVICES", "array_module", "reduce_on"]

DEVICES = ("cpu", "cupy")

# Large enough that starting a kernel, some 10 µs, does not count; as float64 it takes four times as
# much of the GPU's memory, for each thread.
_TILE_BYTES = 2**26


def array_module(device: str) -> Any:
    """Return what computes: CuPy, or None for this processor.

    Raises `ArgumentError` if there is no such device, and `MissingExtraError` if CuPy is not
    installed or finds no GPU.
    """
    if device not in DEVICES:
        raise ArgumentError(
            f"device={device!r}",
            code="device-unknown",
            argument="device",
            cause="there is no such device",
            remedy=f"pass one of {', '.join(DEVICES)}",
        )
    if device == "cpu":
        return None
    try:
        module = importlib.import_module(device)
        module.cuda.Device().compute_capability  # noqa: B018 raises if there is no GPU
    except Exception as error:  # noqa: BLE001 CuPy's own, or the driver's
        raise MissingExtraError(
            f"device={device!r} cannot be used",
            code="package-missing",
            argument="device",
            cause=f"no GPU with CuPy here: {error}",
            remedy=f"{install_command('gpu')} on a host with an NVIDIA GPU, or leave out "
            "{device}",
        ) from None
    return module


def reduce_on(
    module: Any,
    frames: npt.NDArray[Any],
    window: Window,
    reductions: Sequence[Reduction],
    present: npt.NDArray[np.bool_] | None = None,
    *,
    tile_bytes: int = _TILE_BYTES,
    results: Sequence[npt.NDArray[Any]] | None = None,
) -> tuple[npt.NDArray[Any], ...]:
    """Reduce a block of frames as `reduce_block` does, with another array module.

    That is CuPy, or another one with numpy's functions, arrays of its own, and `asnumpy`.
    """
    # Functions of the user's own need whole frames, and get numpy's.
    here = [at for at, each in enumerate(reductions) if each.whole_frames]
    there = [at for at in range(len(reductions)) if at not in here]
    if results is None:
        results = [each.begin(len(frames), frames.dtype) for each in reductions]
    found = list(results)
    own = reduce_block(
        frames,
        window,
        [reductions[at] for at in here],
        present,
        results=[results[at] for at in here],
    )
    for at, result in zip(here, own, strict=True):
        found[at] = result
    moved = reduce_block(
        frames if present is None else frames[present],
        window,
        [reductions[at] for at in there],
        compile_loops=False,
        tile_bytes=tile_bytes,
        module=module,
    )
    for at, result in zip(there, moved, strict=True):
        if reductions[at].per_frame:
            found[at][slice(None) if present is None else present] = module.asnumpy(result)
        else:
            found[at] = reductions[at].join([found[at], module.asnumpy(result)])
    return tuple(found)
