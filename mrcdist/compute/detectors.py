"""Virtual detectors: a weight for each pixel of a frame, and the ways to specify one."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from mrcdist.discover.files import locate
from mrcdist.errors import ArgumentError, MissingFileError, MrcdistError
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import read_whole
from mrcdist.storage.url import name_of

Weights = npt.NDArray[np.float64]
FrameShape = tuple[int, int]

# Sums of 16-bit pixels with integer weights up to this are exact in float64; see `reductions`.
_LARGEST_EXACT_WEIGHT = 127

# Length of the longest file that is read as a mask: 16,384² pixels of 8 bytes, and a header.
_MAX_BYTES = 2**31 + 2**16

# Inner radius of the annulus ÷ radius of the disk: a blurred disk has bright pixels outside its
# half-maximum.
_ADF_MARGIN = 1.2


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
    """Circle or annulus: the pixels whose distance to the centre is `inner` to `outer`, inclusive.

    In pixels, counted from the centre of the first pixel. A circle if `inner` is 0.
    """

    cy: float
    cx: float
    inner: float
    outer: float

    has_integer_weights = True
    is_nonnegative = True

    def window(self, shape: FrameShape) -> tuple[range, range]:
        """Return the rows and columns inside the outer circle; raise an error if there are none."""
        rows, columns = (
            range(max(math.ceil(c - self.outer), 0), min(math.floor(c + self.outer) + 1, size))
            for c, size in zip((self.cy, self.cx), shape, strict=True)
        )
        if not rows or not columns or not self.weights(rows, columns).any():
            raise ArgumentError(
                f"no pixel is inside {self}",
                code="detector-empty",
                argument="detector",
                cause=f"frames have {shape[0]} rows and {shape[1]} columns",
                remedy="pass row, column and radii in pixels, in this order",
            )
        return rows, columns

    def weights(self, rows: range, columns: range) -> Weights:
        """Return 1 inside and 0 outside."""
        y = np.arange(rows.start, rows.stop) - self.cy
        x = np.arange(columns.start, columns.stop) - self.cx
        distance = y[:, None] ** 2 + x**2
        # Python's ** raises an error if the square overflows.
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
    """Weights from an array, cropped to its non-zero part, which begins at `top` and `left`.

    `digest` is the SHA-256 of the whole array.
    """

    values: npt.NDArray[Any] = field(repr=False)
    top: int
    left: int
    digest: str

    @classmethod
    def of(cls, weights: npt.ArrayLike, shape: FrameShape) -> Mask:
        """Check and crop an array of weights for frames of a shape."""
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
                remedy="pass an array with the shape of a frame, or a file in which numpy.save has "
                "stored one",
            )
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        cropped = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        native = np.ascontiguousarray(mask.astype(mask.dtype.newbyteorder("="), copy=False))
        digest = hashlib.sha256(f"{native.dtype}{native.shape}".encode() + native.tobytes())
        return cls(cropped.copy(), int(rows[0]), int(columns[0]), digest.hexdigest())

    @property
    def has_integer_weights(self) -> bool:
        """Whether all weights are integers from -127 to 127."""
        sizes = np.abs(self.values.astype(np.float64))
        return bool((sizes % 1 == 0).all() and sizes.max() <= _LARGEST_EXACT_WEIGHT)

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
        return f"its shape is {mask.shape}, but frames are {shape}"
    if mask.dtype.kind not in "biuf":
        return f"its dtype is {mask.dtype}"
    if not np.isfinite(mask).all():
        return "it contains NaN or infinite values"
    return "" if mask.any() else "all its pixels are 0"


Detector = WholeFrame | Ring | Mask
"""A weight for each pixel of a frame.

