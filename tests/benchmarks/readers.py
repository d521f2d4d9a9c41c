"""Who is measured with dask: mrcdist and other ways to a dask array of the same file."""

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
    """One who takes turns: prepares a workload off the clock, does it on the clock."""

    name: str

    @abstractmethod
    def prepare(self, workload: Workload) -> Run | None:
        """Return what is to be timed; None where the reader has no such thing."""

    def let_go(self) -> None:  # noqa: B027 most keep nothing
        """Let go of what stays open for a next run: on the clock, as all that a run takes."""

    def check(self, workload: Workload, result: Any) -> None:
        """Raise `WrongResultError` unless the result is what was written."""
        workload.check(result)


class DaskReader(Reader):
    """Opens the movie as a dask array and computes the workload's expressions.

    Parameters
    ----------
    compute : callable
        Computes an array with the scheduler that is measured.
    client : distributed.Client, optional
        Of the cluster that computes, if it is one.
    """

    def __init__(self, compute: Compute, client: Any = None) -> None:
        self._compute = compute
        self.client = client

    @abstractmethod
    def open(self, workload: Workload) -> da.Array:
        """Open the movie in the workload's chunks."""

    def prepare(self, workload: Workload) -> Run | None:
        if workload.name == "planning":
            return lambda: self._planned(workload)
        array = self.open(workload)
        return lambda: [self._compute(each) for each in workload.expressions(array)]

    def check(self, workload: Workload, result: Any) -> None:
        if workload.name == "planning":
            if result.npartitions != workload.pieces:
                raise AssertionError(f"{result.npartitions} chunks, not {workload.pieces}")
            result = [each.compute(scheduler="sync") for each in workload.expressions(result)]
        workload.check(result)

    def _planned(self, workload: Workload) -> da.Array:
        array = self.open(workload)
        array.__dask_graph__()
        return array


class Mrcdist(DaskReader):
    """This project."""

    name = "mrcdist"

    def open(self, workload: Workload) -> da.Array:
        with warnings.catch_warnings():  # that there are many chunks is the point
            warnings.simplefilter("ignore", mrcdist.MrcdistWarning)
            [found] = mrcdist.read_mrc(
                workload.movie.path, chunks=workload.chunks, **_scan_shape(workload.movie)
            )
        return found["data"]

    def let_go(self) -> None:
        if self.client is None:
            POOL.release_shared()
        else:
            self.client.run(_let_go)


def _let_go() -> None:
    """Drop the shared maps of this process, whose pool is not to be pickled."""
    POOL.release_shared()


def _scan_shape(movie: Movie) -> dict[str, Any]:
    """What a reader is to be told: the points of a custom scan are beside the movie."""
    return {} if isinstance(movie, CustomScan) else {"navigation_shape": movie.scan_shape[::-1]}


class RosettaSciIO(DaskReader):
    """RosettaSciIO's lazy array; newer versions have one for all schedulers."""

    name = "rosettasciio"
    options: dict[str, Any] = {}  # noqa: RUF012 never changed

    def prepare(self, workload: Workload) -> Run | None:
        # It makes a table of all chunks in a time that grows with their square.
        return None if workload.name == "small-tasks" else super().prepare(workload)

    def open(self, workload: Workload) -> da.Array:
        from rsciio.mrc import file_reader

        is_custom = isinstance(workload.movie, CustomScan)
        [found] = file_reader(
            str(workload.movie.path),
            lazy=True,
            # Of a custom scan it takes whole frames, and wants them written so.
            chunks=(*workload.chunks[:2], -1, -1) if is_custom else workload.chunks,
            **_scan_shape(workload.movie),
            **self.options,
        )
        return found["data"]


class RosettaSciIODistributed(RosettaSciIO):
    """Its array for distributed schedulers, in versions where it is another one."""

    name = "rosettasciio distributed"
    options = {"distributed": True}  # noqa: RUF012 never changed


class Memmap(DaskReader):
    """`from_array` over one `numpy.memmap`, for threads: a cluster gets the file in its graph."""

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
            token=f"{movie.path}",  # else dask hashes all that the function holds: the file
            dtype=frames.dtype,
            new_axis=(2, 3),
            chunks=(*order.chunks, *((n,) for n in movie.shape[2:])),
        )


@dataclass(frozen=True)
class _Mapped:
    """A map without a method `copy`, which dask would call: it would read the file to memory."""

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
    """Zeros out of nowhere: what dask and the reduction take by themselves."""

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
    """An array-like that costs nothing to index."""

    shape: tuple[int, ...]
    dtype = np.dtype(np.uint16)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[np.uint16]:
        lengths = [len(range(n)[s]) for s, n in zip(index, self.shape, strict=True)]
        return np.zeros(lengths, np.uint16)


def dask_readers(compute: Compute, *, threads: bool, client: Any = None) -> Sequence[DaskReader]:
    """Return who can be measured here with a scheduler, mrcdist first.

    Parameters
    ----------
    compute : callable
        Computes an array with that scheduler.
    threads : bool
        Whether it is one of threads.
    client : distributed.Client, optional
        Of a cluster.
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
