"""Companion images of an acquisition, as navigators of HyperSpy or as arrays of a group."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from mrcdist.discover.images import FoundImage
from mrcdist.errors import MrcdistError
from mrcdist.format.axis import Axis
from mrcdist.interop.rosettasciio import axes_dicts, plan_metadata, plan_original_metadata
from mrcdist.planner import plan_image
from mrcdist.read_plan import Plan
from mrcdist.storage.event_loop import ReadingThreads
from mrcdist.warning_notes import Note, Notes, warn

# Name of the main array of a group; the others have the names of their images.
_MOVIE = "movie"
# In a lazy dataset, images of more bytes are lazy, too. The float32 image of a 1024 × 1024 scan has
# 4 MiB.
_EAGER_BYTES = 16 * 2**20

_Result = TypeVar("_Result")


def load_images(plan: Plan, notes: Notes, *, lazy: bool) -> dict[str, Any]:
    """Return ``metadata["_HyperSpy"]`` of a movie, with its images as navigators; empty if none.

    ``navigators`` has a signal dict ``_sig_<name>`` for every image; ``_sig_navigator`` is the
    first one with the navigation shape. If `lazy`, images above 16 MiB are dask arrays.
    """
    signals = _for_each(plan, partial(_load, lazy=lazy), notes)
    if not signals:
        return {}
    shape = plan.layout.navigation_shape
    fitting = [signal for signal in signals.values() if signal["data"].shape == shape]
    navigators = {f"_sig_{name}": signal for name, signal in signals.items()}
    return {"navigators": navigators, **({"_sig_navigator": fitting[0]} if fitting else {})}


def plan_group(plan: Plan) -> dict[str, Plan]:
    """Return the plans of a movie and its companion images, by unique names.

    Emits warnings about unusual images, and images that cannot be read.
    """
    notes = Notes()
    plans = _for_each(plan, lambda image_plan, _: image_plan, notes)
    warn(plan.location.shown, notes)
    unique = {f"{name} (image)" if name == _MOVIE else name: plans[name] for name in plans}
    return {_MOVIE: plan, **unique}


def _for_each(
    plan: Plan, function: Callable[[Plan, str], _Result], notes: Notes
) -> dict[str, _Result]:
    """Call a function with plan and name of each image, in threads; return the results by name.

    Adds the notes on images. An image that cannot be read raises `MrcdistError` if the caller
    requested it; otherwise, it is left out with a note.
    """

    def call(image: FoundImage) -> tuple[_Result, tuple[Note, ...]]:
        image_plan = _plan_image(image, plan)
        return function(image_plan, image.name), image_plan.notes

    results = {}
    with ReadingThreads(8) as threads:
        for image, future in [(one, threads.submit(call, one)) for one in plan.companions.find()]:
            try:
                results[image.name], image_notes = future.result()
            except MrcdistError as error:
                notes.add(image.left_out(error))
            else:
                notes.add(*(note.about(f"the image {image.location.name}") for note in image_notes))
    return results


def _plan_image(image: FoundImage, plan: Plan) -> Plan:
    """Return the plan of an image, with the axes of the scan if there is one pixel per point."""
    image_plan = plan_image(image)
    axes, notes = _scan_axes(image_plan.axes, plan)
    return replace(image_plan, axes=tuple(axes), file_notes=(*image_plan.file_notes, *notes))


def _load(image_plan: Plan, name: str, *, lazy: bool) -> dict[str, Any]:
    lazy = lazy and image_plan.layout.nbytes > _EAGER_BYTES
    data: Any = image_plan.to_dask() if lazy else np.array(image_plan.source[...])
    header_only = replace(image_plan, extended=None, tilts=None)
    metadata = plan_metadata(header_only)
    metadata["General"]["title"] = name
    return {
        "data": data.reshape(tuple(axis.size for axis in image_plan.axes)),
        "axes": axes_dicts(image_plan.axes),
        "metadata": metadata,
        "original_metadata": plan_original_metadata(header_only),
    }


def _scan_axes(image_axes: Sequence[Axis], plan: Plan) -> tuple[Sequence[Axis], tuple[Note, ...]]:
    """Return the axes of the scan if the image has a pixel for each of its points or of (y, x)."""
    navigation = [axis for axis in plan.axes if axis.navigate]
    grid = [axis for axis in navigation if axis.name in ("y", "x")]
    pixels = [axis.size for axis in image_axes if axis.size != 1]
    notes: tuple[Note, ...] = ()
    for axes in (navigation, grid):
        shape = [axis.size for axis in axes]
        if not axes or math.prod(pixels) != math.prod(shape):
            continue
        # Slower axes may be stacked in the image, but its rows must be those of the scan.
        if pixels[1:] == shape[len(shape) - len(pixels[1:]) :]:
            first = len(axes) - 2  # the last two are the image's plane
            return [replace(axis, navigate=n < first) for n, axis in enumerate(axes)], ()
        image_shape, scan_shape = (" x ".join(map(str, sizes)) for sizes in (pixels, shape))
        text = f"it has {image_shape} pixels, but the scan has {scan_shape} points"
        notes = (Note("image-axes-kept", f"{text}: its own axes are kept"),)
    return image_axes, notes
