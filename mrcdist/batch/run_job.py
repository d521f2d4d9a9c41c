"""The steps of a batch job, in order, and the summary at its end."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from dask.utils import format_bytes
from distributed.scheduler import KilledWorker

from mrcdist.batch.clusters import Cluster, ClusterOptions, connect, require_mrcdist
from mrcdist.batch.lock import OutputLock
from mrcdist.batch.output import (
    check_outputs,
    picture_so_far,
    put_back,
    require_absent,
    write_result,
)
from mrcdist.compute.detectors import ArrayFile
from mrcdist.compute.one_pass import Compute, Finished, OnePass
from mrcdist.compute.partial import PartialStore, partial_folder
from mrcdist.compute.quantities import CenterOfMass, Quantity
from mrcdist.compute.results import Result, limited
from mrcdist.compute.submit import compute_parts
from mrcdist.compute.tasks import total
from mrcdist.errors import MrcdistError
from mrcdist.formatting import format_shape
from mrcdist.read_plan import Plan
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from mrcdist.warning_notes import Notes

__all__ = ["JobOptions", "ResultSummary", "Summary", "computing", "run"]

# Seconds between lines of progress in the log of a job.
_LOG_INTERVAL = 30.0


@dataclass(frozen=True)
class JobOptions:
    """What to compute, by name, and to which files, at least one for each result.

    Finished parts are kept beside the first file of all; with `resume` those of an earlier run are
    used. Only `overwrite` replaces outputs that are there. `again` is how the user
    goes on with what an earlier run finished. A region or a range of frames is as for
    `Plan.frames`; a region may also be an `ArrayFile`.
    """

    results: Mapping[str, Quantity]
    outputs: Mapping[str, tuple[Path, ...]]
    resume: bool = False
    overwrite: bool = False
    again: str = "go on with resume=True"
    region: Any = None
    frames: Any = None


@dataclass(frozen=True)
class ResultSummary:
    """A result, and the files that were written."""

    name: str
    title: str
    detector: str
    outputs: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    units: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [
                f"  result    {format_shape(self.shape)} {self.dtype}, in {', '.join(self.units)}",
                *([f"  detector  {self.detector}"] if self.detector else []),
                *(f"  written   {output}" for output in self.outputs),
            ]
        )


@dataclass(frozen=True)
class Summary:
    """The end of a job; `str()` of it is for reading.

    Parts are of the whole job; all other numbers are of this run. `pixel_bytes` are of the pixels
    that count, as the progress counts them: of a detector, the rows and columns that it spans. For
    `blocks` to `retries`, which the workers count, see `mrcdist.stats.ReadStats`. `seconds` are of
    computing, `workers` are processes that read.
    """

    url: str
    results: tuple[ResultSummary, ...]
    parts: int
    parts_kept: int
    tasks: int
    pixel_bytes: int
    seconds: float
    workers: int
    notes: tuple[str, ...]
    blocks: int
    bytes_fetched: int
    bytes_mapped: int
    requests: int
    retries: int

    @property
    def bytes_per_second(self) -> float:
        """Pixels a second, as the progress counts them; 0 where nothing was computed.

        Mapped bytes would say nothing: most of them may never have been touched.
        """
        return self.pixel_bytes / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the same as JSON-serialisable values; a single result's at the top as well."""
        return {
            **dataclasses.asdict(self),
            **(dataclasses.asdict(self.results[0]) if len(self.results) == 1 else {}),
            "bytes": self.bytes_fetched + self.bytes_mapped,
            "bytes_per_second": self.bytes_per_second,
        }

    def __str__(self) -> str:
        lines = [f"{one.title} of {self.url}\n{one}" for one in self.results]
        if len(self.results) > 1:
            lines.append(f"{len(self.results)} results in one pass")
        lines.append(
            f"  pixels    {format_bytes(self.pixel_bytes)} in {self.seconds:.1f} s, "
            f"{format_bytes(int(self.bytes_per_second))}/s"
        )
        if self.bytes_mapped:
            lines.append(
                f"  read      {format_bytes(self.bytes_mapped)} of local files mapped, of which "
                "the pages with these pixels are read"
            )
        if self.bytes_fetched or not self.bytes_mapped:
            lines.append(
                f"  read      {format_bytes(self.bytes_fetched)} fetched; {self.requests:,} "
                f"requests, {self.retries:,} retries"
            )
        kept = f", {self.parts_kept} of an earlier run" if self.parts_kept else ""
        lines.append(
            f"  tasks     {self.tasks:,} on {self.workers} workers, {self.blocks:,} blocks; "
            f"{self.parts} parts{kept}"
        )
        return "\n".join(lines)


