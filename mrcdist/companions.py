"""The virtual and external images of a Direct Electron acquisition, as signals of their own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.format.acquisition_names import Companion, find_companions
from mrcdist.plan.geometry import ArrayAxis
from mrcdist.planner import Plan, PlanOptions, make_plan
from mrcdist.read.location import Location
from mrcdist.result.axes import axes_dicts
from mrcdist.result.metadata import metadata_dict, original_metadata_dict

__all__ = ["FoundImage", "Images", "find_images", "load_images"]

Images = Literal["auto"] | Sequence[str | os.PathLike[str]] | None

# Of a lazy dataset, larger images stay lazy too. A 1024 × 1024 scan's float32 image is 4 MiB.
_EAGER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class FoundImage:
    """An image beside a movie.

    Attributes
    ----------
    name : str
        What it is called; no two images of a movie are called the same.
    location : Location
    named : bool
        The caller named it, so that it has to be there.
    """

    name: str
    location: Location
    named: bool = False


def find_images(plan: Plan, virtual: Images, external: Images) -> tuple[FoundImage, ...]:
    """Find the images of an acquisition by one listing, virtual ones first.

    Parameters
    ----------
    plan : Plan
    virtual, external : "auto", None or sequence of paths
        The caller's files; "auto" looks beside a movie that has a sidecar; None takes none.

    Raises
    ------
    ArgumentError
        An argument is neither "auto", None nor a sequence of paths.
    """
    found: Sequence[Companion] = ()
    if "auto" in (virtual, external) and plan.sidecar is not None and plan.folder.listing:
        found = find_companions(plan.location.name, plan.folder.listing)
    images: list[FoundImage] = []
    for kind, wanted in (("virtual", virtual), ("external", external)):
        if wanted is None:
            continue
        if isinstance(wanted, str) and wanted == "auto":
            images += [
                FoundImage(image.name, plan.location.sibling(image.file))
                for image in found
                if image.kind == kind
            ]
            continue
        if isinstance(wanted, str | os.PathLike):
            raise ArgumentError(
                f"{kind}_images={os.fspath(wanted)!r}",
                cause="a list of files is needed",
                remedy=f'pass {kind}_images=["..."], "auto" or None',
            )
        if not isinstance(wanted, Sequence):
            raise ArgumentError(
                f"{kind}_images is a {type(wanted).__name__}",
                cause="a list of files is needed",
                remedy=f'pass {kind}_images=["..."], "auto" or None',
            )
        for path in wanted:
            location = Location.of(path, plan.location.storage_options)
            images.append(FoundImage(location.name.rpartition(".")[0], location, named=True))
    return _told_apart(images)


def load_images(
    plan: Plan, images: Sequence[FoundImage], *, lazy: bool
) -> tuple[dict[str, Any], list[str]]:
    """Load the images as HyperSpy's navigators.

    Parameters
    ----------
    plan : Plan
        Of the movie.
    images : sequence of FoundImage
    lazy : bool
        Leave images above 16 MiB to tasks.

    Returns
    -------
    signals : dict
        For ``metadata["_HyperSpy"]``: ``navigators`` with a signal dict ``_sig_<name>`` for every
        image, and ``_sig_navigator``, the first whose shape is the navigation shape. Empty where
        there are no images.
    notes : list of str
        What is odd about the images; which of those that nobody named cannot be read.

    Raises
    ------
    MrcdistError
        An image that the caller named cannot be read.
    """
    notes: list[str] = []
    navigators: dict[str, Any] = {}
    with ThreadPoolExecutor(max_workers=8) as pool:
        loading = [(image, pool.submit(_load, image, plan, lazy=lazy)) for image in images]
    for image, future in loading:
        try:
            navigators[f"_sig_{image.name}"], odd = future.result()
        except MrcdistError as error:
            if image.named:
                raise
            # The server may still be writing it; the movie's own data are none the worse.
            notes.append(f"the image {image.location.name} is left out: {error.problem}")
        else:
            notes += [f"the image {image.location.name}: {note}" for note in odd]
    if not navigators:
        return {}, notes
    shape = plan.layout.navigation_shape
    fits = [signal for signal in navigators.values() if signal["data"].shape == shape]
    return {"navigators": navigators, **({"_sig_navigator": fits[0]} if fits else {})}, notes


def _told_apart(images: Sequence[FoundImage]) -> tuple[FoundImage, ...]:
    """Number the images that are called the same: none may take another's place."""
    often = Counter(image.name for image in images)
    seen: Counter[str] = Counter()
    apart = []
    for image in images:
        seen[image.name] += 1
        number = f" ({seen[image.name]})" if often[image.name] > 1 else ""
        apart.append(replace(image, name=image.name + number))
    return tuple(apart)


def _load(image: FoundImage, plan: Plan, *, lazy: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    own = make_plan([image.location], PlanOptions(metadata_file=None))
    later = lazy and own.layout.nbytes > _EAGER_BYTES
    data: Any = own.to_dask() if later else np.array(own.source[...])
    axes = _scan_axes(own.axes, plan)
    if axes is not None:
        data = data.reshape(tuple(axis.size for axis in axes))
    metadata = metadata_dict(image.location.name)
    metadata["General"]["title"] = image.name
    signal = {
        "data": data,
        "axes": axes_dicts(own.axes if axes is None else axes),
        "metadata": metadata,
        "original_metadata": original_metadata_dict(own.header),
    }
    return signal, own.notes


def _scan_axes(own: Sequence[ArrayAxis], plan: Plan) -> tuple[ArrayAxis, ...] | None:
    """The scan's axes, where the image has a pixel for each of its points or of its (y, x)."""
    navigation = [axis for axis in plan.axes if axis.navigate]
    grid = [axis for axis in navigation if axis.name in ("y", "x")]
    size = int(np.prod([axis.size for axis in own]))
    for axes in (navigation, grid):
        if axes and size == int(np.prod([axis.size for axis in axes])):
            first = len(axes) - 2  # the last two are the image's plane
            return tuple(replace(axis, navigate=i < first) for i, axis in enumerate(axes))
    return None
