"""Public functions for reductions: several results in one pass over the frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, get_client

from mrcdist.api import plan_mrc
from mrcdist.compute.functions import FrameReduction
from mrcdist.compute.one_pass import Compute, InMemory, OnePass
from mrcdist.compute.partial import begun_chunks
from mrcdist.compute.quantities import (
    CenterOfMass,
    MaximumPattern,
    MeanPattern,
    Quantity,
    RadialProfile,
    StandardDeviation,
    SumPattern,
    VirtualImage,
)
from mrcdist.compute.results import Array, Result, select_data
from mrcdist.compute.submit import compute_in_threads, compute_parts
from mrcdist.compute.tasks import DEVICES, array_module
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.options import ReadOptions
from mrcdist.plan.chunks import Chunks
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import Plan, plan_to_resume, source_of
from mrcdist.warning_notes import warn
from mrcdist.write.contents import contents_of

__all__ = [
    "CenterOfMass",
    "FrameReduction",
    "MaximumPattern",
    "MeanPattern",
    "RadialProfile",
    "Result",
    "StandardDeviation",
    "SumPattern",
    "VirtualImage",
    "reduce_frames",
]

# Maximum number of results with the shape of a frame in this process at a time.
_MAX_SUMS = 8


def reduce_frames(
    data: Any,
    results: Mapping[str, Quantity | Callable[[Array], Any]],
    *,
    region: Any = None,
    frames: Any = None,
    client: Client | None = None,
    resume: str | PathLike[str] | None = None,
    progress: bool = True,
    device: str = "cpu",
    **options: Any,
) -> dict[str, Result]:
    """Compute several results in one pass over the frames of a file.

    Each byte is read only once, and only the detector rows needed for at least one result are read.
    With numba installed, loops are compiled; without it, the results are the same.

    Parameters
    ----------
    data : str, PathLike, list, Plan, dict or HyperSpy signal
        A file, as for `read_mrc`; a plan from `plan_mrc`; a dict from `read_mrc`, with its current
        calibration; or a lazy signal made from such a dict. The array must not have been modified.
    results : mapping of str to VirtualImage, CenterOfMass, MeanPattern, …
        Results to compute, under names of your choice. A plain function becomes a `FrameReduction`.
    region : array_like, optional
        Scan points to use, as for `Plan.frames`: a mask over the scan, or a list of points or frame
        numbers. No other frames are read. Results with one value per frame then have a single
        navigation axis, with these frames in the given order.
    frames : slice or array_like, optional
        Range of frames to use instead of `region`, in scan order, such as ``slice(0, 1000)`` or
        ``slice(None, None, 10)``.
    client : distributed.Client, optional
        Default: the current client if there is one, otherwise threads of this process.
    resume : str or PathLike, optional
        Folder for finished parts. It is created, kept if the computation is interrupted, and
        deleted at the end. Repeating the call, on this or another cluster, then reads only what is
        missing. If `data` is a file and `chunks` is omitted, the chunks are those of the first
        call; other data must have the same chunks. Your own functions must be unchanged; changes in
        other modules that they call are not detected.
    progress : bool, default True
        Show a progress bar after two seconds.
    device : {"cpu", "cupy"}, default "cpu"
        With "cupy" and the extra gpu, workers compute on their GPU, except for your own functions.
        This has never been run on a GPU: it is tested with numpy in place of CuPy.
    **options
        Arguments of `plan_mrc` (chunks, storage_options, navigation_shape, …), if `data` is a file.

    Returns
    -------
    dict of str to Result
        In the order of `results`. `numpy.asarray` returns the array of a result; its ``axes`` are
        calibrated.

    Raises
    ------
    ArgumentError
        `results` is empty or contains something that is not a result; the data have no frames to
        reduce; a detector covers no pixel of a frame; or `data` is not a file and options were
        passed.
    MrcdistError
        Reading failed. An exception in one of your own functions is re-raised unchanged, with notes
        that name the frames.

    Warns
    -----
    MrcdistWarning
        Frames are missing, or have no intensity and therefore no centre of mass.

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
    folder = None if resume is None else Path(resume).expanduser().absolute()
    source, axes, chunks = _plan(data, options, folder)
    dataset = select_data(source, axes, chunks, region=region, frames=frames)
    if client is None:
        with suppress(ValueError):  # no current client
            client = get_client()
    if client is None:
        threads = int(dask.config.get("num_workers", None) or CPU_COUNT)
        compute: Compute = partial(compute_in_threads, threads=threads)
    else:
        threads = sum(client.nthreads().values())  # 0 before any worker has started
        compute = partial(compute_parts, client)
    if device not in DEVICES:
        array_module(device)  # raises an error
    # A job must be resumable with any number of threads.
    limits = {} if folder else {"threads": threads, "max_sum_parts": _MAX_SUMS}
    the_pass = OnePass(dataset, _quantities(results), device=device, **limits)
    patience = 2.0 if progress else math.inf
    run = partial(
        the_pass.run, lambda: nullcontext(compute), label="reducing frames", patience=patience
    )
    if folder is None:
        done = run(InMemory())
    else:
        hint = "repeat the same call to resume"
        store = the_pass.store(folder, chunks=chunks, resume_hint=hint, argument="resume")
        finished = store.open(resume=True)
        with store.kept_if_any():
            done = run(store, finished)
            store.finish()
    warn(dataset.source.parts[0].file.location.shown, done.notes)
    return done.results


