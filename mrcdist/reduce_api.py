"""The public face of reductions: many results in one pass over the frames."""

from __future__ import annotations

import dataclasses
import math
import uuid
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dask
import numpy as np
from dask.system import CPU_COUNT
from distributed import Client, get_client

from mrcdist.api import plan_mrc
from mrcdist.compute.bright_disk import locate, sample
from mrcdist.compute.detectors import AutoDisk, parse_detector
from mrcdist.compute.patterns import (
    MaximumPattern,
    MeanPattern,
    StandardDeviation,
    SumPattern,
)
from mrcdist.compute.quantities import (
    CenterOfMass,
    FrameFunction,
    Quantity,
    RadialProfile,
    VirtualImage,
    schedule,
)
from mrcdist.compute.reductions import FrameSum
from mrcdist.compute.results import Array, Dataset, Result
from mrcdist.compute.schedule import Part, block_frames
from mrcdist.compute.submit import compute_in_threads, compute_parts
from mrcdist.compute.tasks import Work
from mrcdist.compute.tiles import Reduction
from mrcdist.errors import ArgumentError, MrcdistWarning
from mrcdist.progress import Progress
from mrcdist.read_plan import Plan

__all__ = [
    "CenterOfMass",
    "FrameFunction",
    "MaximumPattern",
    "MeanPattern",
    "RadialProfile",
    "Result",
    "StandardDeviation",
    "SumPattern",
    "VirtualImage",
    "reduce_frames",
]

# A short job has so many tasks per thread, so that threads end at about the same time; a long one
# has tasks of so many bytes, a second or two of reading.
_TASKS_A_THREAD = 4
_TASK_BYTES = 4 * 2**30

# Results of the size of a frame that are in this process at a time.
_MOST_SUMS = 8


def reduce_frames(
    data: Any,
    results: Mapping[str, Quantity],
    *,
    region: Any = None,
    client: Client | None = None,
    progress: bool = True,
    **options: Any,
) -> dict[str, Result]:
    """Compute several results in one pass over the frames of a file.

    Each byte is read once, and only the detector rows that any of the results needs. With numba
    installed, loops are compiled; the results are the same without it.

    Parameters
    ----------
    data : str, PathLike, list or Plan
        As for `read_mrc`, or what `plan_mrc` returned.
    results : mapping of str to VirtualImage, CenterOfMass, MeanPattern, …
        What to compute, by names of your choice.
    region : array_like, optional
        Which scan points or frames to use, as for `Plan.frames`: a mask over the scan, a list of
        points or of numbers. Results with a value per frame then have one navigation axis, of these
        frames in the order given.
    client : distributed.Client, optional
        Default: the current client, if there is one; else threads of this process.
    progress : bool, default True
        Show a progress bar after two seconds.
    **options
        For `plan_mrc`, where `data` is not a plan: chunks, storage_options, navigation_shape, …

    Returns
    -------
    dict of str to Result
        In the order of `results`. `numpy.asarray` gives a result's array; its ``axes`` are
        calibrated.

    Raises
    ------
    ArgumentError
        Nothing is asked for; the data have no frames to reduce; a detector has no pixel in a frame.
    MrcdistError
        Reading failed. An error of a function of yours is raised as it is, with the frames in its
        notes.

    Warns
    -----
    MrcdistWarning
        Frames are missing, or positions have no intensity.

    Examples
    --------
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> movie = write_acquisition("demo", scan_shape=(4, 8), frame_shape=(8, 16)).movie
    >>> found = reduce_frames(
    ...     movie, {"bf": VirtualImage("circle:4,8,3"), "mean": MeanPattern()}, progress=False
    ... )
    >>> found["bf"].values.shape, found["mean"].values.shape
    ((4, 8), (8, 16))
    """
    if not results:
        raise ArgumentError(
            "results={}",
            code="results-empty",
            argument="results",
            cause="there is nothing to compute",
            remedy='name what you want, such as {"mean": MeanPattern()}',
        )
    plan = data if isinstance(data, Plan) else plan_mrc(data, **options)
    if region is not None:
        plan = plan.select(region)
    dataset = Dataset(plan.layout, plan.axes, plan.chunks, plan.source.table)
    run = _Run(plan, client or _current_client(), progress)
    wanted = _located(results, dataset, run)
    # Equal reductions, such as the sum for mean and standard deviation, are computed once.
    reductions: list[Reduction] = []
    places: dict[str, list[int]] = {}
    for name, quantity in wanted.items():
        for reduction in quantity.reductions(dataset):
            if reduction not in reductions:
                reductions.append(reduction)
            places.setdefault(name, []).append(reductions.index(reduction))
    parts = schedule(dataset, reductions, most_tasks=run.most_tasks, most_sums=_MOST_SUMS)
    values = run.compute(reductions, parts, "reducing frames")
    found = {}
    for name, quantity in wanted.items():
        loads = tuple(_loader(values, at) for at in places[name])
        found[name] = quantity.finish(dataset, parts, loads)
        for note in found[name].notes:
            warnings.warn(f"{plan.location.shown}: {name}: {note}", MrcdistWarning, stacklevel=2)
    return found


