"""One pass over the frames for several results, whoever runs it: here, on a cluster, as a job."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
import time
import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from dask.tokenize import tokenize

from mrcdist.compute.bright_disk import find_disk, sample
from mrcdist.compute.detectors import AutoDisk, Mask, Ring, WholeFrame
from mrcdist.compute.partial import PartialStore
from mrcdist.compute.quantities import OnDetector, Quantity
from mrcdist.compute.reductions import FrameSum, Reduction
from mrcdist.compute.results import Array, Dataset, Result
from mrcdist.compute.schedule import (
    MAX_SUM_PARTS,
    Block,
    Part,
    block_frames,
    most_tasks,
    schedule_pass,
)
from mrcdist.compute.tasks import Ledger, Work
from mrcdist.errors import ArgumentError
from mrcdist.progress import Progress

Compute = Callable[[Work, Mapping[int, Part], Callable[[int, Sequence[Array]], None]], Ledger]
"""Computes parts, and hands over each part's number and values: an array per reduction."""


# Of a pixel of a sum.
_SUM_ITEMSIZE = 8


class InMemory:
    """Values of parts, for as long as this object lives."""

    disk: Mapping[str, float] | None = None

    def __init__(self) -> None:
        self._values: dict[int, Sequence[Array]] = {}

    def save(self, number: int, values: Sequence[Array]) -> None:
        """Keep the values of a part."""
        self._values[number] = values

    def load(self, number: int, which: int) -> Array:
        """Return one of the values of a part."""
        return self._values[number][which]


Values = InMemory | PartialStore
"""Keep the values of finished parts, and the bright disk, once it is found."""


@dataclass(frozen=True)
class Finished:
    """The end of a pass: its results, and what they are of, with the detectors that were found.

    The ledger is what each process has read; `pixel_bytes` and `seconds` are of computing.
    """

    results: dict[str, Result] = field(repr=False)
    wanted: dict[str, Quantity]
    ledger: Ledger = field(repr=False)
    pixel_bytes: int
    seconds: float


