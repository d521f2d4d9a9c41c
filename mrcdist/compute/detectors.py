"""Virtual detectors: the weight of each pixel of a frame, and which one a caller means."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError

Weights = npt.NDArray[np.float64]
FrameShape = tuple[int, int]

# Sums of 16-bit pixels times integer weights up to this are exact in float64; see `reductions`.
_LARGEST_EXACT_WEIGHT = 127

# A blurred disk still has bright pixels outside its half-maximum.
_ADF_MARGIN = 1.2


class Detector(Protocol):
    """A weight for each pixel of a frame."""

    @property
    def has_integer_weights(self) -> bool:
        """Whether all weights are integers, so that sums of integer pixels are exact."""

    @property
    def is_nonnegative(self) -> bool:
        """Whether no weight is negative."""

    def window(self, shape: FrameShape) -> tuple[range, range]:
        """Return the rows and columns outside of which all weights are 0."""

    def weights(self, rows: range, columns: range) -> Weights:
        """Return the weights of a part of the frame, shape (rows, columns)."""


@dataclass(frozen=True)
class WholeFrame:
    """A detector that covers the whole frame with weight 1."""

    has_integer_weights = True
    is_nonnegative = True

    def window(self, shape: FrameShape) -> tuple[range, range]:
        """Return all rows and columns."""
        return range(shape[0]), range(shape[1])

    def weights(self, rows: range, columns: range) -> Weights:
        """Return ones."""
        return np.ones((len(rows), len(columns)))

    def __str__(self) -> str:
        return "the whole frame"


@dataclass(frozen=True)
class Ring:
    """Circle or annulus: pixels whose centres are at distances from `inner` to `outer`, inclusive.

    All in pixels; the centre of the first pixel is (0, 0). With `inner` 0, a circle.
    """

    cy: float
    cx: float
    inner: float
    outer: float

    has_integer_weights = True
    is_nonnegative = True

    def window(self, shape: FrameShape) -> tuple[range, range]:
        """Return the rows and columns inside the outer circle; an error if no pixel is."""
        rows, columns = (
            range(max(math.ceil(c - self.outer), 0), min(math.floor(c + self.outer) + 1, size))
            for c, size in zip((self.cy, self.cx), shape, strict=True)
        )
        if not rows or not columns or not self.weights(rows, columns).any():
            raise ArgumentError(
                f"no pixel is inside {self}",
                code="detector-empty",
                cause=f"frames have {shape[0]} rows and {shape[1]} columns",
                remedy="pass row, column and radii in pixels, the row before the column",
            )
        return rows, columns

    def weights(self, rows: range, columns: range) -> Weights:
        """Return 1 inside and 0 outside."""
        y = np.arange(rows.start, rows.stop) - self.cy
        x = np.arange(columns.start, columns.stop) - self.cx
        distance = y[:, None] ** 2 + x**2
        # Not **2, which fails for what float cannot hold.
        inside = (distance >= self.inner * self.inner) & (distance <= self.outer * self.outer)
        return inside.astype(np.float64)

    def reaches_outside(self, shape: FrameShape) -> bool:
        """Whether the outer circle extends beyond the frame."""
        return any(
            c - self.outer < -0.5 or c + self.outer > size - 0.5
            for c, size in zip((self.cy, self.cx), shape, strict=True)
        )

    def __str__(self) -> str:
        middle = f"row {self.cy:.6g}, column {self.cx:.6g}"
        if self.inner == 0:
            return f"the circle of radius {self.outer:.6g} px around {middle}"
        return f"the annulus from {self.inner:.6g} to {self.outer:.6g} px around {middle}"


@dataclass(frozen=True, eq=False)
class Mask:
    """Weights from an array, cropped to the part of the frame, from `top` and `left`, with any.

    The digest is the SHA-256 of the whole array.
    """

    values: npt.NDArray[Any] = field(repr=False)
    top: int
    left: int
    digest: str

    @classmethod
    def of(cls, weights: npt.ArrayLike, shape: FrameShape) -> Mask:
        """Return a mask for frames of a shape from an array of weights, checked and cropped."""
        try:
            mask = np.asarray(weights)
            fault = _mask_fault(mask, shape)
        except ValueError as error:  # lists of different lengths
            fault = str(error)
        if fault:
            raise ArgumentError(
                "the mask cannot be used as a detector",
                code="detector-invalid",
                argument="detector",
                cause=fault,
                remedy="pass an array with the rows and columns of a frame, or a file of it that "
                "numpy.save wrote",
            )
        [rows] = np.nonzero(mask.any(axis=1))
        [columns] = np.nonzero(mask.any(axis=0))
        part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        native = np.ascontiguousarray(mask.astype(mask.dtype.newbyteorder("="), copy=False))
        digest = hashlib.sha256(f"{native.dtype}{native.shape}".encode() + native.tobytes())
        return cls(part.copy(), int(rows[0]), int(columns[0]), digest.hexdigest())

    @property
    def has_integer_weights(self) -> bool:
        """Whether all weights are integers from -127 to 127."""
        return bool(
            np.all(self.values == np.rint(self.values))
            and np.abs(self.values.astype(np.float64)).max() <= _LARGEST_EXACT_WEIGHT
        )

    @property
    def is_nonnegative(self) -> bool:
        """Whether no weight is negative."""
        return bool((self.values >= 0).all())

    def window(self, shape: FrameShape) -> tuple[range, range]:
        """Return the rows and columns of the non-zero part."""
        n_rows, n_columns = self.values.shape
        return range(self.top, self.top + n_rows), range(self.left, self.left + n_columns)

    def weights(self, rows: range, columns: range) -> Weights:
        """Return the weights of rows and columns inside the window."""
        return self.values[
            rows.start - self.top : rows.stop - self.top,
            columns.start - self.left : columns.stop - self.left,
        ].astype(np.float64)

    def __str__(self) -> str:
        return f"a mask of {np.count_nonzero(self.values):,} pixels ({self.digest[:12]})"


def _mask_fault(mask: npt.NDArray[Any], shape: FrameShape) -> str:
    if mask.shape != shape:
        return f"its shape is {mask.shape}, frames are {shape}"
    if mask.dtype.kind not in "biuf":
        return f"its dtype is {mask.dtype}"
    if not np.isfinite(mask).all():
        return "it contains values that are not finite"
    return "" if mask.any() else "all its pixels are 0"


@dataclass(frozen=True)
class AutoDisk:
    """The bright disk ("bf") or the annulus around it ("adf"), to be located in the data.

    A radius of the bright disk, in pixels, takes the place of the one found.
    """

    kind: Literal["bf", "adf"]
    radius: float | None = None

    def __post_init__(self) -> None:
        if self.radius is not None and not 0 < self.radius < math.inf:
            raise ArgumentError(
                f"radius={self.radius:g}",
                code="radius-invalid",
                argument="radius",
                cause="it is the radius of the bright disk in pixels",
                remedy="give a positive number, or leave it out",
            )

    @property
    def title(self) -> str:
        """Title of its virtual image."""
        return {"bf": "bright field", "adf": "annular dark field"}[self.kind]

    def located(self, disk: Ring, shape: FrameShape) -> Ring:
        """Return the detector that is meant, where the bright disk is known."""
        radius = disk.outer if self.radius is None else self.radius
        disk = Ring(disk.cy, disk.cx, 0.0, radius)
        return adf_ring(disk, shape) if self.kind == "adf" else disk

    def __str__(self) -> str:
        return self.kind + ("" if self.radius is None else f", radius {self.radius!r}")


def adf_ring(disk: Ring, shape: FrameShape) -> Ring:
    """Return the annulus around a bright disk, from 1.2 times its radius to the nearest edge."""
    inner = _ADF_MARGIN * disk.outer
    outer = min(disk.cy, shape[0] - 1 - disk.cy, disk.cx, shape[1] - 1 - disk.cx) + 0.5
    if inner >= outer:
        raise ArgumentError(
            f"no space for an annulus outside {disk}",
            code="detector-no-room",
            argument="detector",
            cause=f"its inner radius would be {inner:.6g} px, but the frame ends at {outer:.6g} px",
            remedy="pass {detector='annulus:CY,CX,R1,R2'}",
        )
    return Ring(disk.cy, disk.cx, inner, outer)


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file that `numpy.save` wrote: a mask over the frames, or over the scan."""

    path: str

    def load(self, meant: Literal["detector", "region"]) -> npt.NDArray[Any]:
        """Return the array, or raise an error of the argument for which it is meant."""
        is_detector = meant == "detector"
        try:
            return np.asarray(np.lib.format.open_memmap(self.path, mode="r"))
        except Exception as error:  # noqa: BLE001 whatever is in the file
            raise ArgumentError(
                f"{meant} {self.path} cannot be read",
                code="detector-invalid" if is_detector else "frames-invalid",
                argument=meant,
                cause=str(error),
                remedy="pass a file written by numpy.save, with "
                + ("numbers or booleans" if is_detector else "a mask over the scan"),
            ) from None


