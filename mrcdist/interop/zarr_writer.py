"""Write a new Zarr hierarchy block by block, on whichever cluster is connected."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

import dask
import numpy as np
import numpy.typing as npt
from dask.tokenize import tokenize
from dask.utils import format_bytes

from mrcdist.errors import WriteError
from mrcdist.interop.zarr_destination import ZarrDestination
from mrcdist.interop.zarr_layouts import Hierarchy, Level, pieces
from mrcdist.plan.chunks import Chunks
from mrcdist.plan.selection import Box
from mrcdist.progress import show_progress
from mrcdist.storage.location import Location
from mrcdist.write.errors import give_up


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
        Chunk lengths: the smallest unit that a reader decodes.
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
    """Write a hierarchy, which gets its name once it is complete and, on request, verified.

    `overwrite` and `resume` are those of `write_mrc`, `compressor` is a codec of Blosc. To verify
    is to read everything back, and compare it with the source. Chunks of the source, from which
    the blocks follow, are kept for a call that resumes.
    """
    begun = time.monotonic()
    about = {
        "hierarchy": tokenize(hierarchy),
        "read_chunks": [list(axis) for axis in read_chunks or ()],
        "compressor": compressor,
        "overwrite": overwrite,
    }
    destination = ZarrDestination(location).begin(
        about, hierarchy, compressor, overwrite=overwrite, resume=resume
    )
    blocks = sum(len(level.boxes) for level in hierarchy.levels)
    steps: list[tuple[str, _Step]] = [("", _write), *([("verified-", _verify)] * verify)]
    try:
        kept = destination.kept()
        with show_progress(destination.kept, blocks * len(steps), stream):
            for prefix, step in steps:
                for level in hierarchy.levels:
                    _compute(destination, level, step, prefix, kept)
        files, stored = destination.finish()
    except BaseException as error:
        if not resume:
            give_up(destination.abandon, error)
        raise
    array = hierarchy.levels[0].array
    nbytes = int(np.prod(array.shape)) * np.dtype(array.dtype).itemsize
    return ZarrReport(
        location.shown,
        array.shape,
        array.dtype,
        nbytes,
        stored,
        files,
        array.chunks,
        blocks,
        sum(not name.startswith("verified-") for name in kept),
        verify,
        time.monotonic() - begun,
    )


_Step = Callable[[ZarrDestination, Level, Box], None]


def _compute(
    destination: ZarrDestination, level: Level, step: _Step, prefix: str, kept: frozenset[str]
) -> None:
    """Do a step for all blocks of a level that are not kept."""
    token = uuid.uuid4().hex[:16]
    # Nodes of their own: they go to each worker once, and not with each task.
    to = dask.delayed(destination, traverse=False, name=f"zarr-destination-{token}")
    of = dask.delayed(level, traverse=False, name=f"zarr-level-{token}")
    do = dask.delayed(_done, traverse=False, name=f"zarr-step-{token}")
    path = level.array.path.replace("/", "-")
    dask.compute(
        *(
            do(to, of, step, box, name, dask_key_name=f"write-zarr-{token}-{n}")
            for n, box in enumerate(level.boxes)
            if (name := f"{prefix}{path}-{n}") not in kept
        )
    )


def _done(destination: ZarrDestination, level: Level, step: _Step, box: Box, name: str) -> None:
    step(destination, level, box)
    destination.keep(name)


def _write(destination: ZarrDestination, level: Level, box: Box) -> None:
    destination.write(level.array.path, box, level.source.read(box, destination.read))


def _verify(destination: ZarrDestination, level: Level, block: Box) -> None:
    for box in pieces(block, level.array.chunks):
        found = destination.read(level.array.path, box)
        if differs(found, level.source.read(box, destination.read)):
            raise unlike(destination.location.shown, box)


def differs(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> bool:
    """Whether numbers that were read again are others; NaN equals NaN."""
    return not np.array_equal(found, expected, equal_nan=expected.dtype.kind in "fc")


def unlike(shown: str, box: Box) -> WriteError:
    """Build the error for numbers that are others when they are read again."""
    where = ", ".join(f"{part.start}:{part.stop}" for part in box)
    return WriteError(
        f"{shown}: [{where}] differs from what was written",
        code="verification-failed",
        cause="the disk or the network has damaged it, or another program has written there",
        remedy="check the disk, and convert again without {resume}",
    )