def _quantities(results: Mapping[str, Any]) -> dict[str, Quantity]:
    """Check the requested results; a plain function becomes a `FrameReduction`."""
    if not isinstance(results, Mapping):
        raise _invalid(
            f"results of type {type(results).__name__}",
            "it is not a dict with a name for each result",
            'pass a dict, such as {"mean": MeanPattern()}',
        )
    quantities: dict[str, Quantity] = {}
    for name, each in results.items():
        if isinstance(each, type) and hasattr(each, "reductions"):
            raise _invalid(
                f"result {name!r}: {each.__name__}",
                "it is a class",
                f"pass an instance: {each.__name__}()",
            )
        if not hasattr(each, "reductions") and not callable(each):
            example = f"({each!r})" if isinstance(each, str) else "(detector), MeanPattern(), …"
            raise _invalid(
                f"result {name!r} of type {type(each).__name__}",
                "it is neither a result, such as MeanPattern(), nor a function",
                f"pass VirtualImage{example}, or a function of frames",
            )
        quantities[name] = each if hasattr(each, "reductions") else FrameReduction(each)
    return quantities


def _invalid(problem: str, cause: str, remedy: str) -> ArgumentError:
    return ArgumentError(
        problem, code="results-invalid", argument="results", cause=cause, remedy=remedy
    )


def _plan(
    data: Any, options: Mapping[str, Any], folder: Path | None
) -> tuple[MrcSource, tuple[Axis, ...], Chunks]:
    """Return source, axes and chunks of data of any kind."""
    is_contents = isinstance(data, Mapping) or hasattr(data, "axes_manager")
    if options and (is_contents or isinstance(data, Plan)):
        raise ArgumentError(
            f"{', '.join(f'`{name}`' for name in options)} for data that are already planned",
            code="options-invalid",
            argument=next(iter(options)),
            cause="options determine how a file is read, but `data` is a "
            f"{type(data).__name__}; reduce_frames itself has only `region`, `frames`, `client`, "
            "`resume`, `progress` and `device`",
            remedy="omit them, or pass them to plan_mrc or read_mrc; check the spelling of names",
        )
    if is_contents:
        contents = contents_of(data)
        source = source_of(contents.array)
        if source is None:
            raise ArgumentError(
                f"`data` with an array of shape {contents.array.shape}",
                code="data-not-reducible",
                argument="data",
                cause="its array is not the lazy one that read_mrc returned: it was computed, "
                "sliced or changed",
                remedy="pass what read_mrc returned, or the file, and `region` for part of a scan",
            )
        return source, contents.axes, contents.array.chunks
    if isinstance(data, Plan):
        plan = data
    else:  # an unfinished job in the folder determines the default chunks
        plan = plan_to_resume(
            partial(plan_mrc, data, **options),
            options.get("chunks", ReadOptions.chunks),
            begun_chunks(folder) if folder else None,
        )
    return plan.source, plan.axes, plan.chunks
