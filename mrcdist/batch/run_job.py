"""The steps of a batch job, in order."""

from __future__ import annotations

import dataclasses
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy.typing as npt
from dask.tokenize import tokenize
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

import mrcdist
from mrcdist.batch.clusters import Cluster, ClusterOptions, connect, require_mrcdist
from mrcdist.batch.lock import OutputLock
from mrcdist.batch.output import check_outputs, require_absent, write_result
from mrcdist.batch.partial import PartialStore, partial_folder
from mrcdist.batch.summary import Summary
from mrcdist.compute.bright_disk import locate, sample
from mrcdist.compute.detectors import (
    AutoDisk,
    Detector,
    Everything,
    MaskFile,
    Ring,
    WantedDetector,
    load_mask,
)
from mrcdist.compute.patterns import MeanPattern
from mrcdist.compute.quantities import (
    CenterOfMass,
    Quantity,
    VirtualImage,
    schedule,
)
from mrcdist.compute.reductions import FrameSum
from mrcdist.compute.results import Dataset
from mrcdist.compute.schedule import Part, block_frames
from mrcdist.compute.submit import compute_once, compute_parts
from mrcdist.compute.tasks import Ledger, Work, total
from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.progress import Progress
from mrcdist.read_plan import Plan
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from mrcdist.warning_notes import Notes

__all__ = ["JobOptions", "computing", "run"]

# Seconds between lines of progress in the log of a job.
_LOG_INTERVAL = 30.0

_TITLES = {"bf": "bright field", "adf": "annular dark field"}

Kind = Literal["virtual", "mean", "com"]


@dataclass(frozen=True)
class JobOptions:
    """What the user wants.

    Parameters
    ----------
    kind : {"virtual", "mean", "com"}
    outputs : tuple of Path
        At least one; finished parts are kept beside the first.
    detector : WantedDetector
        For a virtual image or a centre of mass.
    radius : float, optional
        Of the bright disk in pixels, for ``bf`` and ``adf``.
    resume : bool, default False
        Use the parts that an earlier run finished.
    overwrite : bool, default False
        Replace outputs that are there.
    """

    kind: Kind
    outputs: tuple[Path, ...]
    detector: WantedDetector = Everything()  # noqa: RUF009 it is frozen
    radius: float | None = None
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        auto = isinstance(self.detector, AutoDisk)
        if self.radius is not None and not (auto and 0 < self.radius < math.inf):
            raise ArgumentError(
                f"--radius {self.radius:g}",
                code="radius-invalid",
                argument="radius",
                cause="it is the radius of the bright disk in pixels, for bf and adf",
                remedy="leave it out, or use --detector bf --radius R",
            )


