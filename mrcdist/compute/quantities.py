"""Results of a pass over the frames: what tasks compute, and how its parts become an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import (
    ArrayFile,
    AutoDisk,
    Detector,
    FrameShape,
    Ring,
    WholeFrame,
    understand,
)
from mrcdist.compute.reductions import PixelSums, RadialSums, Reduction
from mrcdist.compute.results import Array, Dataset, Result
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis

AnyDetector = Detector | AutoDisk | ArrayFile


class Quantity(Protocol):
    """Something to compute."""

    @property
    def title(self) -> str:
        """Short description."""

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Reductions that tasks apply to frames."""

    def finish(self, data: Dataset, *values: Array) -> Result:
        """Make the result of what each reduction made of all frames.

        Where that is a row per frame, these are in the places of the frames: shape navigation +
        row. Otherwise all parts are joined.
        """


@dataclass(frozen=True, eq=False)
class OnDetector:
    """Base: a result of the pixels of a virtual detector."""

    detector: AnyDetector | str | npt.ArrayLike = "all"
    title: str = ""

    def understood(self, shape: FrameShape) -> Self:
        """Return the same with a detector that is read and checked."""
        return replace(self, detector=understand(self.detector, shape))

    def located(self, disk: Ring | None, shape: FrameShape) -> Self:
        """Return the same with the detector around the disk, or any as long as it is unknown."""
        if not isinstance(self.detector, AutoDisk):
            return self
        return replace(
            self, detector=WholeFrame() if disk is None else self.detector.located(disk, shape)
        )

    def _sums(self, data: Dataset, *, moments: bool) -> PixelSums:
        return PixelSums(data.layout.frame_shape, self._known_detector, moments=moments)

    @property
    def _known_detector(self) -> Detector:
        """The detector, which by now is understood and located."""
        return cast("Detector", self.detector)

    def _outside_note(self, data: Dataset) -> tuple[str, ...]:
        detector = self.detector
        if isinstance(detector, Ring) and detector.reaches_outside(data.layout.frame_shape):
            return (f"{detector} reaches beyond the frame: only the pixels inside count",)
        return ()


@dataclass(frozen=True, eq=False)
class VirtualImage(OnDetector):
    """Intensity on a virtual detector at each navigation position.

    Parameters
    ----------
    detector : str, array_like or Detector, default "all"
        "bf" or "adf" (found in the data), "circle:CY,CX,R" or "annulus:CY,CX,R1,R2" in pixels,
        "all", the name of a ``.npy`` file, or weights (array_like) with the shape of a frame.
    title : str

    Notes
    -----
    Exact integers (uint64 or int64, depending on the sign) for integer data and integer weights
    from -127 to 127; otherwise float64.
    """

    title: str = "virtual image"

    def located(self, disk: Ring | None, shape: FrameShape) -> Self:
        """Return the same, with a title of the kind of detector."""
        found = super().located(disk, shape)
        if self.title != VirtualImage.title or not isinstance(self.detector, AutoDisk):
            return found
        return replace(found, title=self.detector.title)

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Sums over the detector."""
        return (self._sums(data, moments=False),)

    def finish(self, data: Dataset, *values: Array) -> Result:
        """Return the sums, without sign where they have none."""
        image = values[0][..., 0]
        unsigned = data.layout.dtype.kind == "u" and self._known_detector.is_nonnegative
        if image.dtype == np.int64 and unsigned:
            image = image.astype(np.uint64)
        return Result(
            self.title,
            image,
            data.navigation_axes,
            label="counts, summed over the detector",
            notes=(*self._outside_note(data), *data.zeros_note()),
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
        """Sums over the detector, with their first moments."""
        return (self._sums(data, moments=True),)

    def finish(self, data: Dataset, *values: Array) -> Result:
        """Divide the moments by the mass."""
        mass, *moments = np.moveaxis(values[0], -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = [np.where(mass == 0, np.nan, moment / mass) for moment in moments]
        centres = np.stack(
            [
                axis.offset + axis.scale * position if axis.units else position
                for axis, position in zip(data.signal_axes, pixels, strict=True)
            ]
        )
        empty = int(np.count_nonzero(mass == 0))
        note = f"positions without intensity on the detector, which are NaN: {empty:,}"
        return Result(
            self.title,
            centres,
            data.navigation_axes,
            names=("y", "x"),
            units=tuple(axis.units or "px" for axis in data.signal_axes),
            contrast="signed",
            notes=(*self._outside_note(data), *((note,) if empty else ())),
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
        rows, columns = data.layout.frame_shape
        center = (rows // 2, columns // 2) if self.center is None else self.center
        cy, cx = center
        nearest = min(cy, rows - 1 - cy, cx, columns - 1 - cx)
        last = int(max(nearest, 0)) if self.radius is None else self.radius
        distance = np.hypot(np.arange(rows)[:, None] - cy, np.arange(columns) - cx)
        ring = np.floor(distance + 0.5).astype(np.int32)
        return np.where(ring <= last, ring, -1).astype(np.int32)

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Sums over rings."""
        if self.center is not None and not (
            np.shape(self.center) == (2,) and np.isfinite(self.center).all()
        ):
            raise ArgumentError(
                f"center={self.center!r}",
                code="detector-invalid",
                argument="center",
                cause="a centre consists of two finite numbers",
                remedy="give its row and column in pixels",
            )
        bins = self._bins(data)
        if bins.max() < 0:
            raise ArgumentError(
                f"center={self.center}, radius={self.radius}",
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
            notes=data.zeros_note(),
        )
