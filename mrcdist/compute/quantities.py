"""Results of a pass over the frames: the reductions they need, and how these become an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import (
    ArrayFile,
    AutoDisk,
    Detector,
    FrameShape,
    Ring,
    resolve_detector,
)
from mrcdist.compute.reductions import (
    FrameMaximum,
    FrameSquares,
    FrameSum,
    PixelSums,
    RadialSums,
    Reduction,
)
from mrcdist.compute.results import Array, Dataset, Result
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.plotting import frame_contrast
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Note

AnyDetector = Detector | AutoDisk | ArrayFile


class Quantity(Protocol):
    """A result to compute."""

    @property
    def title(self) -> str:
        """Short description."""

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Return the reductions that tasks apply to frames."""

    def finish(self, data: Dataset, *values: Array) -> Result:
        """Return the result, given what each reduction returned for all frames.

        Rows per frame are arranged by position, in an array of shape navigation + row. Other
        reductions are joined over all parts.
        """


@dataclass(frozen=True, eq=False)
class OnDetector:
    """Base class of results on a virtual detector."""

    detector: AnyDetector | str | npt.ArrayLike = "all"
    title: str = ""

    def resolved(self, shape: FrameShape, data: Location) -> Self:
        """Return the same result with a parsed and checked detector; see `resolve_detector`."""
        return replace(self, detector=resolve_detector(self.detector, shape, data))

    def located(self, disk: Ring, shape: FrameShape) -> Self:
        """Return the same result with an `AutoDisk` placed at the bright disk."""
        if not isinstance(self.detector, AutoDisk):
            return self
        return replace(self, detector=self.detector.located(disk, shape))

    def _sums(self, data: Dataset, *, moments: bool) -> PixelSums:
        detector = cast("Detector", self.detector)  # resolved and located by now
        return PixelSums(data.layout.frame_shape, detector, moments=moments)

    def _outside_note(self, data: Dataset) -> tuple[Note, ...]:
        detector = self.detector
        if isinstance(detector, Ring) and detector.reaches_outside(data.layout.frame_shape):
            text = f"{detector} extends beyond the frame: only pixels inside the frame count"
            return (Note("detector-cut-off", text),)
        return ()