def run(plan: Plan, options: JobOptions, where: ClusterOptions, stream: TextIO) -> Summary:
    """Compute what is ordered, and write it.

    Parameters
    ----------
    plan : Plan
    options : JobOptions
    where : ClusterOptions
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

    data = Dataset(plan.layout, plan.axes, plan.chunks, plan.source.table)
    detector, asked = _given(options, data)
    # Which tasks and parts there are does not depend on the detector.
    parts = schedule(data, _quantity(options, detector or Everything()).reductions(data))
    outputs = sorted({Path(os.path.realpath(path)) for path in options.outputs})
    ndim = {"virtual": data.n_navigation, "com": data.n_navigation + 1, "mean": 2}[options.kind]
    check_outputs(outputs, ndim, panels=options.kind == "com", inputs=_inputs(plan, options))
    store = PartialStore(
        partial_folder(Path(os.path.realpath(options.outputs[0]))),
        _description(plan, options, asked),
        len(parts),
        lasting=_is_exact(plan, say),
    )
    with ExitStack() as locks:
        for path in outputs:
            locks.enter_context(OutputLock(path, say))
        for path in outputs:
            if not (options.overwrite or (options.resume and store.is_own(path))):
                require_absent(path)
        kept = store.open(resume=options.resume)
        if detector is None and (found := store.found) is not None:
            detector = Ring(**found)
        left = {number: part for number, part in enumerate(parts) if number not in kept}
        ledger: Ledger = {}
        pixels, seconds = 0, 0.0
        with store.kept_if_any():
            if left or detector is None:
                with computing(where, say) as cluster:
                    if detector is None:
                        detector = _find(cluster, plan, data, options)
                        store.found = dataclasses.asdict(detector)
                    quantity = _quantity(options, detector)
                    begun = time.monotonic()
                    ledger, pixels = _compute(
                        cluster, plan, data, quantity, parts, left, store, stream
                    )
                    seconds = time.monotonic() - begun
            result = _quantity(options, detector).finish(data, parts, (store.load,))
            notes = Notes()
            notes.add(*plan.notes)
            _note_detector(detector, data, notes)
            notes.add(*result.notes)
            for path in outputs:
                lost = write_result(
                    path, result, origin=plan.location.shown, job=store.job, claim=store.claim
                )
                notes.of_file(path.name).add(*lost)
            store.finish()
    read = total(ledger)
    return Summary(
        title=result.title,
        url=plan.location.shown,
        detector="" if options.kind == "mean" else str(detector),
        outputs=tuple(map(str, options.outputs)),
        shape=result.values.shape,
        dtype=str(result.values.dtype),
        units=result.units,
        parts=len(parts),
        parts_kept=len(kept),
        tasks=sum(len(part) for part in left.values()),
        blocks=read.blocks,
        pixel_bytes=pixels,
        bytes_fetched=read.bytes_fetched,
        bytes_mapped=read.bytes_mapped,
        requests=read.requests,
        retries=read.retries,
        seconds=seconds,
        workers=len(ledger),
        notes=tuple(notes),
    )


def _given(options: JobOptions, data: Dataset) -> tuple[Detector | None, str]:
    """The detector, None where it has to be found in the data; and a name for what was asked."""
    wanted = options.detector
    if isinstance(wanted, AutoDisk):
        radius = "" if options.radius is None else f", radius {options.radius!r}"
        return None, wanted.kind + radius
    if isinstance(wanted, MaskFile):
        loaded = load_mask(wanted.path, data.layout.frame_shape)
        return loaded, f"mask {loaded.digest}"
    wanted.window(data.layout.frame_shape)  # or there is no pixel in it
    return wanted, repr(wanted)


def _quantity(options: JobOptions, detector: Detector) -> Quantity:
    if options.kind == "mean":
        return MeanPattern()
    if options.kind == "com":
        return CenterOfMass(detector)
    if isinstance(options.detector, AutoDisk):
        return VirtualImage(detector, _TITLES[options.detector.kind])
    return VirtualImage(detector)


def _description(plan: Plan, options: JobOptions, detector: str) -> dict[str, str]:
    """All that the values of the parts depend on; no secret."""
    source = plan.source
    files = [
        (part.file.version, part.offset, part.frames, part.compression) for part in source.parts
    ]
    return {
        "software": f"mrcdist {mrcdist.__version__}",
        "quantity": options.kind,
        "detector": detector,
        "file": ", ".join(part.file.location.shown for part in source.parts),
        "version": ", ".join(str(part.file.version) for part in source.parts),
        "array": f"{plan.shape} {plan.dtype}",
        "plan": tokenize(files, plan.layout, source.table, plan.chunks),
    }


def _inputs(plan: Plan, options: JobOptions) -> list[StoredFile]:
    """The files that are read."""
    files = [part.file for part in plan.source.parts]
    if isinstance(options.detector, MaskFile):
        mask = Location.of(options.detector.path)
        files.append(StoredFile(mask, mask.find_version()))
    return files


def _is_exact(plan: Plan, say: Callable[[str], None]) -> bool:
    """Whether another run can know that it reads the same files."""
    for part in plan.source.parts:
        if not part.file.version.exact:
            say(
                "an interrupted run cannot be resumed, as another file in the place of "
                f"{part.file.location.shown} might have the same version: {part.file.version}"
            )
            return False
    return True


@contextmanager
def computing(where: ClusterOptions, say: Callable[[str], None]) -> Iterator[Cluster]:
    """Connect, and say what went wrong where distributed's errors do not."""
    try:
        with connect(where, say=say) as cluster:
            require_mrcdist(cluster.client)
            yield cluster
    except KilledWorker as error:
        raise MrcdistError(
            "workers died while they computed the same task",
            code="workers-died",
            cause=f"they ran out of memory, or were ended: {error}",
            remedy="give them more memory or smaller --chunks (`mrcdist explain` tells what they "
            "need), and go on with --resume",
        ) from None
    except (FutureCancelledError, CommClosedError, TimeoutError) as error:
        raise MrcdistError(
            "the scheduler is gone, and the job with it",
            code="scheduler-dropped-job",
            cause=str(error),
            remedy="look at the scheduler's log, and go on with --resume",
        ) from None


def _find(cluster: Cluster, plan: Plan, data: Dataset, options: JobOptions) -> Ring:
    """Look for the bright disk in the mean of a few frames, read by the workers."""
    kind = options.detector.kind if isinstance(options.detector, AutoDisk) else "bf"
    work = Work(plan.source, (FrameSum(data.layout.frame_shape),), _job_name("sample"))
    found = compute_once(
        cluster.client, work, sample(data.layout.navigation_shape), check=cluster.check
    )
    return locate(AutoDisk(kind), found.values[0], options.radius)


def _compute(
    cluster: Cluster,
    plan: Plan,
    data: Dataset,
    quantity: Quantity,
    parts: tuple[Part, ...],
    left: dict[int, Part],
    store: PartialStore,
    stream: TextIO,
) -> tuple[Ledger, int]:
    """Compute the parts that are left, and keep each as it comes; and the bytes of their pixels."""
    work = Work(plan.source, quantity.reductions(data), _job_name(quantity.title))
    frame = data.layout.dtype.itemsize * len(work.window[0]) * len(work.window[1])
    sizes = [sum(block_frames(b) for task in part for b in task) * frame for part in parts]
    to_do = sum(sizes[number] for number in left)
    progress = Progress(
        quantity.title,
        sum(sizes),
        kept=sum(sizes) - to_do,
        in_bytes=True,
        interval=_LOG_INTERVAL,
        stream=stream,
        patience=0,
    )

    def done(number: int, values: tuple[npt.NDArray[Any], ...]) -> None:
        [only] = values
        store.save(number, only)
        progress.advance(sizes[number])

    with progress:
        return compute_parts(cluster.client, work, left, done, check=cluster.check), to_do


def _job_name(title: str) -> str:
    return f"{title.replace(' ', '_')}-{uuid.uuid4().hex[:8]}"


def _note_detector(detector: Detector, data: Dataset, notes: Notes) -> None:
    if isinstance(detector, Ring) and detector.reaches_outside(data.layout.frame_shape):
        notes.add(f"{detector} reaches beyond the frame: only the pixels inside count")
