"""What was read → named images with axes, ready to be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.bright_disk import find_disk
from mrcdist.compute.detectors import Detector, Everything, Ring, adf_ring
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.plotting import Contrast
from mrcdist.preview.choices import ImagesChoice, ScanChoice, VolumeChoice
from mrcdist.preview.pieces import Band
from mrcdist.preview.reading import Taken, magnitude
from mrcdist.words import position_words

__all__ = ["Panel", "image_panels", "scan_panels", "volume_panels"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Panel:
    """One image of a preview.

    Attributes
    ----------
    name : str
        What it is, in a word or two.
    title : str
        The same with where it is from.
    image : ndarray, shape (rows, columns) or (rows, columns, 3)
        It fills `down` times `across`, however many pixels it has.
    down, across : Axis
        What it covers: sizes in the file's pixels, and their calibration.
    contrast : Contrast
    point : tuple of int, optional
        (down, across) of something to mark, in the file's pixels.
    cuts : tuple of int, optional
        (down, across) where other planes cut this one, in the file's pixels.
    rings : tuple of Ring, optional
        Virtual detectors, the one for the bright field first.
    numbers : str
        What the values are: of a file that does not say, "stored values".
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
    choice: ScanChoice,
    taken: Taken,
    axes: Sequence[Axis],
    plane: Sequence[int],
    image: Panel | None = None,
) -> tuple[Panel, ...]:
    """Make virtual images and patterns of a scan.

    Parameters
    ----------
    choice : ScanChoice
    taken : Taken
    axes : sequence of Axis
        Of the whole array.
    plane : sequence of int
        Which of them are (y, x).
    image : Panel, optional
        An image of the scan that takes the virtual images' place.

    Returns
    -------
    tuple of Panel
        "bright field" and "dark field" (by the same detectors as ``mrcdist virtual`` takes), "all
        pixels" where patterns have no bright disk, or `image`; "mean pattern"; "one pattern".
    """
    down, across = (axis for axis in axes if not axis.navigate)
    full = Band(0, down.size)
    iy, ix = choice.single
    at = (choice.ys[iy], choice.xs[ix])
    mean = _mean(magnitude(taken.rows(frame, full)) for frame in choice.patterns)
    single = magnitude(taken.rows(int(choice.frames[iy, ix]), full))
    counted = "1 frame" if len(choice.patterns) == 1 else f"{len(choice.patterns):,} frames"
    y, x = (axes[i] for i in plane)
    where = f"{position_words(y, at[0])}, {position_words(x, at[1])}"
    detectors = _detectors(mean) if image is None else {}
    rings = tuple(detector for detector in detectors.values() if isinstance(detector, Ring))
    patterns = (
        Panel(
            "mean pattern",
            f"mean of {counted}",
            mean,
            down,
            across,
            "log",
            rings=rings,
            numbers="counts a pixel",
        ),
        Panel(
            "one pattern",
            f"frame at {where}",
            single,
            down,
            across,
            "log",
            numbers="counts a pixel",
        ),
    )
    if image is not None:
        return (replace(image, point=at), *patterns)
    images = _virtual_images(choice, taken, detectors, mean.shape[1])
    step = choice.ys.step if len(choice.ys) > 1 else choice.xs.step
    words = "every point" if step == 1 else f"1 of {step} × {step} points"
    if choice.band != full:
        words += f", rows {choice.band.top} to {choice.band.top + choice.band.rows - 1} of frames"
    down, across = (
        replace(axis, size=len(points) * step) for axis, points in ((y, choice.ys), (x, choice.xs))
    )
    # A sampled point stands for the square around it; the grid leaves out a little of each rim.
    start = [points[0] - (step - 1) // 2 for points in (choice.ys, choice.xs)]
    point = (at[0] - start[0], at[1] - start[1])
    return (
        *(
            Panel(
                name,
                f"virtual {name}, {words}",
                values,
                down,
                across,
                point=point,
                numbers="mean over the detector, counts a pixel",
            )
            for name, values in images.items()
        ),
        *patterns,
    )


def _mean(frames: Iterable[Array]) -> Array:
    total: Any = 0
    count = 0
    for frame in frames:
        total, count = total + frame.astype(np.float64), count + 1
    return np.asarray(total / count)


def _detectors(mean: Array) -> dict[str, Detector]:
    try:
        disk = find_disk(mean)
    except ArgumentError:  # no disk: an image, or a pattern with a beam stop
        return {"all pixels": Everything()}
    try:
        return {"bright field": disk, "dark field": adf_ring(disk, mean.shape)}
    except ArgumentError:
        return {"bright field": disk}


def _virtual_images(
    choice: ScanChoice, taken: Taken, detectors: Mapping[str, Detector], columns: int
) -> dict[str, Array]:
    """Mean over each detector's pixels at every point; NaN where there is no frame."""
    rows = range(choice.band.top, choice.band.top + choice.band.rows)
    masks = {name: of.weights(rows, range(columns)) > 0 for name, of in detectors.items()}
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    images = {name: np.full(choice.frames.shape, np.nan) for name in masks}
    for where, frame in np.ndenumerate(choice.frames):
        if frame < 0:
            continue
        pixels = magnitude(taken.rows(int(frame), choice.band))
        for name, mask in masks.items():
            images[name][where] = pixels[mask].mean(dtype=np.float64)
    return images


def volume_panels(
    choice: VolumeChoice, taken: Taken, axes: Sequence[Axis]
) -> tuple[Panel, Panel, Panel]:
    """Make the three planes: a section, along its rows, across them.

    Parameters
    ----------
    choice : VolumeChoice
    taken : Taken
    axes : sequence of Axis
        (sections, rows, columns).

    Returns
    -------
    tuple of Panel
        The second's height and the third's width count sections.
    """
    depth, down, across = axes
    section, row, column = choice.at
    along_row = np.stack([taken.rows(i, Band(row, 1))[0] for i in choice.along_row])
    along_column = np.stack(
        [
            np.concatenate([taken.rows(i, band)[:, column] for band in choice.column_rows])
            for i in choice.along_column
        ],
        axis=1,
    )
    middle = {axis.name: at for axis, at in zip(axes, choice.at, strict=True)}

    def panel(image: Array, rows: Axis, columns: Axis, words: str) -> Panel:
        name = f"{rows.name}{columns.name}"
        cuts = (middle[rows.name], middle[columns.name])
        return Panel(name, f"{name} at {words}", image, rows, columns, cuts=cuts)

    step = len(choice.column_rows) > 1 and f" and {down.size // len(choice.column_rows)} rows"
    return (
        panel(_lines(taken, section, choice.section), down, across, position_words(depth, section)),
        panel(
            along_row,
            depth,
            across,
            position_words(down, row) + _sparse_words(choice.along_row, ""),
        ),
        panel(
            along_column,
            down,
            depth,
            position_words(across, column) + _sparse_words(choice.along_column, step or ""),
        ),
    )


def _sparse_words(sections: range, rows: str) -> str:
    return f", 1 of {sections.step} sections{rows}" if sections.step > 1 or rows else ""


def image_panels(
    choice: ImagesChoice, taken: Taken, axes: Sequence[Axis], *, reciprocal: bool
) -> tuple[Panel, ...]:
    """Make a panel of each frame; of a single complex one magnitude and phase.

    Parameters
    ----------
    choice : ImagesChoice
    taken : Taken
    axes : sequence of Axis
        Of the whole array.
    reciprocal : bool
        Use logarithmic contrast.
    """
    navigation = [axis for axis in axes if axis.navigate]
    down, across, *components = (axis for axis in axes if not axis.navigate)
    contrast: Contrast = "rgb" if components else "log" if reciprocal else "linear"
    panels = []
    for frame in choice.frames:
        position = np.unravel_index(frame, [axis.size for axis in navigation]) if navigation else ()
        words = ", ".join(
            position_words(axis, int(i)) for axis, i in zip(navigation, position, strict=True)
        )
        lines = _lines(taken, frame, choice.bands)
        panels.append(Panel("frame", words, lines, down, across, contrast))
    first = taken.rows(choice.frames[0], choice.bands[0])
    if len(panels) == 1 and first.dtype.kind == "c":
        # Neighbouring phases have no mean: of a band the first row stands for all.
        rows = [taken.rows(choice.frames[0], band)[:1] for band in choice.bands]
        phase = np.angle(first if len(choice.bands) == 1 else np.concatenate(rows))
        words = panels[0].title
        panels = [
            replace(
                panels[0], name="magnitude", title=", ".join(filter(None, ["magnitude", words]))
            ),
            Panel(
                "phase",
                ", ".join(filter(None, ["phase", words])),
                phase,
                down,
                across,
                "phase",
                numbers="radians",
            ),
        ]
    return tuple(panels)


def _lines(taken: Taken, frame: int, chosen: Sequence[Band]) -> Array:
    """A frame's rows, or the mean of each of its bands."""
    if len(chosen) == 1:
        return magnitude(taken.rows(frame, chosen[0]))
    means = [magnitude(taken.rows(frame, band)).mean(axis=0, dtype=np.float64) for band in chosen]
    image = np.stack(means)
    return image.astype(np.uint8) if image.ndim == 3 else image  # colours
