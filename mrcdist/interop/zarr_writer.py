"""Write a new Zarr hierarchy block by block, on the connected cluster or in this process."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TextIO

import dask
import numpy as np
import numpy.typing as npt
from dask.tokenize import tokenize
from dask.utils import format_bytes

from mrcdist.errors import WriteError
from mrcdist.interop.zarr_destination import ZarrDestination
from mrcdist.interop.zarr_layouts import Hierarchy, Level, split_box
from mrcdist.plan.chunks import Chunks
from mrcdist.plan.selection import Box
from mrcdist.progress import show_progress
from mrcdist.storage.location import Location
from mrcdist.write.errors import abandoned_on_failure


@dataclass(frozen=True)
class ZarrReport:
    """Report on a written Zarr hierarchy.

    Attributes
    ----------
    url : str
        Redacted.
    shape : tuple of int
        Shape of the array.
    dtype : str
    nbytes : int
        Size of the array, uncompressed.
    stored_bytes : int
        Size of all files.
    files : int
    chunks : tuple of int
        Shape of a chunk, the smallest unit that a reader decodes.
    blocks, blocks_kept : int
        Number of blocks of all arrays, and of those kept from an earlier run.
    verified : bool
        Whether everything was read back and compared with the source.
    seconds : float
    """

    url: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    stored_bytes: int
    files: int
    chunks: tuple[int, ...]
    blocks: int
    blocks_kept: int
    verified: bool
    seconds: float

    def __str__(self) -> str:
        kept = f", {self.blocks_kept} of an earlier run" if self.blocks_kept else ""
        shape, chunks = (" × ".join(map(str, s)) for s in (self.shape, self.chunks))
        lines = [
            self.url,
            f"  array    {shape}, {self.dtype}, chunks of {chunks}",
            f"  written  {format_bytes(self.nbytes)} in {self.seconds:.1f} s, "
            f"{format_bytes(int(self.nbytes / self.seconds))}/s; {self.blocks} blocks{kept}",
            f"  stored   {format_bytes(self.stored_bytes)} in {self.files:,} files",
        ]
        return "\n".join([*lines, *(["  verified by reading it back"] if self.verified else [])])


def write_zarr(
    location: Location,
    hierarchy: Hierarchy,
    *,
    compressor: str,
    overwrite: bool = False,
    resume: bool = False,
    verify: bool = False,
    read_chunks: Chunks | None = None,
    stream: TextIO | None = None,
) -> ZarrReport:
    """Write a hierarchy, which appears under its name once it is complete and, if wanted, verified.

    `overwrite` and `resume` are those of `write_mrc`; `compressor` is a codec of Blosc. `verify`
    reads everything back and compares it with the source. `read_chunks`, the chunks of the source
    that determine the blocks, are stored for a call that resumes.
    """
    start = time.monotonic()
    about = {
        "hierarchy": tokenize(hierarchy),
        "read_chunks": [list(axis) for axis in read_chunks or ()],
        "compressor": compressor,
        "overwrite": overwrite,
    }
    destination = ZarrDestination(location).begin(
        about, hierarchy, compressor, overwrite=overwrite, resume=resume
    )
    n_blocks = sum(len(level.boxes) for level in hierarchy.levels)
    # Each step with the prefix of the names under which its finished blocks are recorded.
    steps: dict[str, _Step] = {"": _write, **({"verified-": _verify} if verify else {})}
    with nullcontext() if resume else abandoned_on_failure(destination.abandon):
        finished = destination.work.kept()
        with show_progress(destination.work.kept, n_blocks * len(steps), stream):
            for prefix, step in steps.items():
                for level in hierarchy.levels:
                    _run_step(destination, level, step, prefix, finished)
        files, stored = destination.finish()
    array = hierarchy.levels[0].array
    return ZarrReport(
        location.shown,
        array.shape,
        array.dtype,
        math.prod(array.shape) * np.dtype(array.dtype).itemsize,
        stored,
        files,
        array.chunks,
        n_blocks,
        sum(not name.startswith("verified-") for name in finished),
        verify,
        time.monotonic() - start,
    )


_Step = Callable[[ZarrDestination, Level, Box], None]


def _run_step(
    destination: ZarrDestination, level: Level, step: _Step, prefix: str, finished: frozenset[str]
) -> None:
    """Carry out a step for all blocks of a level, except the finished ones."""
    token = uuid.uuid4().hex[:16]
    # Separate nodes are sent to each worker once, instead of with each task.
    shared = [
        dask.delayed(value, traverse=False, name=f"zarr-{name}-{token}")
        for name, value in (("destination", destination), ("level", level))
    ]
    task = dask.delayed(_run_block, traverse=False, name=f"zarr-step-{token}")
    path = level.array.path.replace("/", "-")
    dask.compute(
        *(
            task(*shared, step, box, name, dask_key_name=f"write-zarr-{token}-{number}")
            for number, box in enumerate(level.boxes)
            if (name := f"{prefix}{path}-{number}") not in finished
        )
    )


def _run_block(
    destination: ZarrDestination, level: Level, step: _Step, box: Box, name: str
) -> None:
    step(destination, level, box)
    destination.keep(name)


def _write(destination: ZarrDestination, level: Level, box: Box) -> None:
    destination.write(level.array.path, box, level.source.read(box, destination.read))


def _verify(destination: ZarrDestination, level: Level, block: Box) -> None:
    for box in split_box(block, level.array.chunks):
        stored = destination.read(level.array.path, box)
        expected = level.source.read(box, destination.read)
        require_equal(stored, expected, box, destination.location.shown)


def require_equal(
    stored: npt.NDArray[Any], expected: npt.NDArray[Any], box: Box, shown: str
) -> None:
    """Raise `WriteError` if numbers that were read back differ; NaN equals NaN."""
    if np.array_equal(stored, expected, equal_nan=expected.dtype.kind in "fc"):
        return
    ranges = ", ".join(f"{part.start}:{part.stop}" for part in box)
    raise WriteError(
        f"{shown}: [{ranges}] differs from the source",
        code="verification-failed",
        cause="the disk or the network corrupted the data, or another program wrote to the file",
        remedy="check the disk, and convert again without `resume`",
    )
