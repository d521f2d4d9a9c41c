"""Header, scan and arguments → axes of the array and layout of its frames."""

from __future__ import annotations

import math
from dataclasses import replace

from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.scan import Scan
from mrcdist.format.header import VOLUME_STACKS, Header
from mrcdist.format.pixels import PixelFormat
from mrcdist.plan.layout import Layout
from mrcdist.plan.navigation_shape import RequestedShape
from mrcdist.plan.tilt_series import TiltSeries
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Note, Notes

_COLUMN, _ROW, _SECTION = range(3)


def one_frame(header: Header, pixels: PixelFormat) -> Layout:
    """Return the layout of a single frame."""
    halved = pixels.packed and header.mode % 1000 == 0  # NX counts bytes
    return Layout(pixels, (header.ny, header.nx * 2 if halved else header.nx), (), 1)


def arrange(
    header: Header,
    pixels: PixelFormat,
    frames: MissingFrames,
    notes: Notes,
    *,
    scan: Scan | None,
    pixel_size: tuple[float, float] | None,
    tilts: TiltSeries | None,
    requested: RequestedShape | None,
) -> tuple[Layout, tuple[Axis, ...]]:
    """Return the layout of the frames of a file, and its axes in array order.

    The `requested` shape overrides everything else. Navigation axes of length 1 are dropped, unless
    the caller's shape has no others. `pixel_size`, in nm along (y, x), is used if the header has
    none. Raises if the number of frames does not match the scan or the shape.
    """
    one = one_frame(header, pixels)
    if requested is not None:
        # The frames of a raster are in the order of its axes; those of a custom scan are not.
        scan_axes = () if scan is None or scan.kind == "custom" else scan.navigation
        scan_axes = tuple(axis for axis in scan_axes if axis.size != 1)
        sizes = requested.resolve(frames)
        navigation = _requested_axes(sizes, scan_axes)
        scan_sizes = tuple(axis.size for axis in scan_axes)
        if sizes != scan_sizes and sizes == scan_sizes[::-1]:
            text = (
                f"`navigation_shape={sizes[::-1]}` is used as given, but the shape of the scan is "
                f"{scan_sizes[::-1]}: lengths must be in HyperSpy's order, (x, y), fastest axis "
                "first"
            )
            notes.add(Note("shape-reversed", text))
    else:
        navigation = _default_axes(header, frames, scan, tilts, notes)
        navigation = tuple(axis for axis in navigation if axis.size != 1)
    shape = tuple(axis.size for axis in navigation)
    layout = replace(one, navigation_shape=shape, present=frames.present)
    if requested is not None or scan is None or scan.kind != "custom":
        frames.note_missing(layout.n_frames, notes)
    components = tuple(Axis("rgb", size, navigate=False) for size in pixels.components)
    signal = _signal_axes(header, one.frame_shape, scan, pixel_size)
    return layout, (*navigation, *signal, *components)


def _default_axes(
    header: Header, frames: MissingFrames, scan: Scan | None, tilts: TiltSeries | None, notes: Notes
) -> tuple[Axis, ...]:
    """Return the navigation axes if the caller passes no shape."""
    n_frames = frames.present
    if scan is not None:
        if scan.kind == "raster":
            frames.require_scan(scan)
        elif scan.kind == "movie":
            return (replace(scan.navigation[0], size=n_frames),)
        return scan.navigation
    if tilts is not None and n_frames > 1:
        return (tilts.axis(),)
    if header.ispg in VOLUME_STACKS:
        mz = header.depth
        if mz > 0 and n_frames % mz == 0:
            sections = _header_axis(header, _SECTION, mz, navigate=True)
            return (Axis("volume", n_frames // mz, navigate=True), sections)
        text = (
            f"ISPG = {header.ispg} denotes a volume stack, but MZ = {mz} does not divide "
            f"{n_frames} sections: read as 3-D"
        )
        notes.add(Note("volumes-uneven", text))
    if header.ispg == 0 and header.intervals[2] != header.nz:  # images, not slices of a volume
        return (Axis("xyz"[header.axis_of(_SECTION)], n_frames, navigate=True),)
    return (_header_axis(header, _SECTION, n_frames, navigate=True),)


def _signal_axes(
    header: Header,
    frame_shape: tuple[int, int],
    scan: Scan | None,
    pixel_size: tuple[float, float] | None,
) -> tuple[Axis, ...]:
    if scan is not None:
        axes_and_sizes = zip(scan.signal, frame_shape, strict=True)
        return tuple(replace(axis, size=size) for axis, size in axes_and_sizes)
    axes = tuple(
        _header_axis(header, stored, size, navigate=False)
        for stored, size in zip((_ROW, _COLUMN), frame_shape, strict=True)
    )
    if pixel_size is None:
        return axes
    return tuple(
        axis if axis.units else replace(axis, scale=scale, units="nm")
        for axis, scale in zip(axes, pixel_size, strict=True)
    )


def _header_axis(header: Header, stored: int, size: int, *, navigate: bool) -> Axis:
    """Return an axis calibrated from the header (MRC2014): cell / intervals, Å to nm."""
    axis = Axis("xyz"[header.axis_of(stored)], size, navigate=navigate)
    pixel = header.pixel_size(stored)
    if pixel is None:
        return axis
    return replace(axis, scale=pixel / 10, offset=header.offset(stored) / 10, units="nm")


def _requested_axes(sizes: tuple[int, ...], scan_axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Return navigation axes of the caller's lengths, calibrated by the axes of the scan.

    Starting from the fastest, axes of the same length are the same axis; after the first mismatch,
    equal lengths are a coincidence. If only the lines are longer than those of the scan, frames
    were recorded while the beam flew back.
    """
    axes = [
        Axis(f"scan_{'xy'[i] if i < 2 else i + 1}", size, navigate=True)
        for i, size in enumerate(reversed(sizes))
    ]
    if math.prod(sizes) == math.prod(axis.size for axis in scan_axes):
        for i, axis in enumerate(reversed(scan_axes[-len(axes) :])):
            if axis.size != axes[i].size:
                break
            axes[i] = axis
    elif len(sizes) == len(scan_axes) > 1 and sizes[-1] > scan_axes[-1].size:
        longer = (*scan_axes[:-1], replace(scan_axes[-1], size=sizes[-1]))
        if sizes == tuple(axis.size for axis in longer):
            return longer
    return tuple(reversed(axes))