def understand(wanted: Any, shape: FrameShape) -> Detector | AutoDisk:
    """Return the detector that is meant for frames of a shape, or the disk that is to be found.

    It is given as a text, as for `parse_detector`, as weights (array_like), or by what is returned
    here. An error is raised if it has no pixel in the frame.
    """
    if isinstance(wanted, str):
        wanted = parse_detector(wanted)
    if isinstance(wanted, AutoDisk):
        return wanted
    if isinstance(wanted, ArrayFile):
        return Mask.of(wanted.load("detector"), shape)
    if not hasattr(wanted, "window"):
        return Mask.of(wanted, shape)
    detector: Detector = wanted
    detector.window(shape)  # or there is no pixel in it
    return detector


def parse_detector(
    text: str, radius: float | None = None
) -> WholeFrame | Ring | AutoDisk | ArrayFile:
    """Parse ``bf``, ``adf``, ``all``, ``circle:CY,CX,R``, ``annulus:CY,CX,R1,R2`` or ``*.npy``.

    Rows before columns, in pixels; the radius of the bright disk is for ``bf`` and ``adf`` alone.
    """
    if text == "bf" or text == "adf":
        return AutoDisk("bf" if text == "bf" else "adf", radius)
    if radius is not None:
        raise ArgumentError(
            f"radius={radius:g}",
            code="radius-invalid",
            argument="radius",
            cause="it is the radius of the bright disk in pixels, for bf and adf",
            remedy="leave it out, or use bf or adf",
        )
    if text == "all":
        return WholeFrame()
    if text.endswith(".npy"):
        return ArrayFile(text)
    kind, _, listed = text.partition(":")
    wanted = {"circle": 3, "annulus": 4}.get(kind)
    try:
        numbers = [float(number) for number in listed.split(",")]
    except ValueError:
        numbers = []
    if wanted is None:
        cause = "unknown detector"
    elif len(numbers) != wanted or not all(map(math.isfinite, numbers)):
        cause = f"{kind} takes {wanted} numbers"
    else:
        cy, cx, *radii = numbers
        inner, outer = radii if wanted == 4 else (0.0, radii[0])
        if 0 <= inner < outer:
            return Ring(cy, cx, inner, outer)
        cause = "radii must be positive, and the inner one smaller than the outer one"
    raise ArgumentError(
        f"detector {text!r}",
        code="detector-invalid",
        argument="detector",
        cause=cause,
        remedy="pass bf, adf, circle:CY,CX,R or annulus:CY,CX,R1,R2 in pixels, or a mask.npy with "
        "the shape of a frame",
    )
