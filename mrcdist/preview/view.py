"""Views of a file: a scan of patterns, a volume, or images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis, frames_are_patterns, scan_plane
from mrcdist.plan.layout import Layout
from mrcdist.plan.navigation_shape import guess_scan

__all__ = ["VIEW_KINDS", "View", "ViewKind", "choose_view"]

ViewKind = Literal["scan", "volume", "images"]
VIEW_KINDS: tuple[ViewKind, ...] = get_args(ViewKind)

_SPACE = ("x", "y", "z")


@dataclass(frozen=True)
class View:
    """View of a file, and the axes for it.

    Attributes
    ----------
    kind : {"scan", "volume", "images"}
    plane : tuple of int
        Of a scan: the positions of (y, x) among the navigation axes. Of a volume: that of the
        sections' axis. Of images: none.
    """

    kind: ViewKind
    plane: tuple[int, ...]


def choose_view(
    layout: Layout, axes: Sequence[Axis], *, ispg: int, view: ViewKind | None = None
) -> View:
    """Decide how to show a file.

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
    distance while their pixels have a size, and so many that they may be the points of a scan, are
    therefore shown as images: planes across them would be lines.
    """
    navigation = [axis for axis in axes if axis.navigate]
    signal = [axis for axis in axes if not axis.navigate]
    colours = bool(layout.pixels.components)
    # A scan of colour images is no 4D-STEM data.
    plane = None if colours else scan_plane(axes)
    reciprocal = layout.dtype.kind == "c" or (not colours and frames_are_patterns(axes))
    # Neither colours nor what is not in space makes planes that one would cut.
    sections = bool(navigation) and navigation[-1].name in _SPACE
    sections = sections and not reciprocal and not colours
    if view is None:
        measured = sections and (navigation[-1].units is None) == (signal[0].units is None)
        measured = measured and guess_scan(axes) is None
        view = "scan" if plane is not None else "volume" if measured and ispg > 0 else "images"
    elif not {"scan": plane is not None, "volume": sections, "images": True}[view]:
        there = ", ".join(f"{axis.name} ({axis.size})" for axis in axes)
        raise ArgumentError(
            f'view "{view}" of an array with the axes {there}',
            code="view-unsuited",
            argument="view",
            cause="a scan needs navigation axes y and x, a volume sections along x, y or z",
            remedy='use view "images", or pass the scan\'s shape as {navigation_shape}',
        )
    if view == "scan" and plane is not None:
        return View(view, plane)
    return View(view, (len(navigation) - 1,) if view == "volume" else ())
