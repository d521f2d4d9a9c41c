"""Images of a preview, each with its axes and labels, from the pixels of a sample."""

from __future__ import annotations

from collections.abc import Sequence
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
    SamplePixels,
    frames_of_grid,
    magnitude,
    mean_frame,
    mean_on_grid,
)
from mrcdist.preview.sample import ImagesSample, ScanSample, VolumeSample, every

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Panel:
    """One image of a preview with its short name, title and axes.

    The `image`, of shape (rows, columns) or (rows, columns, 3), covers the axes `down` and `across`
    with any number of pixels: the sizes of the axes are in pixels of the file, as are the marked
    `point` and the positions `cuts` at which other planes intersect this one, both (down, across).
    The virtual detectors `rings` begin with the bright field. `quantity` labels the colour bar;
    "stored values" if the file does not say what they are.
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
    quantity: str = "stored values"


def scan_panels(
    sample: ScanSample,
    pixels: SamplePixels,
    axes: Sequence[Axis],
    plane: Sequence[int],
    image: Panel | None = None,
) -> tuple[Panel, ...]:
    """Return the virtual images and the patterns of a scan.

    `axes` are the axes of the whole array, and `plane` the positions of (y, x) among them; `image`
    replaces the virtual images. The panels are "bright field" and "dark field",
    with the detectors of ``mrcdist virtual``, or "all pixels" if the patterns have no bright disk,
    or `image`; then "mean pattern" and "one pattern".
    """
    down, across = (axis for axis in axes if not axis.navigate)
    y, x = (axes[i] for i in plane)
    all_rows = range(down.size)
    point = (sample.ys[sample.single[0]], sample.xs[sample.single[1]])
    mean = mean_frame(magnitude(pixels.rows(frame, all_rows)) for frame in sample.patterns)
    single = magnitude(pixels.rows(int(sample.frames[sample.single]), all_rows))
    detectors = _detectors(mean) if image is None else {}
    rings = tuple(detector for detector in detectors.values() if isinstance(detector, Ring))
    mean_title = f"mean of {format_count(len(sample.patterns), 'frame')}"
    title = f"frame at {format_position(y, point[0])}, {format_position(x, point[1])}"
    counts = "counts per pixel"
    patterns = (
        Panel("mean pattern", mean_title, mean, down, across, "log", rings=rings, quantity=counts),
        Panel("one pattern", title, single, down, across, "log", quantity=counts),
    )
    if image is not None:
        return (replace(image, point=point), *patterns)
    step = sample.ys.step
    grid = every(step, "point")
    if sample.band != all_rows:
        grid += f", rows {sample.band.start} to {sample.band.stop - 1} of frames"
    # Each point represents the square around it, so the grid may cover less than the scan.
    y, x = replace(y, size=len(sample.ys) * step), replace(x, size=len(sample.xs) * step)
    first = [points[0] - (step - 1) // 2 for points in (sample.ys, sample.xs)]
    point = (point[0] - first[0], point[1] - first[1])
    quantity = f"mean over the detector, {counts}"

    frames = frames_of_grid(sample, pixels, sample.band)
    panels = []
    for name, detector in detectors.items():
        mask = detector.weights(sample.band, range(across.size)) > 0
        if mask.any():  # the detector may lie outside the band
            virtual = mean_on_grid(frames, mask, sample.frames.shape)
            words = f"virtual {name}, {grid}"
            panels.append(Panel(name, words, virtual, y, x, point=point, quantity=quantity))
    return (*panels, *patterns)


def _detectors(mean: Array) -> dict[str, Detector]:
    try:
        disk = find_disk(mean)
    except ArgumentError:  # no disk: an image, or a pattern with a beam stop
        return {"all pixels": WholeFrame()}
    try:
        return {"bright field": disk, "dark field": adf_ring(disk, mean.shape)}
    except ArgumentError:
        return {"bright field": disk}


def volume_panels(
    sample: VolumeSample, pixels: SamplePixels, axes: Sequence[Axis]
) -> tuple[Panel, Panel, Panel]:
    """Return the three planes: a section, the plane along its rows, the plane across them.

    `axes` are those of sections, rows and columns. The sections are the rows of the second image
    and the columns of the third.
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
    image = _frame_image(pixels, section, sample.section)
    contrast = frame_contrast(axes, image)

    def panel(image: Array, rows: Axis, columns: Axis, cut: Axis, sparsity: str = "") -> Panel:
        name = f"{rows.name}{columns.name}"
        title = f"{name} at {format_position(cut, at[cut.name])}{sparsity}"
        cuts = (at[rows.name], at[columns.name])
        return Panel(name, title, image, rows, columns, contrast, cuts=cuts)

    sparsity = [
        f", {every(sections.step, 'section')}" if sections.step > 1 else ""
        for sections in (sample.along_row, sample.along_column)
    ]
    if (lines := len(sample.column_rows)) > 1:
        sparsity[1] += f", {every(down.size // lines, 'row')}"
    return (
        panel(image, down, across, depth),
        panel(along_row, depth, across, down, sparsity[0]),
        panel(along_column, down, depth, across, sparsity[1]),
    )


def image_panels(
    sample: ImagesSample, pixels: SamplePixels, axes: Sequence[Axis]
) -> tuple[Panel, ...]:
    """Return a panel per frame; for a single complex frame, its magnitude and its phase.

    `axes` are those of the whole array. Patterns and complex images have logarithmic contrast.
    """
    navigation = [axis for axis in axes if axis.navigate]
    down, across, *components = (axis for axis in axes if not axis.navigate)
    images = [_frame_image(pixels, frame, sample.bands) for frame in sample.frames]
    first = pixels.rows(sample.frames[0], sample.bands[0])
    is_complex = first.dtype.kind == "c"
    contrast: Contrast = "rgb" if components else "log"
    if not components and not is_complex:
        contrast = frame_contrast(axes, mean_frame(images))
    panels = []
    shape = [axis.size for axis in navigation]
    for image, position in zip(images, sample.positions, strict=True):
        indices = np.unravel_index(position, shape) if navigation else ()
        title = ", ".join(
            format_position(axis, int(i)) for axis, i in zip(navigation, indices, strict=True)
        )
        panels.append(Panel("frame", title, image, down, across, contrast))
    if len(panels) > 1 or not is_complex:
        return tuple(panels)
    # Phases cannot be averaged: the first row of each band represents it.
    rows = [pixels.rows(sample.frames[0], band)[:1] for band in sample.bands]
    phase = np.angle(first if len(sample.bands) == 1 else np.concatenate(rows))
    title = f", {panels[0].title}" if panels[0].title else ""
    return (
        replace(panels[0], name="magnitude", title=f"magnitude{title}"),
        Panel("phase", f"phase{title}", phase, down, across, "phase", quantity="radians"),
    )


def _frame_image(pixels: SamplePixels, frame: int, bands: Sequence[range]) -> Array:
    """Return the rows of a single band, or the mean row of each of several bands."""
    if len(bands) == 1:
        return magnitude(pixels.rows(frame, bands[0]))
    means = [magnitude(pixels.rows(frame, band)).mean(axis=0, dtype=np.float64) for band in bands]
    image = np.stack(means)
    return image.astype(np.uint8) if image.ndim == 3 else image  # colours