``window(shape)`` returns the rows and columns outside which all weights are 0, ``weights(rows,
columns)`` the weights of part of a frame. If ``has_integer_weights``, sums of integer pixels are
exact; if ``is_nonnegative``, they have no sign.
"""


@dataclass(frozen=True)
class AutoDisk:
    """The bright disk ("bf") or the annulus around it ("adf"), to be located in the data.

    `radius`, that of the bright disk in pixels, overrides the one found in the data.
    """

    kind: Literal["bf", "adf"]
    radius: float | None = None

    def __post_init__(self) -> None:
        if self.radius is not None and not 0 < self.radius < math.inf:
            raise ArgumentError(
                f"`radius={self.radius:g}`",
                code="radius-invalid",
                argument="radius",
                cause="the radius of the bright disk is not a positive number of pixels",
                remedy="pass a positive number, or omit it",
            )

    @property
    def title(self) -> str:
        """Title of its virtual image."""
        return {"bf": "bright field", "adf": "annular dark field"}[self.kind]

    def located(self, disk: Ring, shape: FrameShape) -> Ring:
        """Return the detector for a bright disk found in the data."""
        if self.radius is not None:
            disk = replace(disk, outer=self.radius)
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
            remedy="pass `detector='annulus:CY,CX,R1,R2'`",
        )
    return Ring(disk.cy, disk.cx, inner, outer)


@dataclass(frozen=True)
class ArrayFile:
    """An array in a ``.npy`` file: weights of the pixels of a frame, or a mask over the scan.

    `path` is a path or a URL.
    """

    path: str

    def load(self, argument: Literal["detector", "region"], data: Location) -> npt.NDArray[Any]:
        """Read the array; `argument` is the one that named the file, for errors.

        The storage options of the data apply if it is in the same store.
        """
        location = locate(self.path, data, argument)
        is_detector = argument == "detector"
        cause, remedy = "", "pass a file written by numpy.save, with "
        remedy += "numbers or booleans" if is_detector else "a mask over the scan"
        try:
            content = BytesIO(read_whole(location, _MAX_BYTES))
            return np.lib.format.read_array(content, allow_pickle=False)
        except MrcdistError as error:
            cause = error.cause or error.problem
            # Its remedy for a missing file is for data, which the workers read.
            missing = isinstance(error, MissingFileError)
            remedy = f"check the spelling, or {remedy}" if missing else error.remedy
        except Exception as error:  # noqa: BLE001 any content is possible
            cause = str(error)
        raise ArgumentError(
            f"`{argument}={location.shown}` cannot be read",
            code="detector-invalid" if is_detector else "frames-invalid",
            argument=argument,
            cause=cause,
            remedy=remedy,
        )


def resolve_detector(detector: Any, shape: FrameShape, data: Location) -> Detector | AutoDisk:
    """Return a detector, checked for frames of a shape; an `AutoDisk` still has to be located.

    `data` is the location of the data, some options of which apply to an `ArrayFile`.
    `detector` is a text as for `parse_detector`, weights (array_like), an `ArrayFile`, one of the
    classes above, or an object with their methods ``window`` and ``weights``. An error is raised if
    it covers no pixel of the frame.
    """
    if isinstance(detector, str):
        detector = parse_detector(detector)
    if isinstance(detector, AutoDisk):
        return detector
    try:
        # Not of a subclass, whose weights may depend on more than its fields.
        if type(detector) in (WholeFrame, Ring, Mask):
            detector.window(shape)
            return cast("Detector", detector)
        if isinstance(detector, ArrayFile):
            detector = detector.load("detector", data)
        elif hasattr(detector, "window"):
            rows, columns = detector.window(shape)
            weights = np.zeros(shape)
            weights[rows.start : rows.stop, columns.start : columns.stop] = detector.weights(
                rows, columns
            )
            detector = weights
        return Mask.of(detector, shape)
    except ArgumentError as error:
        error.argument = "detector"
        raise


def parse_detector(
    text: str, radius: float | None = None
) -> WholeFrame | Ring | AutoDisk | ArrayFile:
    """Parse ``bf``, ``adf``, ``all``, ``circle:CY,CX,R``, ``annulus:CY,CX,R1,R2`` or ``*.npy``.

    In pixels, the row of the centre before its column. `radius` is that of the bright disk, for
    ``bf`` and ``adf`` only.
    """
    if text == "bf" or text == "adf":
        return AutoDisk("bf" if text == "bf" else "adf", radius)
    if radius is not None:
        raise ArgumentError(
            f"`radius={radius:g}`",
            code="radius-invalid",
            argument="radius",
            cause="it is the radius of the bright disk in pixels, for bf and adf only",
            remedy="omit it, or use bf or adf",
        )
    if text == "all":
        return WholeFrame()
    if name_of(text).endswith(".npy"):
        return ArrayFile(text)
    kind, _, listed = text.partition(":")
    try:
        numbers = [float(number) for number in listed.split(",")]
    except ValueError:
        numbers = []
    count = {"circle": 3, "annulus": 4}.get(kind)
    if count is None:
        cause = "unknown detector"
    elif len(numbers) != count or not all(map(math.isfinite, numbers)):
        cause = f"{kind} takes {count} numbers"
    else:
        cy, cx, *radii = numbers
        inner, outer = radii if count == 4 else (0.0, radii[0])
        if 0 <= inner < outer:
            return Ring(cy, cx, inner, outer)
        cause = "radii must be positive, and the inner one smaller than the outer one"
    raise ArgumentError(
        f"`detector={text!r}`",
        code="detector-invalid",
        argument="detector",
        cause=cause,
        remedy="pass bf, adf, circle:CY,CX,R or annulus:CY,CX,R1,R2 in pixels, or a mask.npy with "
        "the shape of a frame",
    )