class OnePass:
    """Several results that are computed from one reading of each byte of the data.

    How many `threads` will compute may be unknown, or not to be known, as another run may resume.
    There are at most `max_sum_parts` parts where results are as large as a frame. The quantities
    `wanted` are those asked for, with detectors that are read and checked; `maps` are the names of
    those with a value, or a few, per frame.
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
                remedy='pass the results you want, such as results={"mean": MeanPattern()}',
            )
        self.data = data
        self._device = device
        shape = data.layout.frame_shape
        self.wanted: dict[str, Quantity] = {
            name: each.understood(shape) if isinstance(each, OnDetector) else each
            for name, each in results.items()
        }
        # Which tasks and parts there are does not depend on where the disk is.
        made = {name: each.reductions(data) for name, each in self._located(None).items()}
        pixels = math.prod(shape)
        n_sums = sum(not each.per_frame for each in _distinct(made.values()))
        self.parts = schedule_pass(
            data.chunks[: data.n_navigation],
            frame_bytes=pixels * data.layout.dtype.itemsize,
            sum_bytes=pixels * _SUM_ITEMSIZE * n_sums,
            max_tasks=most_tasks(data.layout.nbytes, threads),
            max_sum_parts=max_sum_parts,
        )
        self.maps = {name for name, some in made.items() if all(one.per_frame for one in some)}

    def _located(self, disk: Ring | None) -> dict[str, Quantity]:
        shape = self.data.layout.frame_shape
        return {
            name: each.located(disk, shape) if isinstance(each, OnDetector) else each
            for name, each in self.wanted.items()
        }

    def _detectors(self) -> list[Any]:
        return [each.detector for each in self.wanted.values() if isinstance(each, OnDetector)]

    def description(self) -> dict[str, str]:
        """All that the values of the parts depend on; no secret."""
        source, wanted = self.data.source, self.wanted
        files = [
            (part.file.version, part.offset, part.frames, part.compression) for part in source.parts
        ]
        others = [each for each in wanted.values() if not isinstance(each, OnDetector)]
        return {
            "software": f"mrcdist {version('mrcdist')}",
            "results": ", ".join(f"{name} {type(one).__name__}" for name, one in wanted.items()),
            "detector": "; ".join(map(self._described, self._detectors())),
            "file": ", ".join(part.file.location.shown for part in source.parts),
            "version": ", ".join(str(part.file.version) for part in source.parts),
            "array": f"{source.shape} {source.dtype}",
            "chunks": "up to " + " × ".join(str(max(axis)) for axis in self.data.chunks),
            "functions": tokenize(others) if others else "none",
            "plan": tokenize(files, source.layout, source.table, self.data.chunks),
        }

    def _described(self, detector: Any) -> str:
        """Describe a detector, the same in every process, and others differently."""
        if isinstance(detector, AutoDisk):
            return str(detector)
        if type(detector) in (WholeFrame, Ring, Mask):
            return repr(detector)
        # The text of a user's own may leave out what it holds, or name where that is in memory.
        rows, columns = detector.window(self.data.layout.frame_shape)
        weights = np.ascontiguousarray(detector.weights(rows, columns))
        exact = bool(detector.has_integer_weights), bool(detector.is_nonnegative)
        about = f"{rows} {columns} {exact} {weights.dtype.str} {weights.shape}"
        digest = hashlib.sha256(about.encode() + weights.tobytes())
        return f"{type(detector).__name__} {digest.hexdigest()}"

    def store(self, folder: Path, **about: Any) -> PartialStore:
        """Return a folder for finished parts; more `about` it is as for `PartialStore`."""
        about["resumable"] = not self.resume_obstacle()
        return PartialStore(folder, self.description(), len(self.parts), **about)

    def resume_obstacle(self) -> str:
        """Explain why another run cannot know that it reads the same files; empty if it can."""
        for part in self.data.source.parts:
            if not part.file.version.exact:
                return (
                    f"another file in the place of {part.file.location.shown} might have the same "
                    f"version: {part.file.version}"
                )
        return ""

    def run(
        self,
        connect: Callable[[], AbstractContextManager[Compute]],
        values: Values,
        kept: Iterable[int] = (),
        look: Callable[[Callable[[], dict[str, Result]]], None] | None = None,
        **progress: Any,
    ) -> Finished:
        """Compute the parts that are not `kept` among the values yet, and make the results of all.

        If there is something left, `connect` gives what computes, for as long as it is needed.
        Whenever a part is kept, `look` is called with a function that returns the results so far:
        NaN at positions that were not computed yet. The rest is for `Progress`.
        """
        there = set(kept)
        left = {number: part for number, part in enumerate(self.parts) if number not in there}
        lost = values.disk is None and any(isinstance(x, AutoDisk) for x in self._detectors())
        ledger: Ledger = {}
        pixels, begun = 0, time.monotonic()
        with connect() if left or lost else nullcontext() as compute:
            if compute is not None and lost:
                values.disk = dataclasses.asdict(self._find_disk(compute))
            wanted = self._located(None if values.disk is None else Ring(**values.disk))

            def keep(number: int, found: Sequence[Array]) -> None:
                values.save(number, found)
                there.add(number)
                if look is not None:
                    look(lambda: self._so_far(wanted, values, there))

            begun = time.monotonic()
            if compute is not None:
                title = next(iter(wanted.values())).title if len(wanted) == 1 else "results"
                work = self._work(_distinct(each.reductions(self.data) for each in wanted.values()))
                ledger, pixels = self._compute(
                    compute, work, left, keep, {"label": title, **progress}
                )
            seconds = time.monotonic() - begun
        results = self._finish(wanted, self.data, values.load)
        return Finished(results, wanted, ledger, pixels, seconds)

    def _find_disk(self, compute: Compute) -> Ring:
        """Look for the bright disk in the mean of a few frames, read by the workers."""
        layout = self.data.layout
        frames = sample(layout.navigation_shape, self.data.positions_present())
        found: list[Sequence[Array]] = []
        compute(
            self._work([FrameSum(layout.frame_shape)]),
            {0: tuple(frames)},
            lambda _, values: found.append(values),
        )
        return find_disk(np.asarray(found[0][0]))

    def _work(self, reductions: Sequence[Reduction]) -> Work:
        job = f"reduce-{uuid.uuid4().hex[:8]}"
        return Work(self.data.source, tuple(reductions), job, self._device)

    def _compute(
        self,
        compute: Compute,
        work: Work,
        left: Mapping[int, Part],
        keep: Callable[[int, Sequence[Array]], None],
        progress: Mapping[str, Any],
    ) -> tuple[Ledger, int]:
        """Compute the parts that are left, and keep each; and the bytes of their pixels."""
        frame = self.data.layout.dtype.itemsize * len(work.window[0]) * len(work.window[1])
        sizes = [sum(map(block_frames, _blocks([part]))) * frame for part in self.parts]
        to_do, total = sum(sizes[number] for number in left), sum(sizes)
        told = Progress(total=total, initial=total - to_do, in_bytes=True, **progress)

        def done(number: int, found: Sequence[Array]) -> None:
            keep(number, found)
            told.advance(sizes[number])

        with told:
            return compute(work, left, done), to_do

    def _finish(
        self, wanted: Mapping[str, Quantity], data: Dataset, load: Callable[[int, int], Array]
    ) -> dict[str, Result]:
        """Make the results of the values of parts, which are loaded by part and reduction."""
        made = {name: each.reductions(data) for name, each in wanted.items()}
        reductions = _distinct(made.values())

        def of_all(one: Reduction) -> Array:
            at = reductions.index(one)
            values = (load(number, at) for number in range(len(self.parts)))
            if one.per_frame:
                return self._placed(values)
            return functools.reduce(lambda first, other: one.join([first, other]), values)

        return {name: each.finish(data, *map(of_all, made[name])) for name, each in wanted.items()}

    def _placed(self, values: Iterable[Array]) -> Array:
        """Put the values of all parts, a row per frame, in the places of the frames."""
        placed = np.empty(0)
        for number, (part, rows) in enumerate(zip(self.parts, values, strict=True)):
            if not number:
                placed = np.empty((*self.data.layout.navigation_shape, *rows.shape[1:]), rows.dtype)
            first = 0
            for block in _blocks([part]):
                into = placed[tuple(slice(*span) for span in block)]
                stop = first + block_frames(block)
                into[...] = rows[first:stop].reshape(into.shape)
                first = stop
            if first != len(rows):
                raise AssertionError(f"part {number} has {len(rows)} values for {first} frames")
        return placed

    def _so_far(
        self, wanted: Mapping[str, Quantity], values: Values, there: Container[int]
    ) -> dict[str, Result]:
        """Make the results as if frames of parts that are not there were missing."""
        shape, dtype = self.data.layout.navigation_shape, self.data.layout.dtype
        empty = np.zeros(shape, bool)
        for block in _blocks(part for n, part in enumerate(self.parts) if n not in there):
            empty[tuple(slice(*span) for span in block)] = True
        source = self.data.source
        frames = np.arange(empty.size).reshape(shape) if source.table is None else source.table
        source = dataclasses.replace(source, table=np.where(empty, -1, frames))
        data = dataclasses.replace(self.data, source=source)
        reductions = _distinct(each.reductions(data) for each in wanted.values())

        def load(number: int, which: int) -> Array:
            if number in there:
                return values.load(number, which)
            n_frames = sum(map(block_frames, _blocks([self.parts[number]])))
            return reductions[which].begin(n_frames, dtype)

        results = self._finish(wanted, data, load)
        for name in self.maps:
            image = results[name].values.astype(np.float64)
            positions = image if not results[name].names else np.moveaxis(image, 0, -1)
            positions[empty] = np.nan
            results[name] = dataclasses.replace(results[name], values=image)
        return results


def _distinct(made: Iterable[Sequence[Reduction]]) -> list[Reduction]:
    """Equal reductions, such as the sum for mean and standard deviation, are computed once."""
    return list(dict.fromkeys(itertools.chain.from_iterable(made)))


def _blocks(parts: Iterable[Part]) -> Iterator[Block]:
    return (block for part in parts for task in part for block in task)
