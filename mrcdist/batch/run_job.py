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
    clean_up,
    picture_so_far,
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

# Seconds between lines of progress in the log of a job.
_LOG_INTERVAL = 30.0


@dataclass(frozen=True)
class JobOptions:
    """What to compute, by name, and to which files, at least one for each result.

    Finished parts are kept beside the first file of all; with `resume` those of an earlier run are
    used. Only `overwrite` replaces outputs that are there. `resume_hint` tells the user how to
    resume the job. A region or a range of frames is as for `Plan.frames`; a region
    may also be an `ArrayFile`.
    """

    results: Mapping[str, Quantity]
    outputs: Mapping[str, tuple[Path, ...]]
    resume: bool = False
    overwrite: bool = False
    resume_hint: str = "go on with resume=True"
    region: Any = None
    frames: Any = None


@dataclass(frozen=True)
class Summary:
    """The end of a job; `str()` of it is for reading.

    `parts` are of the whole job; all other numbers are of this run.
    """

    url: str
    outputs: Mapping[str, tuple[Path, ...]]
    done: Finished
    parts: int
    parts_kept: int
    tasks: int
    notes: tuple[str, ...]

    @property
    def bytes_per_second(self) -> float:
        """Pixels a second, as the progress counts them; 0 where nothing was computed.

        Mapped bytes would say nothing: most of them may never have been touched.
        """
        return self.done.pixel_bytes / self.done.seconds if self.done.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the same as JSON-serialisable values; a single result's at the top as well."""
        read = total(self.done.ledger)
        results = [
            {
                "name": name,
                "title": result.title,
                "detector": self._detector(name),
                "outputs": list(map(str, self.outputs[name])),
                "shape": list(result.values.shape),
                "dtype": str(result.values.dtype),
                "units": list(result.units),
            }
            for name, result in self.done.results.items()
        ]
        return {
            "url": self.url,
            "results": results,
            "parts": self.parts,
            "parts_kept": self.parts_kept,
            "tasks": self.tasks,
            "pixel_bytes": self.done.pixel_bytes,
            "seconds": self.done.seconds,
            "workers": len(self.done.ledger),
            "notes": list(self.notes),
            **dataclasses.asdict(read),
            **(results[0] if len(results) == 1 else {}),
            "bytes": read.nbytes,
            "bytes_per_second": self.bytes_per_second,
        }

    def _detector(self, name: str) -> str:
        return str(getattr(self.done.wanted[name], "detector", ""))

    def __str__(self) -> str:
        done, read = self.done, total(self.done.ledger)
        lines = []
        for name, result in done.results.items():
            values, detector = result.values, self._detector(name)
            shape = f"{format_shape(values.shape)} {values.dtype}"
            lines += [
                f"{result.title} of {self.url}",
                f"  result    {shape}, in {', '.join(result.units)}",
                *([f"  detector  {detector}"] if detector else []),
                *(f"  written   {output}" for output in self.outputs[name]),
            ]
        if len(done.results) > 1:
            lines.append(f"{len(done.results)} results in one pass")
        speed = f"{format_bytes(int(self.bytes_per_second))}/s"
        lines.append(
            f"  pixels    {format_bytes(done.pixel_bytes)} in {done.seconds:.1f} s, {speed}"
        )
        if read.bytes_mapped:
            lines.append(
                f"  read      {format_bytes(read.bytes_mapped)} of local files mapped, of which "
                "the pages with these pixels are read"
            )
        if read.bytes_fetched or not read.bytes_mapped:
            lines.append(
                f"  read      {format_bytes(read.bytes_fetched)} fetched; {read.requests:,} "
                f"requests, {read.retries:,} retries"
            )
        kept = f", {self.parts_kept} of an earlier run" if self.parts_kept else ""
        lines.append(
            f"  tasks     {self.tasks:,} on {len(done.ledger)} workers, {read.blocks:,} blocks; "
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
            clean_up(path)
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
    return Summary(
        url=plan.location.shown,
        outputs=options.outputs,
        done=done,
        parts=len(the_pass.parts),
        parts_kept=len(kept),
        tasks=sum(len(part) for n, part in enumerate(the_pass.parts) if n not in kept),
        notes=tuple(notes),
    )


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
    return the_pass.store(
        partial_folder(Path(os.path.realpath(first))), resume_hint=options.resume_hint
    )


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
