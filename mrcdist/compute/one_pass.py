"""One pass over the frames for several results, for `reduce_frames` and for batch jobs."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from dask.tokenize import tokenize

from mrcdist.compute.bright_disk import find_disk, sample_tasks
from mrcdist.compute.detectors import AutoDisk, Ring
from mrcdist.compute.partial import PartialStore
from mrcdist.compute.quantities import OnDetector, Quantity
from mrcdist.compute.reductions import FrameSum, Reduction
from mrcdist.compute.results import Array, Dataset, Result
from mrcdist.compute.schedule import (
    MAX_SUM_PARTS,
    Part,
    block_frames,
    iter_blocks,
    most_tasks,
    part_frames,
    schedule_pass,
)
from mrcdist.compute.tasks import Ledger, Work
from mrcdist.errors import ArgumentError
from mrcdist.progress import Progress
from mrcdist.warning_notes import Note

Compute = Callable[[Work, Mapping[int, Part], Callable[[int, Sequence[Array]], None]], Ledger]
"""Computes parts; calls a function with the number and the values (one array per reduction) of
each part, and returns what the processes have read."""

# Bytes per pixel of a sum.
_SUM_ITEMSIZE = 8


class InMemory:
    """Values of finished parts, kept in memory."""

    disk: Mapping[str, float] | None = None

    def __init__(self) -> None:
        self._values: dict[int, Sequence[Array]] = {}

    def save(self, number: int, values: Sequence[Array]) -> None:
        """Keep the values of a part."""
        self._values[number] = values

    def load(self, number: int, index: int) -> Array:
        """Return one of the values of a part."""
        return self._values[number][index]


Values = InMemory | PartialStore
"""Values of finished parts, and the bright disk once it is found."""


@dataclass(frozen=True)
class Finished:
    """A completed pass: results, and the quantities with the detectors found in the data.

    The ledger states what each process has read; `pixel_bytes` and `seconds` refer to this run.
    """

    results: dict[str, Result] = field(repr=False)
    quantities: dict[str, Quantity]
    ledger: Ledger = field(repr=False)
    pixel_bytes: int
    seconds: float

    @property
    def notes(self) -> list[Note]:
        """Notes of all results, with the name of the result if there are several."""
        results, several = self.results.items(), len(self.results) > 1
        return [
            note.about(name) if several else note
            for name, result in results
            for note in result.notes
        ]


class OnePass:
    """Several results, computed in one pass that reads each byte of the data once.

    `threads` is the number of threads that will compute, 0 if it is unknown or the pass may be
    resumed on another cluster. There are at most `max_sum_parts` parts if results are as large as a
    frame. `quantities` are the requested results with parsed and checked detectors, `maps` the
    names of those with values per frame.
    """

    def __init__(
        self,
        data: Dataset,
        results: Mapping[str, Quantity],
        *,
        threads: int = 0,
        max_sum_parts: int = MAX_SUM_PARTS,
        device: str = "cpu",
    ) -> None:
        if not results:
            raise ArgumentError(
                "no results are requested",
                code="results-empty",
                argument="results",
                cause="there is nothing to compute",
                remedy='pass the results you want, such as `results={"mean": MeanPattern()}`',
            )
        self.data = data
        self._device = device
        shape = data.layout.frame_shape
        location = data.source.parts[0].file.location
        self.quantities: dict[str, Quantity] = {
            name: each.resolved(shape, location) if isinstance(each, OnDetector) else each
            for name, each in results.items()
        }
        reductions = {name: each.reductions(data) for name, each in self.quantities.items()}
        n_sums = sum(not each.per_frame for each in _distinct(reductions.values()))
        n_pixels = math.prod(shape)
        self.parts = schedule_pass(
            data.chunks[: data.n_navigation],
            frame_bytes=n_pixels * data.layout.dtype.itemsize,
            sum_bytes=n_pixels * _SUM_ITEMSIZE * n_sums,
            max_tasks=most_tasks(data.layout.nbytes, threads),
            max_sum_parts=max_sum_parts,
        )
        self.maps = {
            name for name, some in reductions.items() if all(each.per_frame for each in some)
        }

    def _detectors(self) -> list[Any]:
        return [each.detector for each in self.quantities.values() if isinstance(each, OnDetector)]

    def _located(self, disk: Mapping[str, float] | None) -> dict[str, Quantity]:
        """Return the quantities with detectors placed at the bright disk, if one is needed."""
        if disk is None:
            return self.quantities
        ring, shape = Ring(**disk), self.data.layout.frame_shape
        return {
            name: each.located(ring, shape) if isinstance(each, OnDetector) else each
            for name, each in self.quantities.items()
        }

    def description(self) -> dict[str, str]:
        """Return everything that the values of the parts depend on, without secrets."""
        source = self.data.source
        files = [
            (part.file.version, part.offset, part.frames, part.compression) for part in source.parts
        ]
        others = [each for each in self.quantities.values() if not isinstance(each, OnDetector)]
        return {
            "software": f"mrcdist {version('mrcdist')}",
            "results": ", ".join(
                f"{name} {type(each).__name__}" for name, each in self.quantities.items()
            ),
            "detector": "; ".join(
                str(each) if isinstance(each, AutoDisk) else repr(each)
                for each in self._detectors()
            ),
            "file": ", ".join(part.file.location.shown for part in source.parts),
            "version": ", ".join(str(part.file.version) for part in source.parts),
            "array": f"{source.shape} {source.dtype}",
            "chunks": "up to " + " × ".join(str(max(axis)) for axis in self.data.chunks),
            "functions": tokenize(others) if others else "none",
            "plan": tokenize(files, source.layout, source.table, self.data.chunks),
        }

    def store(self, folder: Path, **options: Any) -> PartialStore:
        """Return the store of finished parts in a folder; `options` are those of `PartialStore`."""
        options["resumable"] = not self.resume_obstacle()
        return PartialStore(folder, self.description(), len(self.parts), **options)

    def resume_obstacle(self) -> str:
        """Explain why a later run could not detect that a file has changed; empty if it could."""
        for part in self.data.source.parts:
            if not part.file.version.exact:
                return (
                    f"replacing {part.file.location.shown} by another file could go unnoticed: "
                    f"its version is {part.file.version}"
                )
        return ""

    def run(
        self,
        connect: Callable[[], AbstractContextManager[Compute]],
        values: Values,
        finished: Iterable[int] = (),
        on_save: Callable[[Callable[[], dict[str, Result]]], None] | None = None,
        **progress: Any,
    ) -> Finished:
        """Compute all parts but the `finished` ones, add their values, and return the results.

        `connect` returns a context manager that yields a function such as `compute_in_threads`; it
        is called only if parts are missing. After each part, `on_save` is called with a function
        that returns the results so far: NaN at positions that have not been computed. `progress`
        are options of `Progress`.
        """
        done = set(finished)
        needs_disk = values.disk is None and any(
            isinstance(each, AutoDisk) for each in self._detectors()
        )
        ledger: Ledger = {}
        pixel_bytes, seconds = 0, 0.0
        if needs_disk or len(done) < len(self.parts):
            with connect() as compute:
                if needs_disk:
                    values.disk = dataclasses.asdict(self._find_disk(compute))
                start = time.monotonic()
                ledger, pixel_bytes = self._compute(compute, values, done, on_save, progress)
                seconds = time.monotonic() - start
        quantities = self._located(values.disk)
        results = self._finish(quantities, self.data, values.load)
        return Finished(results, quantities, ledger, pixel_bytes, seconds)

    def _find_disk(self, compute: Compute) -> Ring:
        """Locate the bright disk in the mean of a few frames, read by the workers."""
        self.data.require_frames()
        layout = self.data.layout
        tasks = sample_tasks(layout.navigation_shape, self.data.present)
        sums: list[Sequence[Array]] = []
        work = Work(self.data.source, (FrameSum(layout.frame_shape),), self._device)
        compute(work, {0: tuple(tasks)}, lambda _, values: sums.append(values))
        return find_disk(np.asarray(sums[0][0]))

    def _compute(
        self,
        compute: Compute,
        values: Values,
        done: set[int],
        on_save: Callable[[Callable[[], dict[str, Result]]], None] | None,
        progress: Mapping[str, Any],
    ) -> tuple[Ledger, int]:
        """Compute and save the parts that are not `done`; also return the bytes of their pixels."""
        quantities = self._located(values.disk)
        reductions = _distinct(each.reductions(self.data) for each in quantities.values())
        work = Work(self.data.source, tuple(reductions), self._device)
        frame_bytes = self.data.layout.dtype.itemsize * math.prod(map(len, work.window))
        sizes = [part_frames(part) * frame_bytes for part in self.parts]
        missing = {number: part for number, part in enumerate(self.parts) if number not in done}
        pixel_bytes = sum(sizes[number] for number in missing)
        total = sum(sizes)
        title = next(iter(quantities.values())).title if len(quantities) == 1 else "results"
        options = {"label": title, **progress}
        with Progress(total=total, initial=total - pixel_bytes, in_bytes=True, **options) as bar:

            def save(number: int, part_values: Sequence[Array]) -> None:
                values.save(number, part_values)
                done.add(number)
                if on_save is not None:
                    on_save(lambda: self._results_so_far(quantities, values, done))
                bar.advance(sizes[number])

            return compute(work, missing, save), pixel_bytes

    def _finish(
        self,
        quantities: Mapping[str, Quantity],
        data: Dataset,
        load: Callable[[int, int], Array],
    ) -> dict[str, Result]:
        """Return the results; `load` returns the value of a part by its number and reduction."""
        by_name = {name: each.reductions(data) for name, each in quantities.items()}
        distinct = _distinct(by_name.values())

        def joined(reduction: Reduction) -> Array:
            index = distinct.index(reduction)
            values = (load(number, index) for number in range(len(self.parts)))
            if reduction.per_frame:
                return self._placed(values)
            return functools.reduce(lambda first, other: reduction.join([first, other]), values)

        return {
            name: each.finish(data, *map(joined, by_name[name]))
            for name, each in quantities.items()
        }

    def _placed(self, values: Iterable[Array]) -> Array:
        """Arrange the values of all parts, which have a row per frame, by position."""
        placed = np.empty(0)
        for number, (part, rows) in enumerate(zip(self.parts, values, strict=True)):
            if number == 0:
                placed = np.empty((*self.data.layout.navigation_shape, *rows.shape[1:]), rows.dtype)
            blocks = list(iter_blocks(part))
            cuts = np.cumsum([block_frames(block) for block in blocks])[:-1]
            for block, some in zip(blocks, np.split(rows, cuts), strict=True):
                into = placed[tuple(slice(*span) for span in block)]
                into[...] = some.reshape(into.shape)
        return placed

    def _results_so_far(
        self, quantities: Mapping[str, Quantity], values: Values, done: Container[int]
    ) -> dict[str, Result]:
        """Return the results as if the frames of parts that are not `done` were missing."""
        shape, source = self.data.layout.navigation_shape, self.data.source
        empty = np.zeros(shape, bool)
        for number, part in enumerate(self.parts):
            for block in iter_blocks(part) if number not in done else ():
                empty[tuple(slice(*span) for span in block)] = True
        frames = np.arange(empty.size).reshape(shape) if source.table is None else source.table
        source = dataclasses.replace(source, table=np.where(empty, -1, frames))
        data = dataclasses.replace(self.data, source=source)
        reductions = _distinct(each.reductions(data) for each in quantities.values())

        def load(number: int, index: int) -> Array:
            if number in done:
                return values.load(number, index)
            return reductions[index].begin(part_frames(self.parts[number]), data.layout.dtype)

        results = self._finish(quantities, data, load)
        for name in self.maps:
            image = results[name].values.astype(np.float64)
            positions = np.moveaxis(image, 0, -1) if results[name].names else image
            positions[empty] = np.nan
            results[name] = dataclasses.replace(results[name], values=image)
        return results


def _distinct(reductions: Iterable[Sequence[Reduction]]) -> list[Reduction]:
    """Drop equal reductions, such as the sum for mean and standard deviation."""
    return list(dict.fromkeys(itertools.chain.from_iterable(reductions)))
