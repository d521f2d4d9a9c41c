"""The speed limit: numpy on a memmap in one process per worker, without graph or scheduler."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.movie import CustomScan
from tests.benchmarks.readers import Arrays, Reader, Run
from tests.benchmarks.workloads import (
    BAND,
    CROP,
    Workload,
    disk_mask,
    masked_sum,
    random_positions,
)

__all__ = ["NumpyProcesses"]

Array = NDArray[Any]


class NumpyProcesses(Reader):
    """Divides the scan or the detector among processes, which read their part chunk by chunk.

    Parameters
    ----------
    workers : int
        Number of processes.
    """

    name = "numpy processes"

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def prepare(self, workload: Workload) -> Run | None:
        movie = workload.movie
        opened = partial(_mapped, movie.path, len(movie.header), movie.shape)
        if workload.name == "random-frames":
            return lambda: [np.array(opened()[position]) for position in random_positions(movie)]
        rows, bands = movie.scan_shape[0], movie.shape[2]
        jobs: dict[str, tuple[Callable[..., Array], int, int, Callable[[list[Array]], Array]]] = {
            "virtual-image": (_virtual_image, rows, workload.chunks[0], np.concatenate),
            "mean-pattern": (_sum, rows, workload.chunks[0], lambda s: sum(s) / movie.n_frames),
            "custom-scan": (partial(_custom_scan, movie), rows, workload.chunks[0], np.concatenate),
            "cropped-detector": (_crop, rows, workload.chunks[0], np.concatenate),
            "detector-rechunk": (_maximum, bands, BAND, partial(np.concatenate, axis=1)),
            "detector-major": (_maximum, bands, BAND, partial(np.concatenate, axis=1)),
        }
        if workload.name not in jobs:
            return None
        job, length, step, joined = jobs[workload.name]
        return lambda: [joined(self._run_in_processes(job, opened, length, step))]

    def _run_in_processes(
        self, job: Callable[..., Array], opened: Callable[[], Array], length: int, step: int
    ) -> Arrays:
        ends = np.linspace(0, length, self._workers + 1).astype(int).tolist()
        futures = [
            self._pool.submit(job, opened, range(first, last, step), last)
            for first, last in pairwise(ends)
            if first < last
        ]
        return [future.result() for future in futures]


def _mapped(path: Path, offset: int, shape: tuple[int, ...]) -> Array:
    return np.memmap(path, "<u2", "r", offset, shape)


def _pieces(firsts: range, last: int) -> list[slice]:
    return [slice(first, min(first + firsts.step, last)) for first in firsts]


def _virtual_image(opened: Callable[[], Array], firsts: range, last: int) -> Array:
    data, mask = opened(), disk_mask()
    sums = [masked_sum(data[piece], mask) for piece in _pieces(firsts, last)]
    return np.concatenate(sums) / mask.sum()


def _custom_scan(movie: CustomScan, opened: Callable[[], Array], firsts: range, last: int) -> Array:
    frames, mask = opened().reshape(-1, *movie.shape[2:]), disk_mask()
    sums = [masked_sum(frames[movie.order[piece]], mask) for piece in _pieces(firsts, last)]
    return np.concatenate(sums) / mask.sum()


def _sum(opened: Callable[[], Array], firsts: range, last: int) -> Array:
    data = opened()
    total = np.zeros(data.shape[2:], np.uint64)
    for piece in _pieces(firsts, last):
        total += data[piece].sum(axis=(0, 1), dtype=np.uint32)
    return total


def _crop(opened: Callable[[], Array], firsts: range, last: int) -> Array:
    data = opened()
    pieces = _pieces(firsts, last)
    return np.concatenate(
        [data[p, :, CROP, CROP].sum(axis=(2, 3), dtype=np.uint32) for p in pieces]
    )


def _maximum(opened: Callable[[], Array], firsts: range, last: int) -> Array:
    data = opened()
    return np.concatenate([np.asarray(data[:, :, p].max(axis=0)) for p in _pieces(firsts, last)], 1)