def run(
    plan: Plan, options: JobOptions, cluster_options: ClusterOptions, stream: TextIO
) -> Summary:
    """Compute what is ordered, and write it; `stream` is told the progress.

    Raises
    ------
    MrcdistError
        Before anything is computed: the options do not fit the data or the outputs. Later: a task
        failed, and the finished parts are kept.
    """

    def say(text: str) -> None:
        print(text, file=stream, flush=True)

    @contextmanager
    def workers() -> Iterator[Compute]:
        with computing(cluster_options, say) as cluster:
            yield partial(compute_parts, cluster.client, check=cluster.check)

    data = limited(
        plan.source, plan.axes, plan.chunks, region=options.region, frames=options.frames
    )
    the_pass = OnePass(data, options.results)
    outputs = _checked_outputs(plan, options, the_pass)
    # Every job locks in this order.
    paths = sorted(path for of_result in outputs.values() for path in of_result)
    store = _store(options, the_pass, say)
    with ExitStack() as locks:
        for path in paths:
            locks.enter_context(OutputLock(path, say))
        store.remove_if_empty()  # of a run that was killed after its last step but this
        for path in paths:
            put_back(path)
            if not (options.overwrite or (options.resume and store.is_own(path))):
                require_absent(path)
        kept = store.open(resume=options.resume)
        with store.kept_if_any():
            look = picture_so_far(store.picture)
            done = the_pass.run(
                workers, store, kept, look, interval=_LOG_INTERVAL, stream=stream, patience=0
            )
            notes = _write(done.results, outputs, store, plan)
            store.finish()
    return _summary(plan, options, the_pass, done, kept, notes)


def _checked_outputs(plan: Plan, options: JobOptions, the_pass: OnePass) -> dict[str, list[Path]]:
    """The files of each result, by their real paths, to which it can be written."""
    inputs = [part.file for part in plan.source.parts]
    detectors = [getattr(quantity, "detector", None) for quantity in options.results.values()]
    for each in (*detectors, options.region):
        if isinstance(each, ArrayFile):
            mask = Location.of(each.path)
            inputs.append(StoredFile(mask, mask.find_version()))
    outputs = {}
    for name, quantity in options.results.items():
        outputs[name] = sorted({Path(os.path.realpath(path)) for path in options.outputs[name]})
        panels = isinstance(quantity, CenterOfMass)
        ndim = the_pass.data.n_navigation + panels if name in the_pass.maps else 2
        check_outputs(outputs[name], ndim, panels=panels, inputs=inputs)
    return outputs


def _store(options: JobOptions, the_pass: OnePass, say: Callable[[str], None]) -> PartialStore:
    """The folder for finished parts, beside the first output."""
    first = next(iter(options.outputs.values()))[0]
    loose = the_pass.resume_obstacle()
    if loose:
        say(f"an interrupted run cannot be resumed, as {loose}")
    return the_pass.store(partial_folder(Path(os.path.realpath(first))), again=options.again)


def _write(
    results: Mapping[str, Result],
    outputs: Mapping[str, Sequence[Path]],
    store: PartialStore,
    plan: Plan,
) -> Notes:
    """Write each result to its files; return what is to be said of the job."""
    notes = Notes()
    notes.add(*plan.notes)
    for name, result in results.items():
        of_several = f"{name}: " if len(results) > 1 else ""
        notes.add(*(f"{of_several}{note}" for note in result.notes))
        for path in outputs[name]:
            lost = write_result(
                path, result, origin=plan.location.shown, job=store.job, claim=store.claim
            )
            notes.of_file(path.name).add(*lost)
    return notes


def _summary(
    plan: Plan,
    options: JobOptions,
    the_pass: OnePass,
    done: Finished,
    kept: Sequence[int],
    notes: Notes,
) -> Summary:
    results = [
        ResultSummary(
            name,
            result.title,
            str(getattr(done.wanted[name], "detector", "")),
            tuple(map(str, options.outputs[name])),
            result.values.shape,
            str(result.values.dtype),
            result.units,
        )
        for name, result in done.results.items()
    ]
    return Summary(
        url=plan.location.shown,
        results=tuple(results),
        parts=len(the_pass.parts),
        parts_kept=len(kept),
        tasks=sum(len(part) for n, part in enumerate(the_pass.parts) if n not in kept),
        pixel_bytes=done.pixel_bytes,
        seconds=done.seconds,
        workers=len(done.ledger),
        notes=tuple(notes),
        **dataclasses.asdict(total(done.ledger)),
    )


@contextmanager
def computing(
    cluster_options: ClusterOptions,
    say: Callable[[str], None],
    again: str = "continue with {resume=True}",
) -> Iterator[Cluster]:
    """Connect, and say what went wrong, and what to do `again`, where distributed does not."""
    try:
        with connect(cluster_options, say=say, again=again) as cluster:
            require_mrcdist(cluster.client)
            yield cluster
    except KilledWorker as error:
        raise MrcdistError(
            "workers died while computing the same task",
            code="workers-died",
            cause=f"they ran out of memory, or were killed: {error}",
            remedy="give them more memory or smaller {chunks} (`mrcdist explain` estimates what "
            f"they need), and {again}",
        ) from None
