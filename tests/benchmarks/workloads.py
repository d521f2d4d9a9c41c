"""Workloads to measure: each as a dask expression with its expected result."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.movie import FRAME_SHAPE, CustomScan, Movie, scan_of

__all__ = [
    "BAND",
    "CROP",
    "NAMES",
    "Workload",
    "WrongResultError",
    "disk_mask",
    "make_workloads",
    "masked_sum",
]

Array = NDArray[Any]

CROP = slice(40, 88)
"""Rows and columns of the cropped detector."""
BAND = 16
"""Rows of the detector in a block of detector-major order."""
# Frames per tile: 4 MiB as float32. With smaller tiles, threads wait for the interpreter lock, with
# larger ones for memory; with processes, 32 frames are equally fast.
_TILE = 64
_RANDOM_FRAMES = 20
_SMALL_TASKS_GIB = 1 / 64


class WrongResultError(Exception):
    """A result differs from the content of the file, so its time does not count."""


@dataclass(frozen=True)
class Workload:
    """A computation with a movie.

    Attributes
    ----------
    name, description : str
    movie : Movie
    chunks : tuple of int
        Chunk lengths, the same for all readers with chunks.
    expressions : callable
        Dask array → arrays to compute, one after the other.
    expected : callable
        Movie → expected results, computed without reading the file.
    nbytes : int
        Bytes of the file that the result depends on.
    pieces : int
        Number of chunks planned, frames or tasks, to report the time of one of them.
    """

    name: str
    description: str
    movie: Movie
    chunks: tuple[int, ...]
    expressions: Callable[[da.Array], list[da.Array]]
    expected: Callable[[Movie], list[Array]]
    nbytes: int
    pieces: int = 1

    def check(self, results: Sequence[Any]) -> None:
        """Raise `WrongResultError` unless all values equal the expected ones."""
        expected = self.expected(self.movie)
        if len(results) != len(expected) or not all(map(np.array_equal, results, expected)):
            raise WrongResultError(f"{self.name}: the result differs from the data written")


def disk_mask() -> NDArray[np.float32]:
    """Return the mask of the bright-field disk: 1 inside, 0 outside."""
    ky, kx = np.ogrid[: FRAME_SHAPE[0], : FRAME_SHAPE[1]]
    return (np.hypot(ky - 63.5, kx - 63.5) < 32).astype(np.float32)


def masked_sum(frames: Array, mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum each frame under a mask, with one matrix product per tile, the fastest way in numpy."""
    flat = frames.reshape(-1, mask.size)
    sums = np.empty(len(flat), np.float32)
    tile = np.empty((_TILE, mask.size), np.float32)
    for first in range(0, len(flat), _TILE):
        n_frames = min(_TILE, len(flat) - first)
        np.copyto(tile[:n_frames], flat[first : first + _TILE])
        np.matmul(tile[:n_frames], mask.ravel(), out=sums[first : first + _TILE])
    return sums.reshape(frames.shape[:-2])


def random_positions(movie: Movie) -> list[tuple[int, int]]:
    """Return random scan positions, the same in every run."""
    frames = np.random.default_rng(seed=1).integers(movie.n_frames, size=_RANDOM_FRAMES)
    return [divmod(int(frame), movie.scan_shape[1]) for frame in frames]


def _virtual_image(data: da.Array) -> list[da.Array]:
    mask = disk_mask()
    # Not `map_blocks` with `drop_axis`, which copies every block: dask concatenates blocks along
    # a dropped axis even if there is only one.
    sums = da.blockwise(
        _masked_sum_of_block, "yx", data, "yxab", mask=mask, concatenate=False, dtype=np.float32
    )
    return [sums / mask.sum()]


def _masked_sum_of_block(blocks: list[list[Array]], mask: NDArray[np.float32]) -> Array:
    [[frames]] = blocks
    return masked_sum(frames, mask)


def _mean_pattern(data: da.Array) -> list[da.Array]:
    return [data.sum(axis=(0, 1), dtype=np.uint32) / math.prod(data.shape[:2])]


def _cropped_detector(data: da.Array) -> list[da.Array]:
    return [data[..., CROP, CROP].sum(axis=(2, 3), dtype=np.uint32)]


def _random_frames(movie: Movie) -> Callable[[da.Array], list[da.Array]]:
    return lambda data: [data[position] for position in random_positions(movie)]


def _detector_rechunk(data: da.Array) -> list[da.Array]:
    return [data.rechunk((-1, -1, BAND, -1)).max(axis=0)]


def _detector_major(data: da.Array) -> list[da.Array]:
    return [data.max(axis=0)]


def _sum_of_each_frame(data: da.Array) -> list[da.Array]:
    return [data.sum(axis=(2, 3), dtype=np.uint32)]


def _last_frame(data: da.Array) -> list[da.Array]:
    return [data[-1, -1]]


