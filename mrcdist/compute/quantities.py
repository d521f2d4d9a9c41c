"""Results of a pass over the frames: what tasks compute, and how its parts become an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import AutoDisk, Detector, Ring, WholeFrame
from mrcdist.compute.reductions import (
    PixelSums,
    RadialSums,
)
from mrcdist.compute.results import Array, Dataset, PartLoader, Result
from mrcdist.compute.schedule import Part
from mrcdist.compute.tiles import Reduction
from mrcdist.compute.wanted_detector import MaskFile, understand
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis

__all__ = [
    "CenterOfMass",
    "OnDetector",
    "Quantity",
    "RadialProfile",
    "VirtualImage",
]

AnyDetector = Detector | AutoDisk | MaskFile


class Quantity(Protocol):
    """Something to compute."""

    @property
    def title(self) -> str:
        """Short description."""

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Reductions that tasks apply to frames."""

    def finish(
        self, data: Dataset, parts: tuple[Part, ...], loads: tuple[PartLoader, ...]
    ) -> Result:
        """Make the result of the values of all parts; a loader for each reduction gives one's."""


@dataclass(frozen=True, eq=False)
class OnDetector:
    """Base: a result of the pixels of a virtual detector."""

    detector: AnyDetector | str | npt.ArrayLike = "all"
    title: str = ""

    def understood(self, data: Dataset) -> Self:
        """Return the same with a detector that is read and checked."""
        return replace(self, detector=understand(self.detector, data.layout.frame_shape))

    @property
    def needs_disk(self) -> bool:
        """Whether the bright disk has to be found first, once the detector is understood."""
        return isinstance(self.detector, AutoDisk)

    def located(self, disk: Ring | None, data: Dataset) -> Self:
        """Return the same with the detector around the disk, or any as long as it is unknown."""
        if not isinstance(self.detector, AutoDisk):
            return self
        shape = data.layout.frame_shape
        return replace(
            self, detector=WholeFrame() if disk is None else self.detector.located(disk, shape)
        )

    def _detector(self, data: Dataset) -> Detector:
        found = understand(self.detector, data.layout.frame_shape)
        if isinstance(found, AutoDisk):
            raise TypeError(f"{found} has to be found in the data first")
        return found

    def _sums(self, data: Dataset, *, moments: bool) -> PixelSums:
        detector = self._detector(data)
        return PixelSums(detector, detector.window(data.layout.frame_shape), moments=moments)


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

    def located(self, disk: Ring | None, data: Dataset) -> Self:
        """Return the same, with a title of the kind of detector."""
        found = super().located(disk, data)
        if disk is None or self.title != VirtualImage.title:
            return found
        return replace(found, title=getattr(self.detector, "title", self.title))

    def reductions(self, data: Dataset) -> tuple[Reduction, ...]:
        """Sums over the detector."""
        return (self._sums(data, moments=False),)

    def finish(
        self, data: Dataset, parts: tuple[Part, ...], loads: tuple[PartLoader, ...]
    ) -> Result:
        """Place the sums."""
        image = data.maps(parts, loads[0])[..., 0]
        detector = self._detector(data)
        if image.dtype == np.int64 and data.layout.dtype.kind == "u" and detector.is_nonnegative:
            image = image.astype(np.uint64)
        return Result(
            self.title,
            image,
            data.navigation_axes,
            label="counts, summed over the detector",
            notes=(*_outside_note(detector, data), *data.zeros_note()),
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

    def finish(
        self, data: Dataset, parts: tuple[Part, ...], loads: tuple[PartLoader, ...]
    ) -> Result:
        """Divide the moments by the mass."""
        mass, *moments = np.moveaxis(data.maps(parts, loads[0]), -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = [np.where(mass == 0, np.nan, moment / mass) for moment in moments]
        values = np.stack(
            [
                axis.offset + axis.scale * position if axis.units else position
                for axis, position in zip(data.signal_axes, pixels, strict=True)
            ]
        )
        outside = _outside_note(self._detector(data), data)
        empty = int(np.count_nonzero(mass == 0))
        note = f"positions without intensity on the detector, which are NaN: {empty:,}"
        return Result(
            self.title,
            values,
            data.navigation_axes,
            names=("y", "x"),
            units=tuple(axis.units or "px" for axis in data.signal_axes),
            contrast="signed",
            notes=(*outside, *((note,) if empty else ())),
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
        return (RadialSums(bins, int(bins.max()) + 1),)

    def finish(
        self, data: Dataset, parts: tuple[Part, ...], loads: tuple[PartLoader, ...]
    ) -> Result:
        """Divide the sums by the numbers of pixels."""
        bins = self._bins(data)
        pixels = np.bincount(bins[bins >= 0])
        with np.errstate(divide="ignore", invalid="ignore"):
            rings = data.maps(parts, loads[0]) / pixels
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


def _outside_note(detector: Detector, data: Dataset) -> tuple[str, ...]:
    if isinstance(detector, Ring) and detector.reaches_outside(data.layout.frame_shape):
        return (f"{detector} reaches beyond the frame: only the pixels inside count",)
    return ()
