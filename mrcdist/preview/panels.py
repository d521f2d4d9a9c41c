"""Named images with axes, ready to be drawn, from the pieces that were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.bright_disk import find_disk
from mrcdist.compute.detectors import Detector, Ring, WholeFrame, adf_ring
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.formatting import format_count, format_position
from mrcdist.plotting import Contrast, frame_contrast
from mrcdist.preview.reading import (
    PixelsRead,
    frames_of_grid,
    magnitude,
    mean_frame,
    mean_on_grid,
)
from mrcdist.preview.sample import ImagesSample, ScanSample, VolumeSample, describe_grid

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Panel:
    """One image of a preview: what it is, in a word or two, and the same with where it is from.

    The `image`, of shape (rows, columns) or (rows, columns, 3), fills `down` times `across` with
    any number of pixels: their sizes are in the file's pixels, as are the `point` (down, across) to
    mark and the `cuts` (down, across) where other planes cut this one. Of the `rings`, virtual
    detectors, the one for the bright field is first. `numbers` says what the values are: of a file
    that does not say, "stored values".
    """

    name: str
    title: str
    image: Array
    down: Axis
    across: Axis
    contrast: Contrast = "linear"
    point: tuple[int, int] | None = None
    cuts: tuple[int, int] | None = None
    rings: tuple[Ring, ...] = ()
    numbers: str = "stored values"


def scan_panels(
    sample: ScanSample,
    pixels: PixelsRead,
    axes: Sequence[Axis],
    plane: Sequence[int],
    image: Panel | None = None,
) -> tuple[Panel, ...]:
    """Make virtual images and patterns of a scan.

    `axes` are those of the whole array, of which `plane` says which are (y, x); `image` is an image
    of the scan that takes the virtual images' place. The panels are "bright field" and "dark field"
    (by the same detectors as ``mrcdist virtual`` takes), "all pixels" where patterns have no bright
    disk, or `image`; "mean pattern"; "one pattern".
    """
    down, across = (axis for axis in axes if not axis.navigate)
    y, x = (axes[i] for i in plane)
    full = range(down.size)
    at = (sample.ys[sample.single[0]], sample.xs[sample.single[1]])
    mean = mean_frame(magnitude(pixels.rows(frame, full)) for frame in sample.patterns)
    single = magnitude(pixels.rows(int(sample.frames[sample.single]), full))
    detectors = _detectors(mean) if image is None else {}
    rings = tuple(detector for detector in detectors.values() if isinstance(detector, Ring))
    counted = f"mean of {format_count(len(sample.patterns), 'frame')}"
    where = f"frame at {format_position(y, at[0])}, {format_position(x, at[1])}"
    counts = "counts per pixel"
    patterns = (
        Panel("mean pattern", counted, mean, down, across, "log", rings=rings, numbers=counts),
        Panel("one pattern", where, single, down, across, "log", numbers=counts),
    )
    if image is not None:
        return (replace(image, point=at), *patterns)
    images = _virtual_images(sample, pixels, detectors, across.size)
    words = describe_grid(sample.ys, sample.xs)
    if sample.band != full:
        words += f", rows {sample.band.start} to {sample.band.stop - 1} of frames"
    step = sample.ys.step if len(sample.ys) > 1 else sample.xs.step
    # A sampled point stands for the square around it; the grid leaves out a little of each rim.
    y, x = replace(y, size=len(sample.ys) * step), replace(x, size=len(sample.xs) * step)
    start = [points[0] - (step - 1) // 2 for points in (sample.ys, sample.xs)]
    point = (at[0] - start[0], at[1] - start[1])
    means = f"mean over the detector, {counts}"
    return (
        *(
            Panel(name, f"virtual {name}, {words}", values, y, x, point=point, numbers=means)
            for name, values in images.items()
        ),
        *patterns,
    )


def _detectors(mean: Array) -> dict[str, Detector]:
    try:
        disk = find_disk(mean)
    except ArgumentError:  # no disk: an image, or a pattern with a beam stop
        return {"all pixels": WholeFrame()}
    try:
        return {"bright field": disk, "dark field": adf_ring(disk, mean.shape)}
    except ArgumentError:
        return {"bright field": disk}


def _virtual_images(
    sample: ScanSample, pixels: PixelsRead, detectors: Mapping[str, Detector], columns: int
) -> dict[str, Array]:
    """Virtual images of the detectors that have pixels in the rows that were read."""
    frames = frames_of_grid(sample, pixels, sample.band)
    masks = {name: of.weights(sample.band, range(columns)) > 0 for name, of in detectors.items()}
    return {
        name: mean_on_grid(frames, mask, sample.frames.shape)
        for name, mask in masks.items()
        if mask.any()
    }


def volume_panels(
    sample: VolumeSample, pixels: PixelsRead, axes: Sequence[Axis]
) -> tuple[Panel, Panel, Panel]:
    """Make the three planes: a section, along its rows, across them.

    `axes` are those of sections, rows and columns. The second plane's height and the third's width
    count sections.
    """
    depth, down, across = axes
    section, row, column = sample.at
    along_row = np.stack([pixels.rows(i, range(row, row + 1))[0] for i in sample.along_row])
    along_column = np.stack(
        [
            np.concatenate([pixels.rows(i, band)[:, column] for band in sample.column_rows])
            for i in sample.along_column
        ],
        axis=1,
    )
    at = {axis.name: position for axis, position in zip(axes, sample.at, strict=True)}
    middle = _lines(pixels, section, sample.section)
    contrast = frame_contrast(axes, middle)

    def panel(image: Array, rows: Axis, columns: Axis, cut: Axis, sparse: str = "") -> Panel:
        name = f"{rows.name}{columns.name}"
        title = f"{name} at {format_position(cut, at[cut.name])}{sparse}"
        cuts = (at[rows.name], at[columns.name])
        return Panel(name, title, image, rows, columns, contrast, cuts=cuts)

    lines = len(sample.column_rows)
    step = f" and {down.size // lines} rows" if lines > 1 else ""
    return (
        panel(middle, down, across, depth),
        panel(along_row, depth, across, down, _sparse_words(sample.along_row, "")),
        panel(along_column, down, depth, across, _sparse_words(sample.along_column, step)),
    )


def _sparse_words(sections: range, rows: str) -> str:
    return f", 1 of {sections.step} sections{rows}" if sections.step > 1 or rows else ""


def image_panels(
    sample: ImagesSample, pixels: PixelsRead, axes: Sequence[Axis]
) -> tuple[Panel, ...]:
    """Make a panel of each frame; of a single complex one magnitude and phase.

    `axes` are those of the whole array. Patterns and complex numbers are logarithmic.
    """
    navigation = [axis for axis in axes if axis.navigate]
    down, across, *components = (axis for axis in axes if not axis.navigate)
    images = [_lines(pixels, frame, sample.bands) for frame in sample.frames]
    first = pixels.rows(sample.frames[0], sample.bands[0])
    contrast: Contrast = (
        "rgb"
        if components
        else "log"
        if first.dtype.kind == "c"
        else frame_contrast(axes, mean_frame(images))
    )
    panels = []
    shape = [axis.size for axis in navigation]
    for image, at in zip(images, sample.positions, strict=True):
        position = np.unravel_index(at, shape) if navigation else ()
        words = ", ".join(
            format_position(axis, int(i)) for axis, i in zip(navigation, position, strict=True)
        )
        panels.append(Panel("frame", words, image, down, across, contrast))
    if len(panels) == 1 and first.dtype.kind == "c":
        # Neighbouring phases have no mean: of a band the first row stands for all.
        rows = [pixels.rows(sample.frames[0], band)[:1] for band in sample.bands]
        phase = np.angle(first if len(sample.bands) == 1 else np.concatenate(rows))
        words = f", {panels[0].title}" if panels[0].title else ""
        magnitudes = replace(panels[0], name="magnitude", title=f"magnitude{words}")
        phases = Panel("phase", f"phase{words}", phase, down, across, "phase", numbers="radians")
        return magnitudes, phases
    return tuple(panels)


def _lines(pixels: PixelsRead, frame: int, chosen: Sequence[range]) -> Array:
    """A frame's rows, or the mean of each of its bands."""
    if len(chosen) == 1:
        return magnitude(pixels.rows(frame, chosen[0]))
    means = [magnitude(pixels.rows(frame, band)).mean(axis=0, dtype=np.float64) for band in chosen]
    image = np.stack(means)
    return image.astype(np.uint8) if image.ndim == 3 else image  # colours
