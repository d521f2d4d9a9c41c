"""Readers measured with dask: mrcdist and other ways to open the file as a dask array."""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

import mrcdist
from mrcdist.read.mmap_pool import POOL
from tests.benchmarks.movie import CustomScan, Movie
from tests.benchmarks.workloads import Workload

__all__ = ["Arrays", "DaskReader", "Reader", "Run", "dask_readers"]

Arrays = list[NDArray[Any]]
Run = Callable[[], Any]
Compute = Callable[[da.Array], NDArray[Any]]


class Reader(ABC):
    """A reader under test: prepares a workload (untimed) and runs it (timed)."""

    name: str

    @abstractmethod
    def prepare(self, workload: Workload) -> Run | None:
        """Return the function to be timed; None if the reader does not support the workload."""

    def release(self) -> None:  # noqa: B027 most readers keep nothing open
        """Release resources kept for the next run; this is timed as part of the run."""

    def check(self, workload: Workload, result: Any) -> None:
        """Raise `WrongResultError` unless the result is correct."""
        workload.check(result)


class DaskReader(Reader):
    """Opens the movie as a dask array and computes the expressions of the workload.

    Parameters
    ----------
    compute : callable
        Computes an array with the scheduler under test.
    client : distributed.Client, optional
        Client of the cluster, if the scheduler is one.
    """

    def __init__(self, compute: Compute, client: Any = None) -> None:
        self._compute = compute
        self.client = client

    @abstractmethod
    def open(self, workload: Workload) -> da.Array:
        """Open the movie with the chunks of the workload."""

    def prepare(self, workload: Workload) -> Run | None:
        if workload.name == "planning":
            return lambda: self._plan(workload)
        array = self.open(workload)
        return lambda: [self._compute(expression) for expression in workload.expressions(array)]

    def check(self, workload: Workload, result: Any) -> None:
        if workload.name == "planning":
            if result.npartitions != workload.pieces:
                raise AssertionError(f"{result.npartitions} chunks, not {workload.pieces}")
            expressions = workload.expressions(result)
            result = [expression.compute(scheduler="sync") for expression in expressions]
        workload.check(result)

    def _plan(self, workload: Workload) -> da.Array:
        array = self.open(workload)
        array.__dask_graph__()
        return array


class Mrcdist(DaskReader):
    """This project."""

    name = "mrcdist"

    def open(self, workload: Workload) -> da.Array:
        with warnings.catch_warnings():  # many chunks are intended here
            warnings.simplefilter("ignore", mrcdist.MrcdistWarning)
            [dataset] = mrcdist.read_mrc(
                workload.movie.path, chunks=workload.chunks, **_scan_shape(workload.movie)
            )
        return dataset["data"]

    def release(self) -> None:
        if self.client is None:
            POOL.release_shared()
        else:
            self.client.run(_release_shared)


def _release_shared() -> None:
    """Release the shared maps of this process; a function, because the pool cannot be pickled."""
    POOL.release_shared()


def _scan_shape(movie: Movie) -> dict[str, Any]:
    """Return the scan shape as an argument; readers find that of a custom scan themselves."""
    return {} if isinstance(movie, CustomScan) else {"navigation_shape": movie.scan_shape[::-1]}


class RosettaSciIO(DaskReader):
    """RosettaSciIO's lazy array, in newer releases the same for all schedulers."""

    name = "rosettasciio"
    options: dict[str, Any] = {}  # noqa: RUF012 never modified

    def prepare(self, workload: Workload) -> Run | None:
        # The time for its table of chunks grows with the square of their number.
        return None if workload.name == "small-tasks" else super().prepare(workload)

    def open(self, workload: Workload) -> da.Array:
        from rsciio.mrc import file_reader

        is_custom = isinstance(workload.movie, CustomScan)
        [dataset] = file_reader(
            str(workload.movie.path),
            lazy=True,
            # For custom scans, it accepts only whole frames.
            chunks=(*workload.chunks[:2], -1, -1) if is_custom else workload.chunks,
            **_scan_shape(workload.movie),
            **self.options,
        )
        return dataset["data"]


class RosettaSciIODistributed(RosettaSciIO):
    """RosettaSciIO's array for distributed schedulers, in releases that have a separate one."""

    name = "rosettasciio distributed"
    options = {"distributed": True}  # noqa: RUF012 never modified


class Memmap(DaskReader):
    """`from_array` over a `numpy.memmap`; threads only, because graphs would contain the file."""

    name = "dask over memmap"

    def open(self, workload: Workload) -> da.Array:
        movie = workload.movie
        mapped = np.memmap(movie.path, "<u2", "r", len(movie.header), movie.shape)
        if not isinstance(movie, CustomScan):
            return da.from_array(_Mapped(mapped), chunks=workload.chunks, name=False)
        frames = mapped.reshape(-1, *movie.shape[2:])
        order = da.from_array(movie.order, chunks=workload.chunks[:2])
        return order.map_blocks(
            lambda numbers: np.asarray(frames[numbers]),
            token=f"{movie.path}",  # otherwise, dask would hash the whole file
            dtype=frames.dtype,
            new_axis=(2, 3),
            chunks=(*order.chunks, *((n,) for n in movie.shape[2:])),
        )


@dataclass(frozen=True)
class _Mapped:
    """A memmap without a `copy` method, with which dask would read the whole file into memory."""

    array: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return self.array[index]


class Nothing(DaskReader):
    """Zeros without any reading: the cost of dask and the reduction alone."""

    name = "zeros"

    def prepare(self, workload: Workload) -> Run | None:
        return super().prepare(workload) if workload.name == "small-tasks" else None

    def open(self, workload: Workload) -> da.Array:
        return da.from_array(
            _Zeros(workload.movie.shape),
            chunks=workload.chunks,
            name=False,
            asarray=False,
            inline_array=True,
            meta=np.empty((0, 0, 0, 0), np.uint16),
        )

    def check(self, workload: Workload, result: Any) -> None:
        zeros = replace(
            workload, expected=lambda movie: [np.zeros_like(a) for a in workload.expected(movie)]
        )
        zeros.check(result)


@dataclass(frozen=True)
class _Zeros:
    """An array-like of zeros."""

    shape: tuple[int, ...]
    dtype = np.dtype(np.uint16)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[np.uint16]:
        lengths = [len(range(n)[s]) for s, n in zip(index, self.shape, strict=True)]
        return np.zeros(lengths, np.uint16)


def dask_readers(compute: Compute, *, threads: bool, client: Any = None) -> Sequence[DaskReader]:
    """Return the readers that can be measured with a scheduler, mrcdist first.

    Parameters
    ----------
    compute : callable
        Computes an array with the scheduler.
    threads : bool
        Whether the scheduler uses threads.
    client : distributed.Client, optional
        Client of a cluster.
    """
    kinds: list[type[DaskReader]] = [Mrcdist]
    if find_spec("rsciio") is not None:
        from rsciio.mrc import file_reader

        kinds.append(RosettaSciIO)
        if "distributed" in inspect.signature(file_reader).parameters:
            kinds.append(RosettaSciIODistributed)
    if threads:
        kinds.append(Memmap)
    return [kind(compute, client) for kind in (*kinds, Nothing)]
