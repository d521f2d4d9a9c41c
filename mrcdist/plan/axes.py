"""Header, scan and arguments → axes of the array and layout of its frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.scan import Scan
from mrcdist.format.header import VOLUME_STACKS, Header
from mrcdist.format.pixels import PixelFormat
from mrcdist.plan.layout import Layout
from mrcdist.plan.navigation_shape import resolve_shape
from mrcdist.plan.tilt_series import TiltSeries
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Notes

__all__ = ["AuxiliaryData", "arrange", "one_frame"]

_CELL_NAMES = ("x", "y", "z")
_COLUMN, _ROW, _SECTION = range(3)


@dataclass(frozen=True)
class AuxiliaryData:
    """Information about the axes from sources other than the main header.

    Attributes
    ----------
    scan : Scan, optional
        From a Direct Electron sidecar.
    scan_shape, scan_step : tuple, optional
        Points and step (nm) along (y, x), from an extended header whose scan has one point per
        announced section.
    pixel_size : tuple of float, optional
        In nm along (y, x), from an extended header.
    tilts : TiltSeries, optional
        Of the sections that are present.
    """

    scan: Scan | None = None
    scan_shape: tuple[int, int] | None = None
    scan_step: tuple[float, float] | None = None
    pixel_size: tuple[float, float] | None = None
    tilts: TiltSeries | None = None


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
    auxiliary: AuxiliaryData,
    navigation_shape: Sequence[int] | None,
) -> tuple[Layout, tuple[Axis, ...]]:
    """Return the layout of the frames of a file, and its navigation and signal axes.

    Parameters
    ----------
    header : Header
    pixels : PixelFormat
    frames : MissingFrames
    notes : Notes
    auxiliary : AuxiliaryData
    navigation_shape : sequence of int or None
        In HyperSpy's order (x, y, ...), with at most one -1. Overrides everything else.

    Returns
    -------
    layout : Layout
    axes : tuple of Axis
        In array order; without navigation axes of length 1, unless the caller asks for no others.

    Raises
    ------
    SidecarError, ArgumentError
        The number of frames does not match the scan or the navigation shape.
    """
    scan = auxiliary.scan
    one = one_frame(header, pixels)
    if navigation_shape is not None:
        sizes = resolve_shape(navigation_shape, frames)
        navigation = _asked_for(sizes, _scan_axes(auxiliary))
        notes.add(*_other_way_round(sizes, _scan_axes(auxiliary)))
    else:
        navigation = _found(header, frames, auxiliary, notes)
        navigation = tuple(axis for axis in navigation if axis.size != 1)
    layout = replace(
        one,
        navigation_shape=tuple(axis.size for axis in navigation),
        present=frames.present,
    )
    if not (scan is not None and scan.kind == "custom" and navigation_shape is None):
        frames.note_empty(layout.n_frames, notes)
    components = tuple(Axis("rgb", size, navigate=False) for size in pixels.components)
    signal = _signal_axes(header, one.frame_shape, auxiliary)
    return layout, (*navigation, *signal, *components)


def _found(
    header: Header, frames: MissingFrames, auxiliary: AuxiliaryData, notes: Notes
) -> tuple[Axis, ...]:
    """Return the navigation axes where the caller gives no shape."""
    scan = auxiliary.scan
    if scan is not None and scan.kind == "custom":  # its table maps points to frames
        return scan.navigation
    if scan is not None and scan.kind == "raster":
        frames.require_scan(scan)
        return _scan_axes(auxiliary)
    if scan is None and auxiliary.scan_shape is not None:
        return _scan_axes(auxiliary)
    return _sections(header, frames.present, auxiliary, notes)


def _scan_axes(auxiliary: AuxiliaryData) -> tuple[Axis, ...]:
    """Return the axes of the scan in recording order, from sidecar or extended header, if any."""
    if auxiliary.scan is not None:
        return () if auxiliary.scan.kind == "custom" else auxiliary.scan.navigation
    steps = auxiliary.scan_step or (None, None)
    return tuple(
        _calibrated(Axis(name, size, navigate=True), step)
        for name, size, step in zip("yx", auxiliary.scan_shape or (), steps, strict=False)
    )


def _sections(
    header: Header, n_frames: int, auxiliary: AuxiliaryData, notes: Notes
) -> tuple[Axis, ...]:
    """Return the navigation axes if given by neither caller nor scan: those of the sections."""
    if auxiliary.scan is not None:  # a movie: its time axis
        [time] = auxiliary.scan.navigation
        return (replace(time, size=n_frames),)
    if auxiliary.tilts is not None and n_frames > 1:
        return (auxiliary.tilts.axis(),)
    if header.ispg in VOLUME_STACKS:
        mz = header.depth
        if mz > 0 and n_frames % mz == 0:
            sections = _header_axis(header, _SECTION, mz, navigate=True)
            return (Axis("volume", n_frames // mz, navigate=True), sections)
        notes.add(
            f"ISPG = {header.ispg} denotes a volume stack, but MZ = {mz} does not divide "
            f"{n_frames} sections: read as 3-D"
        )
        return (_header_axis(header, _SECTION, n_frames, navigate=True),)
    if header.ispg == 0 and header.intervals[2] != header.nz:  # images, not slices of a volume
        name = _CELL_NAMES[header.axis_of(_SECTION)]
        return (Axis(name, n_frames, navigate=True),)
    return (_header_axis(header, _SECTION, n_frames, navigate=True),)


def _signal_axes(
    header: Header, frame_shape: tuple[int, int], auxiliary: AuxiliaryData
) -> tuple[Axis, ...]:
    if auxiliary.scan is not None:
        return tuple(
            replace(axis, size=size)
            for axis, size in zip(auxiliary.scan.signal, frame_shape, strict=True)
        )
    if auxiliary.scan_shape is not None:  # the pixel size in the header is that of the scan
        return tuple(
            Axis(name, size, navigate=False)
            for name, size in zip(("ky", "kx"), frame_shape, strict=True)
        )
    axes = [
        _header_axis(header, stored, size, navigate=False)
        for stored, size in zip((_ROW, _COLUMN), frame_shape, strict=True)
    ]
    sizes = auxiliary.pixel_size or (None, None)
    return tuple(
        axis if axis.units else _calibrated(axis, size)
        for axis, size in zip(axes, sizes, strict=True)
    )


def _calibrated(axis: Axis, scale: float | None) -> Axis:
    return axis if scale is None else replace(axis, scale=scale, units="nm")


def _header_axis(header: Header, stored: int, size: int, *, navigate: bool) -> Axis:
    """Return an axis calibrated from the header (MRC2014): cell / intervals, Å to nm."""
    axis = Axis(_CELL_NAMES[header.axis_of(stored)], size, navigate=navigate)
    pixel = header.pixel_size(stored)
    if pixel is None:
        return axis
    return replace(axis, scale=pixel / 10, offset=header.offset(stored) / 10, units="nm")


def _other_way_round(sizes: tuple[int, ...], known: tuple[Axis, ...]) -> list[str]:
    """Return a note if the caller gave the shape of the scan in reverse order."""
    own = tuple(axis.size for axis in known if axis.size != 1)
    if sizes == own or sizes != own[::-1]:
        return []
    return [
        f"navigation_shape={sizes[::-1]} is used as given, but the shape of the scan is "
        f"{own[::-1]}: lengths must be in HyperSpy's order, (x, y), fastest axis first"
    ]


def _asked_for(sizes: tuple[int, ...], known: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Return navigation axes of the caller's lengths, calibrated as far as they are known.

    Frames are in the order of the known axes, fastest last. Starting from the fastest, an axis of
    the same length is the same axis; after the first mismatch, equal lengths are a coincidence. If
    only the lines are longer than known, frames were recorded while the beam flew back.
    """
    axes = [
        Axis(f"scan_{'xy'[i] if i < 2 else i + 1}", size, navigate=True)
        for i, size in enumerate(reversed(sizes))
    ]
    known = tuple(axis for axis in known if axis.size != 1)
    if math.prod(sizes) == math.prod(axis.size for axis in known):
        for i, axis in enumerate(reversed(known[-len(axes) :])):
            if axis.size != axes[i].size:
                break
            axes[i] = axis
    elif len(sizes) == len(known) > 1 and sizes[-1] > known[-1].size:
        longer = (*known[:-1], replace(known[-1], size=sizes[-1]))
        if sizes == tuple(axis.size for axis in longer):
            return longer
    return tuple(reversed(axes))
