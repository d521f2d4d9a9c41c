"""Companion images of an acquisition: as HyperSpy's navigators, or as arrays beside the movie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from mrcdist.discover.files import FoundFiles
from mrcdist.discover.images import FoundImage, find_images
from mrcdist.errors import MrcdistError
from mrcdist.format.axis import Axis
from mrcdist.interop.rosettasciio import axes_dicts, plan_metadata, plan_original_metadata
from mrcdist.options import ReadOptions
from mrcdist.planner import make_plan
from mrcdist.read_plan import Plan
from mrcdist.storage.event_loop import ReadingThreads
from mrcdist.warning_notes import Notes, warn

# What the main array of a group is called; the others have the names of their images.
_MOVIE = "movie"
# Of a lazy dataset, larger images stay lazy too. A 1024 × 1024 scan's float32 image is 4 MiB.
_EAGER_BYTES = 16 * 2**20

_Found = TypeVar("_Found")


def load_images(
    plan: Plan, images: Sequence[FoundImage], notes: Notes, *, lazy: bool
) -> dict[str, Any]:
    """Return ``metadata["_HyperSpy"]`` of a movie: its images as navigators; empty without any.

    ``navigators`` has a signal dict ``_sig_<name>`` for every image, ``_sig_navigator`` is the
    first one whose shape is the navigation shape. Images above 16 MiB are left to tasks if `lazy`.
    """
    signals = _of_each(images, partial(_load, plan=plan, lazy=lazy), notes)
    if not signals:
        return {}
    shape = plan.layout.navigation_shape
    fits = [signal for signal in signals.values() if signal["data"].shape == shape]
    navigators = {f"_sig_{name}": signal for name, signal in signals.items()}
    return {"navigators": navigators, **({"_sig_navigator": fits[0]} if fits else {})}


def plan_group(plan: Plan) -> dict[str, Plan]:
    """Return the plans of a movie and of the images beside it, by names that differ.

    What is unusual about the images, and which ones cannot be read, is a warning.
    """
    notes = Notes()
    images = find_images(plan.directory, plan.sidecar, "auto", "auto")
    plans = _of_each(images, partial(_plan_image, plan=plan), notes)
    warn(plan.location.shown, notes)
    return {
        _MOVIE: plan,
        **{f"{name} (image)" if name == _MOVIE else name: own for name, own in plans.items()},
    }


def _of_each(
    images: Sequence[FoundImage],
    call: Callable[[FoundImage], tuple[_Found, tuple[str, ...]]],
    notes: Notes,
) -> dict[str, _Found]:
    """Return by name what a call finds for each image, and add its notes.

    An image that cannot be read raises `MrcdistError` if the caller named it; otherwise it is
    left out, with a note.
    """
    found = {}
    with ReadingThreads(8) as threads:
        for image, future in [(image, threads.submit(call, image)) for image in images]:
            try:
                found[image.name], odd = future.result()
            except MrcdistError as error:
                if image.named:
                    raise
                # The server may still be writing it; the movie's own data are none the worse.
                notes.add(f"the image {image.location.name} is left out: {error.problem}")
            else:
                notes.add(*(f"the image {image.location.name}: {note}" for note in odd))
    return found


def _plan_image(image: FoundImage, plan: Plan) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan of an image, with the scan's axes if it has a pixel for each point."""
    own = make_plan(FoundFiles.of(image.location), ReadOptions(metadata_file=None))
    axes, notes = _scan_axes(own.axes, plan)
    own = replace(own, axes=tuple(axes), file_notes=(*own.file_notes, *notes))
    return own, own.notes


def _load(image: FoundImage, plan: Plan, *, lazy: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    own, notes = _plan_image(image, plan)
    later = lazy and own.layout.nbytes > _EAGER_BYTES
    data: Any = own.to_dask() if later else np.array(own.source[...])
    header_alone = replace(own, extended=None, tilts=None)
    metadata = plan_metadata(header_alone)
    metadata["General"]["title"] = image.name
    signal = {
        "data": data.reshape(tuple(axis.size for axis in own.axes)),
        "axes": axes_dicts(own.axes),
        "metadata": metadata,
        "original_metadata": plan_original_metadata(header_alone),
    }
    return signal, notes


def _scan_axes(own: Sequence[Axis], plan: Plan) -> tuple[Sequence[Axis], list[str]]:
    """The scan's axes, where the image has a pixel for each of its points or of its (y, x)."""
    navigation = [axis for axis in plan.axes if axis.navigate]
    grid = [axis for axis in navigation if axis.name in ("y", "x")]
    pixels = [axis.size for axis in own if axis.size != 1]
    notes = []
    for axes in (navigation, grid):
        shape = [axis.size for axis in axes]
        if not axes or math.prod(pixels) != math.prod(shape):
            continue
        # Only slower axes may lie one below the other; rows of another length are another image's.
        if pixels[1:] == shape[len(shape) - len(pixels[1:]) :]:
            first = len(axes) - 2  # the last two are the image's plane
            return [replace(axis, navigate=i < first) for i, axis in enumerate(axes)], []
        own_shape, scan_shape = (" x ".join(map(str, of)) for of in (pixels, shape))
        notes = [f"it has {own_shape} pixels, the scan {scan_shape} points: its axes stay its own"]
    return own, notes
