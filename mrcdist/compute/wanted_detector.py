"""The detector that a caller means: by a text, an array, a file, or one of `detectors`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.detectors import AutoDisk, Detector, FrameShape, Mask, Ring, WholeFrame
from mrcdist.errors import ArgumentError

__all__ = ["MaskFile", "WantedDetector", "parse_detector", "understand"]

_REMEDY = (
    "pass bf, adf, circle:CY,CX,R or annulus:CY,CX,R1,R2 in pixels, or a mask.npy with the shape "
    "of a frame"
)


@dataclass(frozen=True)
class MaskFile:
    """A mask to be loaded from a file."""

    path: str


def understand(wanted: Any, shape: FrameShape) -> Detector | AutoDisk:
    """Return the detector that is meant for frames of a shape, or the disk that is to be found.

    Parameters
    ----------
    wanted : str, array_like, Detector, AutoDisk or MaskFile
        A text as for `parse_detector`, or weights.
    shape : tuple of int

    Raises
    ------
    ArgumentError
        It has no pixel in the frame, or cannot be understood.
    """
    if isinstance(wanted, str):
        wanted = parse_detector(wanted)
    if isinstance(wanted, AutoDisk):
        return wanted
    if isinstance(wanted, MaskFile):
        return Mask.of(_load(wanted.path), shape)
    if not hasattr(wanted, "window"):
        return Mask.of(_array(wanted), shape)
    detector: Detector = wanted
    detector.window(shape)  # or there is no pixel in it
    return detector


def _load(path: str) -> npt.NDArray[Any]:
    """Load a mask that `numpy.save` wrote."""
    try:
        mask = np.load(path, allow_pickle=False)
        if not isinstance(mask, np.ndarray):
            raise ValueError("it is an archive of arrays")
    except Exception as error:  # noqa: BLE001 whatever is in the file
        raise ArgumentError(
            f"detector {path} cannot be read",
            code="detector-invalid",
            argument="detector",
            cause=str(error),
            remedy="pass a file written by numpy.save, with numbers or booleans",
        ) from None
    return mask


def _array(wanted: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        return np.asarray(wanted)
    except ValueError as error:  # lists of different lengths
        raise ArgumentError(
            "the mask cannot be used as a detector",
            code="detector-invalid",
            argument="detector",
            cause=str(error),
            remedy="pass an array with the shape of a frame",
        ) from None


WantedDetector = WholeFrame | Ring | AutoDisk | MaskFile


def parse_detector(text: str, radius: float | None = None) -> WantedDetector:
    """Parse ``bf``, ``adf``, ``all``, ``circle:CY,CX,R``, ``annulus:CY,CX,R1,R2`` or ``*.npy``.

    Parameters
    ----------
    text : str
        Rows before columns, in pixels.
    radius : float, optional
        Of the bright disk, for ``bf`` and ``adf`` alone.

    Raises
    ------
    ArgumentError
        The text is none of these, or the radii are invalid.
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
        return MaskFile(text)
    kind, _, listed = text.partition(":")
    wanted = {"circle": 3, "annulus": 4}.get(kind)
    try:
        numbers = [float(number) for number in listed.split(",")]
    except ValueError:
        numbers = []
    if wanted is None or len(numbers) != wanted or not all(map(math.isfinite, numbers)):
        raise ArgumentError(
            f"detector {text!r}",
            code="detector-invalid",
            argument="detector",
            cause="unknown detector" if wanted is None else f"{kind} takes {wanted} numbers",
            remedy=_REMEDY,
        )
    cy, cx, *radii = numbers
    inner, outer = radii if wanted == 4 else (0.0, radii[0])
    if not 0 <= inner < outer:
        raise ArgumentError(
            f"detector {text!r}",
            code="detector-invalid",
            argument="detector",
            cause="radii must be positive, and the inner one smaller than the outer one",
            remedy=_REMEDY,
        )
    return Ring(cy, cx, inner, outer)
