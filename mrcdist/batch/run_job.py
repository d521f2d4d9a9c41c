"""The steps of a batch job, in order, and its summary."""

from __future__ import annotations

import dataclasses
import itertools
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
from mrcdist.compute.results import select_data
from mrcdist.compute.submit import compute_parts
from mrcdist.compute.tasks import total
from mrcdist.discover.files import locate
from mrcdist.errors import MrcdistError
from mrcdist.formatting import format_shape
from mrcdist.read_plan import Plan
from mrcdist.storage.stored_file import StoredFile
from mrcdist.warning_notes import Note, Notes

# Interval between progress lines in a log, in seconds.
_LOG_INTERVAL = 30.0

# How to continue after a failure.
_RESUME = "continue with `resume=True`"


@dataclass(frozen=True)
class Summary:
    """Summary of a finished job; `str()` of it is a report.

    `parts` counts the whole job, `parts_kept` the parts of an earlier run; all other numbers are of
    this run.
    """

    url: str
    outputs: Mapping[str, tuple[Path, ...]]
    done: Finished
    parts: int
    parts_kept: int
    tasks: int
    notes: tuple[Note, ...]

    @property
    def bytes_per_second(self) -> float:
        """Bytes of pixels per second, as shown by the progress bar; 0 if nothing was computed.

        Mapped bytes do not count, because most of their pages may never have been read.
        """
        return self.done.pixel_bytes / self.done.seconds if self.done.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-serialisable values; those of a single result also at the top level."""
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
        return str(getattr(self.done.quantities[name], "detector", ""))

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
                f"  read      {format_bytes(read.bytes_mapped)} of local files mapped; only "
                "pages with these pixels are read"
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
    plan: Plan,
    results: Mapping[str, Quantity],
    outputs: Mapping[str, tuple[Path, ...]],
    cluster_options: ClusterOptions,
    stream: TextIO,
    *,
    resume: bool = False,
    overwrite: bool = False,
    region: Any = None,
    frames: Any = None,
) -> Summary:
    """Compute results by name, and write each to its outputs, at least one file.

    Finished parts are kept in a folder next to the first output; with `resume`, those of an earlier
    run are used. Existing files are only replaced with `overwrite`. `region` and `frames` are as
    for `Plan.frames`; a region may also be an `ArrayFile`. Progress goes to `stream`.

    Raises
    ------
    MrcdistError
        Before anything is computed: the arguments do not fit the data or the outputs. Later: a task
        failed; finished parts are kept.
    """
    log: Callable[[str], None] = partial(print, file=stream, flush=True)

    @contextmanager
    def workers() -> Iterator[Compute]:
        with computing(cluster_options, log) as cluster:
            yield partial(compute_parts, cluster.client, check=cluster.check)

    data = select_data(plan.source, plan.axes, plan.chunks, region=region, frames=frames)
    one_pass = OnePass(data, results)
    paths = _check_outputs(plan, results, outputs, region, one_pass)
    if obstacle := one_pass.resume_obstacle():
        log(f"an interrupted run cannot be resumed, as {obstacle}")
    first_output = os.path.realpath(next(iter(outputs.values()))[0])
    store = one_pass.store(partial_folder(Path(first_output)), resume_hint=_RESUME)
    # Every job locks in the same order, so that no two of them wait for each other.
    all_paths = sorted(itertools.chain.from_iterable(paths.values()))
    with ExitStack() as locks:
        for path in all_paths:
            locks.enter_context(OutputLock(path, log))
        store.remove_if_empty()  # left behind by a run killed just before its end
        for path in all_paths:
            _prepare(path, store, resume=resume, overwrite=overwrite)
        kept = store.open(resume=resume)
        with store.kept_if_any():
            draw = picture_so_far(store.picture)
            done = one_pass.run(
                workers, store, kept, draw, interval=_LOG_INTERVAL, stream=stream, patience=0
            )
            notes = _write_results(done, paths, store, plan)
            store.finish()
    return Summary(
        url=plan.location.shown,
        outputs=outputs,
        done=done,
        parts=len(one_pass.parts),
        parts_kept=len(kept),
        tasks=sum(len(part) for n, part in enumerate(one_pass.parts) if n not in kept),
        notes=tuple(notes),
    )


def _prepare(path: Path, store: PartialStore, *, resume: bool, overwrite: bool) -> None:
    """Remove what killed jobs left behind; raise if the result exists and is not to be replaced."""
    clean_up(path)
    if not (overwrite or (resume and store.is_own(path))):
        require_absent(path)


def _check_outputs(
    plan: Plan,
    results: Mapping[str, Quantity],
    outputs: Mapping[str, Sequence[Path]],
    region: Any,
    one_pass: OnePass,
) -> dict[str, list[Path]]:
    """Return the real paths to which each result is written, after checking that it can be."""
    inputs = [part.file for part in plan.source.parts]
    for array in (*(getattr(each, "detector", None) for each in results.values()), region):
        if isinstance(array, ArrayFile):
            mask = locate(array.path, plan.location)
            inputs.append(StoredFile(mask, mask.find_version()))
    paths = {}
    for name, quantity in results.items():
        paths[name] = sorted({Path(os.path.realpath(path)) for path in outputs[name]})
        panels = isinstance(quantity, CenterOfMass)
        ndim = one_pass.data.n_navigation + panels if name in one_pass.maps else 2
        check_outputs(paths[name], ndim, panels=panels, inputs=inputs)
    return paths


def _write_results(
    done: Finished, outputs: Mapping[str, Sequence[Path]], store: PartialStore, plan: Plan
) -> Notes:
    """Write each result to its files; return the notes of the job."""
    notes = Notes(*plan.notes, *done.notes)
    for name, result in done.results.items():
        for path in outputs[name]:
            lost = write_result(
                path, result, origin=plan.location.shown, job=store.job, claim=store.claim
            )
            notes.of_file(path.name).add(*lost)
    return notes


@contextmanager
def computing(
    cluster_options: ClusterOptions,
    log: Callable[[str], None],
    resume_hint: str = _RESUME,
) -> Iterator[Cluster]:
    """Connect to a cluster, check that it has mrcdist, and explain why workers died.

    `resume_hint` suggests how to continue after a failure.
    """
    try:
        with connect(cluster_options, log=log, resume_hint=resume_hint) as cluster:
            require_mrcdist(cluster.client)
            yield cluster
    except KilledWorker as error:
        raise MrcdistError(
            "workers died while computing the same task",
            code="workers-died",
            cause=f"they ran out of memory, or were killed: {error}",
            remedy="give them more memory or smaller `chunks` (`mrcdist explain` estimates what "
            f"they need), and {resume_hint}",
        ) from None
