"""The steps of a batch job, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from distributed.scheduler import KilledWorker

from mrcdist.batch.clusters import Cluster, ClusterOptions, connect, require_mrcdist
from mrcdist.batch.lock import OutputLock
from mrcdist.batch.output import check_outputs, put_back, require_absent, write_result
from mrcdist.batch.picture import PictureSoFar
from mrcdist.batch.summary import ResultSummary, Summary
from mrcdist.compute.detectors import ArrayFile
from mrcdist.compute.one_pass import Compute, Finished, OnePass
from mrcdist.compute.partial import PartialStore, partial_folder
from mrcdist.compute.quantities import CenterOfMass, Quantity
from mrcdist.compute.results import Limits, Result
from mrcdist.compute.submit import compute_parts
from mrcdist.compute.tasks import total
from mrcdist.errors import MrcdistError
from mrcdist.read_plan import Plan
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from mrcdist.warning_notes import Notes

__all__ = ["JobOptions", "computing", "run"]

# Seconds between lines of progress in the log of a job.
_LOG_INTERVAL = 30.0

Outputs = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class JobOptions:
    """Options of a job.

    Parameters
    ----------
    results : mapping of str to Quantity
        What to compute, by name.
    outputs : mapping of str to tuple of Path
        At least one for each result; finished parts are kept beside the first of all.
    resume : bool, default False
        Use the parts that an earlier run finished.
    overwrite : bool, default False
        Replace outputs that are there.
    again : str, default "go on with resume=True"
        How the user goes on with what an earlier run finished.
    limits : Limits
        What is read. Default: all frames.
    """

    results: Mapping[str, Quantity]
    outputs: Mapping[str, tuple[Path, ...]]
    resume: bool = False
    overwrite: bool = False
    again: str = "go on with resume=True"
    limits: Limits = field(default_factory=Limits)


def run(
    plan: Plan, options: JobOptions, cluster_options: ClusterOptions, stream: TextIO
) -> Summary:
    """Compute what is ordered, and write it.

    Parameters
    ----------
    plan : Plan
    options : JobOptions
    cluster_options : ClusterOptions
        The cluster.
    stream : text stream
        Where progress is told.

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

    source, data = options.limits.apply(plan.source, plan.axes, plan.chunks)
    the_pass = OnePass(source, data, options.results)
    outputs = _checked_outputs(plan, options, the_pass)
    store = _store(options, the_pass, say)
    with ExitStack() as locks:
        for path in _in_order(outputs):
            locks.enter_context(OutputLock(path, say))
        store.remove_if_empty()  # of a run that was killed after its last step but this
        for path in _in_order(outputs):
            put_back(path)
            if not (options.overwrite or (options.resume and store.is_own(path))):
                require_absent(path)
        kept = store.open(resume=options.resume)
        with store.kept_if_any():
            look = PictureSoFar(store.picture).draw
            done = the_pass.run(
                workers, store, kept, look, interval=_LOG_INTERVAL, stream=stream, patience=0
            )
            notes = _write(done.results, outputs, store, plan)
            store.finish()
    return _summary(plan, options, the_pass, done, kept, notes)


def _checked_outputs(plan: Plan, options: JobOptions, the_pass: OnePass) -> Outputs:
    """The files of each result, by their real paths, to which it can be written."""
    outputs = {
        name: sorted({Path(os.path.realpath(path)) for path in paths})
        for name, paths in options.outputs.items()
    }
    inputs = _inputs(plan, options)
    for name, quantity in options.results.items():
        panels = isinstance(quantity, CenterOfMass)
        ndim = the_pass.data.n_navigation + panels if name in the_pass.maps else 2
        check_outputs(outputs[name], ndim, panels=panels, inputs=inputs)
    return outputs


def _in_order(outputs: Outputs) -> list[Path]:
    """All files, in the order in which every job locks them."""
    return sorted(path for paths in outputs.values() for path in paths)


def _store(options: JobOptions, the_pass: OnePass, say: Callable[[str], None]) -> PartialStore:
    """The folder for finished parts, beside the first output."""
    first = next(iter(options.outputs.values()))[0]
    loose = the_pass.resume_obstacle()
    if loose:
        say(f"an interrupted run cannot be resumed, as {loose}")
    return PartialStore(
        partial_folder(Path(os.path.realpath(first))),
        the_pass.description(),
        len(the_pass.parts),
        lasting=not loose,
        again=options.again,
    )


def _write(
    results: Mapping[str, Result], outputs: Outputs, store: PartialStore, plan: Plan
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
    read = total(done.ledger)
    return Summary(
        url=plan.location.shown,
        results=tuple(
            ResultSummary(
                name=name,
                title=result.title,
                detector=str(getattr(done.wanted[name], "detector", "")),
                outputs=tuple(map(str, options.outputs[name])),
                shape=result.values.shape,
                dtype=str(result.values.dtype),
                units=result.units,
            )
            for name, result in done.results.items()
        ),
        parts=len(the_pass.parts),
        parts_kept=len(kept),
        tasks=sum(len(part) for n, part in enumerate(the_pass.parts) if n not in kept),
        blocks=read.blocks,
        pixel_bytes=done.pixel_bytes,
        bytes_fetched=read.bytes_fetched,
        bytes_mapped=read.bytes_mapped,
        requests=read.requests,
        retries=read.retries,
        seconds=done.seconds,
        workers=len(done.ledger),
        notes=tuple(notes),
    )


def _inputs(plan: Plan, options: JobOptions) -> list[StoredFile]:
    """The files that are read."""
    files = [part.file for part in plan.source.parts]
    detectors = [getattr(quantity, "detector", None) for quantity in options.results.values()]
    for each in (*detectors, options.limits.region):
        if isinstance(each, ArrayFile):
            mask = Location.of(each.path)
            files.append(StoredFile(mask, mask.find_version()))
    return files


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