@dataclasses.dataclass(frozen=True)
class _Run:
    """Where tasks run."""

    plan: Plan
    client: Client | None
    progress: bool

    @property
    def most_tasks(self) -> int:
        """How many tasks suffice."""
        threads = self._threads()
        return max(_TASKS_A_THREAD * threads, math.ceil(self.plan.layout.nbytes / _TASK_BYTES))

    def _threads(self) -> int:
        if self.client is None:
            return int(dask.config.get("num_workers", None) or CPU_COUNT)
        return sum(self.client.nthreads().values()) or 1

    def compute(
        self, reductions: list[Reduction], parts: tuple[Part, ...], title: str
    ) -> dict[int, tuple[Array, ...]]:
        """Compute all parts; the values of each by its number."""
        work = Work(self.plan.source, tuple(reductions), f"reduce-{uuid.uuid4().hex[:8]}")
        frame = self.plan.dtype.itemsize * len(work.window[0]) * len(work.window[1])
        sizes = [sum(block_frames(b) for task in part for b in task) * frame for part in parts]
        patience = 2.0 if self.progress else math.inf
        values: dict[int, tuple[Array, ...]] = {}
        with Progress(title, sum(sizes), in_bytes=True, patience=patience) as told:

            def done(number: int, found: tuple[Array, ...]) -> None:
                values[number] = found
                told.advance(sizes[number])

            numbered = dict(enumerate(parts))
            if self.client is None:
                compute_in_threads(work, numbered, done, threads=self._threads())
            else:
                compute_parts(self.client, work, numbered, done)
        return values


def _current_client() -> Client | None:
    try:
        return get_client()
    except ValueError:
        return None


def _loader(values: Mapping[int, tuple[Array, ...]], at: int) -> Callable[[int], Array]:
    return lambda number: values[number][at]


def _located(results: Mapping[str, Quantity], data: Dataset, run: _Run) -> dict[str, Quantity]:
    """Find the bright disk once, if any detector is "bf" or "adf"."""
    located = dict(results)
    pattern = None
    for name, quantity in results.items():
        detector = getattr(quantity, "detector", None)
        if isinstance(detector, str):
            detector = parse_detector(detector)
        if not isinstance(detector, AutoDisk):
            continue
        if pattern is None:
            reduction = FrameSum(data.layout.frame_shape)
            tasks = tuple(sample(data.layout.navigation_shape))
            pattern = np.asarray(run.compute([reduction], (tasks,), "looking for the disk")[0][0])
        changed: Any = quantity
        located[name] = dataclasses.replace(changed, detector=locate(detector, pattern))
    return located