@dataclass(frozen=True, eq=False)
class VirtualImage(OnDetector):
    """Intensity on a virtual detector at each navigation position.

    Parameters
    ----------
    detector : str, array_like or Detector, default "all"
        "bf" or "adf" (found in the data), "circle:CY,CX,R" or "annulus:CY,CX,R1,R2" in pixels,
        "all", the path or URL of a ``.npy`` file, or weights (array_like) of shape (rows, columns).
    title : str

    Notes
    -----
    Exact integers (uint64 or int64, depending on the sign) for integer data and integer weights
    from -127 to 127; otherwise float64.
    """

    title: str = "virtual image"

    def located(self, disk: Ring, shape: FrameShape) -> Self:
        """Return the same result, by default with a title for the kind of detector."""
        located = super().located(disk, shape)
        if self.title != VirtualImage.title or not isinstance(self.detector, AutoDisk):
            return located
        return replace(located, title=self.detector.title)

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Return sums over the detector."""
        return (self._sums(data, moments=False),)

    def finish(self, data: Dataset, *values: Array) -> Result:
        """Return the sums, as unsigned integers if none can be negative."""
        image = values[0][..., 0]
        is_nonnegative = cast("Detector", self.detector).is_nonnegative
        if image.dtype == np.int64 and data.layout.dtype.kind == "u" and is_nonnegative:
            image = image.astype(np.uint64)
        return Result(
            self.title,
            image,
            data.navigation_axes,
            label="counts, summed over the detector",
            notes=(*self._outside_note(data), *data.missing_note()),
        )


@dataclass(frozen=True, eq=False)
class CenterOfMass(OnDetector):
    """Centre of mass of each frame on a virtual detector: row and column.

    Parameters
    ----------
    detector : str, array_like or Detector, default "all"
        As for `VirtualImage`.
    title : str

    Notes
    -----
    float64, shape (2,) + navigation; NaN for frames without intensity. In the units of the frame's
    axes if they are calibrated (scale and offset are applied), otherwise in pixels counted from 0.
    """

    title: str = "centre of mass"

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Return sums over the detector, with their first moments."""
        return (self._sums(data, moments=True),)

    def finish(self, data: Dataset, *values: Array) -> Result:
        """Divide the moments by the mass."""
        mass, *moments = np.moveaxis(values[0], -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = [np.where(mass == 0, np.nan, moment / mass) for moment in moments]
        centres = [
            axis.offset + axis.scale * position if axis.units else position
            for axis, position in zip(data.signal_axes, pixels, strict=True)
        ]
        empty = int(np.count_nonzero(mass == 0))
        text = f"positions without intensity on the detector (set to NaN): {empty:,}"
        no_intensity = (Note("intensity-missing", text),) if empty else ()
        return Result(
            self.title,
            np.stack(centres),
            data.navigation_axes,
            names=("y", "x"),
            units=tuple(axis.units or "px" for axis in data.signal_axes),
            contrast="signed",
            notes=(*self._outside_note(data), *no_intensity),
        )


@dataclass(frozen=True, eq=False)
class RadialProfile:
    """Mean intensity on rings around a centre, at each navigation position.

    Ring r contains the pixels whose distance from the centre rounds to r pixels. If the centre lies
    between four pixels, ring 0 is empty and its value NaN.

    Parameters
    ----------
    center : sequence of float, optional
        Row and column in pixels. Default: the central pixel of the frame,
        ``rows // 2, columns // 2``.
    radius : int, optional
        Radius of the last ring. Default: that of the largest ring inside the frame.
    title : str
    """

    center: Sequence[float] | Array | None = None
    radius: int | None = None
    title: str = "radial profile"

    def _bins(self, data: Dataset) -> npt.NDArray[np.int32]:
        """Return the number of the ring of each pixel, -1 outside the last one."""
        rows, columns = data.layout.frame_shape
        cy, cx = (rows // 2, columns // 2) if self.center is None else self.center
        nearest_edge = min(cy, rows - 1 - cy, cx, columns - 1 - cx)
        last = int(max(nearest_edge, 0)) if self.radius is None else self.radius
        distance = np.hypot(np.arange(rows)[:, None] - cy, np.arange(columns) - cx)
        ring = np.floor(distance + 0.5)
        return np.where(ring <= last, ring, -1).astype(np.int32)

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Return sums over rings."""
        if self.center is not None and not (
            np.shape(self.center) == (2,) and np.isfinite(self.center).all()
        ):
            raise ArgumentError(
                f"`center={self.center!r}`",
                code="detector-invalid",
                argument="center",
                cause="a centre consists of two finite numbers",
                remedy="pass its row and column in pixels",
            )
        bins = self._bins(data)
        if bins.max() < 0:
            raise ArgumentError(
                f"`center={self.center}`, `radius={self.radius}`",
                code="detector-empty",
                argument="center",
                cause=f"no ring contains a pixel of a frame of shape {data.layout.frame_shape}",
                remedy="pass row and column of the centre, and the radius of the last ring",
            )
        return (RadialSums(data.layout.frame_shape, bins, int(bins.max()) + 1),)

    def finish(self, data: Dataset, *values: Array) -> Result:
        """Divide the sums by the numbers of pixels."""
        bins = self._bins(data)
        pixels = np.bincount(bins[bins >= 0])
        with np.errstate(divide="ignore", invalid="ignore"):
            rings = values[0] / pixels
        row = data.signal_axes[0]
        axis = Axis("radius", len(pixels), navigate=False, scale=row.scale, units=row.units)
        return Result(
            self.title,
            rings,
            (*data.navigation_axes, axis),
            units=("counts per pixel",),
            contrast="log",
            notes=data.missing_note(),
        )


class _Pattern:
    """Base class of results with the shape of a frame; by default, the sum of all frames."""

    title: str
    _reductions: ClassVar[tuple[type[FrameSum], ...]] = (FrameSum,)
    _needs_frames: ClassVar = True

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        return tuple(reduction(data.layout.frame_shape) for reduction in self._reductions)

    def finish(self, data: Dataset, *values: Array) -> Result:
        if self._needs_frames:
            data.require_frames()
        pattern = self._pattern(len(data.present), *values)
        return Result(
            self.title,
            pattern,
            data.signal_axes,
            units=("counts per pixel",),
            contrast=frame_contrast(data.axes, pattern),
            notes=data.missing_note(self.title),
        )

    def _pattern(self, n_frames: int, *values: Array) -> Array:
        """Combine the values of the reductions of all frames."""
        return values[0]


@dataclass(frozen=True)
class SumPattern(_Pattern):
    """Sum of all frames: exact integers for integer data, otherwise float64."""

    title: str = "sum"
    _needs_frames = False


@dataclass(frozen=True)
class MeanPattern(_Pattern):
    """Mean of all existing frames: their sum, exact for integers, divided by their number."""

    title: str = "mean"

    def _pattern(self, n_frames: int, *values: Array) -> Array:
        return values[0] / n_frames


@dataclass(frozen=True)
class MaximumPattern(_Pattern):
    """Maximum of each pixel over all existing frames, in the dtype of the data."""

    title: str = "maximum"
    _reductions = (FrameMaximum,)


@dataclass(frozen=True)
class StandardDeviation(_Pattern):
    """Standard deviation of each pixel over all existing frames, as `numpy.std`; float64.

    For integer data it is computed from exact sums, so that a small deviation from a large mean
    does not lose precision.
    """

    title: str = "standard deviation"
    _reductions = (FrameSum, FrameSquares)

    def _pattern(self, n_frames: int, *values: Array) -> Array:
        total, squares = values
        if total.dtype.kind in "iu":
            # Σ(x - m)², with m the integer part of the mean, fits into 64 bits; the rest is small.
            total, squares = total.astype(np.int64), squares.astype(np.int64)
            mean, rest = np.divmod(total, n_frames)
            around_mean = squares - mean * mean * n_frames - 2 * mean * rest
            variance = (around_mean - rest * (rest / n_frames)) / n_frames
        else:
            variance = squares / n_frames - (total / n_frames) ** 2
        deviation: Array = np.sqrt(np.maximum(variance, 0))
        return deviation
