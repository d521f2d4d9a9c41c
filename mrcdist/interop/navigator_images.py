"""The images of a Direct Electron acquisition as signals of their own, HyperSpy's navigators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mrcdist.discover.files import FoundFiles
from mrcdist.discover.images import FoundImage
from mrcdist.errors import MrcdistError
from mrcdist.format.axis import Axis
from mrcdist.interop.rosettasciio import axes_dicts, metadata_dict, original_metadata_dict
from mrcdist.options import ReadOptions
from mrcdist.planner import make_plan
from mrcdist.read_plan import Plan
from mrcdist.storage.event_loop import ReadingThreads
from mrcdist.warning_notes import Notes

__all__ = ["load_images", "plan_image"]

# Of a lazy dataset, larger images stay lazy too. A 1024 × 1024 scan's float32 image is 4 MiB.
_EAGER_BYTES = 16 * 2**20


def load_images(
    plan: Plan, images: Sequence[FoundImage], notes: Notes, *, lazy: bool
) -> dict[str, Any]:
    """Load the images as HyperSpy's navigators.

    Parameters
    ----------
    plan : Plan
        Of the movie.
    images : sequence of FoundImage
    notes : Notes
        Of what is odd about the images; which of those that nobody named cannot be read.
    lazy : bool
        Leave images above 16 MiB to tasks.

    Returns
    -------
    dict
        For ``metadata["_HyperSpy"]``: ``navigators`` with a signal dict ``_sig_<name>`` for every
        image, and ``_sig_navigator``, the first whose shape is the navigation shape. Empty where
        there are no images.

    Raises
    ------
    MrcdistError
        An image that the caller named cannot be read.
    """
    navigators: dict[str, Any] = {}
    with ReadingThreads(8) as threads:
        loading = [(image, threads.submit(_load, image, plan, lazy=lazy)) for image in images]
        for image, future in loading:
            try:
                navigators[f"_sig_{image.name}"], odd = future.result()
            except MrcdistError as error:
                if image.named:
                    raise
                # The server may still be writing it; the movie's own data are none the worse.
                notes.add(f"the image {image.location.name} is left out: {error.problem}")
            else:
                notes.add(*(f"the image {image.location.name}: {note}" for note in odd))
    if not navigators:
        return {}
    shape = plan.layout.navigation_shape
    fits = [signal for signal in navigators.values() if signal["data"].shape == shape]
    return {"navigators": navigators, **({"_sig_navigator": fits[0]} if fits else {})}


def plan_image(image: FoundImage, plan: Plan) -> Plan:
    """Return the plan of an image, whose axes are the scan's where it has a pixel for each point.

    Parameters
    ----------
    image : FoundImage
    plan : Plan
        Of the movie.
    """
    own = make_plan(FoundFiles.of(image.location), ReadOptions(metadata_file=None))
    axes, notes = _scan_axes(own.axes, plan)
    return replace(own, axes=tuple(axes), file_notes=(*own.file_notes, *notes))


def _load(image: FoundImage, plan: Plan, *, lazy: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    own = plan_image(image, plan)
    later = lazy and own.layout.nbytes > _EAGER_BYTES
    data: Any = own.to_dask() if later else np.array(own.source[...])
    data = data.reshape(tuple(axis.size for axis in own.axes))
    metadata = metadata_dict(image.location.name, header=own.header)
    metadata["General"]["title"] = image.name
    signal = {
        "data": data,
        "axes": axes_dicts(own.axes),
        "metadata": metadata,
        "original_metadata": original_metadata_dict(own.header),
    }
    return signal, own.notes


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
        notes = [
            f"it has {_by(pixels)} pixels, the scan {_by(shape)} points: its axes stay its own"
        ]
    return own, notes


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
