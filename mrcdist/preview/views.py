"""What a file is to the eye: a scan of patterns, a volume, images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.plan.layout import Layout

__all__ = ["SCAN_AXES", "VIEWS", "Content", "View", "content_of", "is_reciprocal"]

View = Literal["scan", "volume", "images"]
VIEWS: tuple[View, ...] = get_args(View)

# How navigation axes of a scan are called where a sidecar, an extended header or the caller made
# them.
SCAN_AXES = (("y", "x"), ("scan_y", "scan_x"))
_SPACE = ("x", "y", "z")


@dataclass(frozen=True)
class Content:
    """How to look at a file, and the axes to do it by.

    Attributes
    ----------
    view : {"scan", "volume", "images"}
    plane : tuple of int
        Of a scan: the positions of (y, x) among the navigation axes. Of a volume: that of the
        sections' axis. Of images: none.
    reciprocal : bool
        Frames are diffraction patterns or transforms, which want logarithmic contrast.
    """

    view: View
    plane: tuple[int, ...]
    reciprocal: bool


def content_of(
    layout: Layout, axes: Sequence[Axis], *, ispg: int, view: View | None = None
) -> Content:
    """Decide how to look at a file.

    Parameters
    ----------
    layout : Layout
    axes : sequence of Axis
        Of the whole array, in array order.
    ispg : int
        The header's space group: 0 says images, 1 to 230 a volume, 401 to 630 a stack of volumes
        (MRC2014).
    view : {"scan", "volume", "images"}, optional
        The caller's word; it wins.

    Raises
    ------
    ArgumentError
        The file's axes do not allow the view that the caller wants.

    Notes
    -----
    Cameras write stacks of patterns with the space group of a volume. Sections that have no
    distance while their pixels have a size are therefore taken as images.
    """
    navigation = [axis for axis in axes if axis.navigate]
    signal = [axis for axis in axes if not axis.navigate]
    names = [axis.name for axis in navigation]
    reciprocal = any(map(is_reciprocal, signal)) or layout.dtype.kind == "c"

    pair = next((pair for pair in SCAN_AXES if set(pair) <= set(names)), None)
    if layout.pixels.components:
        pair = None
    # Neither colours nor what is not in space makes planes that one would cut.
    sections = bool(names) and names[-1] in _SPACE and pair is None
    sections = sections and not reciprocal and not layout.pixels.components
    if view is None:
        measured = sections and (navigation[-1].units is None) == (signal[0].units is None)
        view = "scan" if pair is not None else "volume" if measured and ispg > 0 else "images"
    elif not {"scan": pair is not None, "volume": sections, "images": True}[view]:
        there = ", ".join(f"{axis.name} ({axis.size})" for axis in axes)
        raise ArgumentError(
            f'view "{view}" of an array with the axes {there}',
            code="view-unsuited",
            argument="view",
            cause="a scan needs navigation axes y and x, a volume sections along x, y or z",
            remedy='use view "images", or give the scan\'s shape with {navigation_shape}',
        )
    if view == "scan" and pair is not None:
        return Content(view, (names.index(pair[0]), names.index(pair[1])), reciprocal=True)
    return Content(view, (len(names) - 1,) if view == "volume" else (), reciprocal)


def is_reciprocal(axis: Axis) -> bool:
    """Whether an axis counts in reciprocal space."""
    return axis.name in ("kx", "ky") or (axis.units or "").endswith("^-1")