@cache
def _rows(movie: Movie, of_row: Callable[[Array], Array]) -> Array:
    return np.stack([of_row(movie.row(y)) for y in range(movie.scan_shape[0])])


def _sum_of_crop(row: Array) -> Array:
    return row[:, CROP, CROP].sum(axis=(1, 2), dtype=np.uint64)


def _sum_of_disk(row: Array) -> Array:
    return row[:, disk_mask() == 1].sum(axis=1, dtype=np.uint64).astype(np.float32)


def _sum_of_frames(row: Array) -> Array:
    return row.sum(axis=0, dtype=np.uint64)


def _sum_of_pixels(row: Array) -> Array:
    return row.sum(axis=(1, 2), dtype=np.uint64)


@cache
def _maximum_of_rows(movie: Movie) -> Array:
    maximum = movie.row(0)
    for y in range(1, movie.scan_shape[0]):
        np.maximum(maximum, movie.row(y), out=maximum)
    return maximum


def make_workloads(
    folder: Path, *, gib: float, chunk_mib: float, planned_chunks: int
) -> list[Workload]:
    """Return all workloads; their movies still have to be written.

    Parameters
    ----------
    folder : Path
    gib : float
        Minimum size of the movie of the large workloads.
    chunk_mib : float
        Size of their chunks, which are whole scan rows.
    planned_chunks : int
        Number of chunks to plan.
    """
    movie = Movie(folder / "scan.mrc", scan_of(gib))
    small = Movie(folder / "small.mrc", scan_of(min(_SMALL_TASKS_GIB, gib), width=64))
    long = Movie(folder / "long.mrc", (-(-planned_chunks // 10), 10), sparse=True)

    rows = max(int(chunk_mib * 2**20 * movie.scan_shape[0]) // movie.nbytes, 1)
    whole_rows = Workload(
        name="virtual-image",
        description="mean of each frame under a disk",
        movie=movie,
        chunks=(rows, movie.scan_shape[1], *FRAME_SHAPE),
        expressions=_virtual_image,
        expected=lambda m: [_rows(m, _sum_of_disk) / disk_mask().sum()],
        nbytes=movie.nbytes,
    )
    side = CROP.stop - CROP.start
    one_frame = {"chunks": (1, 1, *FRAME_SHAPE)}
    return [
        replace(
            whole_rows,
            name="planning",
            description=f"open a file in {long.n_frames:,} chunks, compute nothing",
            movie=long,
            **one_frame,
            expressions=_last_frame,
            expected=lambda m: [m.row(m.scan_shape[0] - 1)[-1]],
            nbytes=0,
            pieces=long.n_frames,
        ),
        whole_rows,
        replace(
            whole_rows,
            name="mean-pattern",
            description="mean of all frames",
            expressions=_mean_pattern,
            expected=lambda m: [_rows(m, _sum_of_frames).sum(axis=0) / m.n_frames],
        ),
        replace(
            whole_rows,
            name="cropped-detector",
            description=f"sum of {side} × {side} pixels of each frame",
            expressions=_cropped_detector,
            expected=lambda m: [_rows(m, _sum_of_crop)],
            nbytes=movie.n_frames * side**2 * 2,
        ),
        replace(
            whole_rows,
            name="random-frames",
            description=f"{_RANDOM_FRAMES} single frames, one after the other",
            expressions=_random_frames(movie),
            expected=lambda m: [m.row(y)[x] for y, x in random_positions(m)],
            nbytes=0,
            pieces=_RANDOM_FRAMES,
        ),
        replace(
            whole_rows,
            name="custom-scan",
            description="virtual image of a scan with its points in random order",
            movie=CustomScan(folder / "custom" / "20260101_00001_movie.mrc", movie.scan_shape),
        ),
        replace(
            whole_rows,
            name="detector-rechunk",
            description=f"rechunk to the whole scan by {BAND} detector rows, then maximum along y",
            expressions=_detector_rechunk,
            expected=lambda m: [_maximum_of_rows(m)],
        ),
        replace(
            whole_rows,
            name="detector-major",
            description="the same, with the file opened in these chunks",
            chunks=(*movie.scan_shape, BAND, FRAME_SHAPE[1]),
            expressions=_detector_major,
            expected=lambda m: [_maximum_of_rows(m)],
        ),
        replace(
            whole_rows,
            name="small-tasks",
            description=f"sum of each of {small.n_frames:,} chunks of one frame",
            movie=small,
            **one_frame,
            expressions=_sum_of_each_frame,
            expected=lambda m: [_rows(m, _sum_of_pixels)],
            nbytes=0,
            pieces=small.n_frames,
        ),
    ]


NAMES = (
    "planning",
    "virtual-image",
    "mean-pattern",
    "cropped-detector",
    "random-frames",
    "custom-scan",
    "detector-rechunk",
    "detector-major",
    "small-tasks",
)
