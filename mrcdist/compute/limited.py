"""The frames that a pass is limited to: a region of the scan, or a range of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.plan.chunks import Chunks
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import chunks_of_selected, select_frames

__all__ = ["Limits", "MaskOfScan"]


@dataclass(frozen=True)
class MaskOfScan:
    """A region in a file that `numpy.save` wrote: a mask, points or numbers."""

    path: str

    def load(self) -> Any:
        """Return the array.

        Raises
        ------
        ArgumentError
            It cannot be read.
        """
        try:
            return np.lib.format.open_memmap(self.path, mode="r")
        except Exception as error:  # noqa: BLE001 whatever is in the file
            raise ArgumentError(
                f"region {self.path} cannot be read",
                code="frames-invalid",
                argument="region",
                cause=str(error),
                remedy="pass a file written by numpy.save that contains a mask over the scan",
            ) from None


@dataclass(frozen=True)
class Limits:
    """What is read: all frames, those of a region, or those of a range.

    Parameters
    ----------
    region : array_like or MaskOfScan, optional
        As for `Plan.frames`.
    frames : slice or array_like, optional
        As for `Plan.frames`.
    """

    region: Any = None
    frames: Any = None

    def apply(
        self, source: MrcSource, axes: tuple[Axis, ...], chunks: Chunks
    ) -> tuple[MrcSource, tuple[Axis, ...], Chunks]:
        """Return source, axes and chunks of the frames that are left, in the order given.

        Raises
        ------
        ArgumentError
            Both are given; there are no such frames, or none at all.
        """
        if self.region is None and self.frames is None:
            return source, axes, chunks
        if self.region is not None and self.frames is not None:
            raise ArgumentError(
                "both region and frames are given",
                code="frames-invalid",
                argument="frames",
                cause="frames could refer to the whole scan or to the region",
                remedy="give {region} or {frames}",
            )
        name = "frames" if self.region is None else "region"
        which = self.frames if self.region is None else self.region
        try:
            if isinstance(which, MaskOfScan):
                which = which.load()
            source, axes = select_frames(source, axes, which)
        except ArgumentError as error:
            error.argument = name
            raise
        if not source.layout.n_frames:
            raise ArgumentError(
                f"{name} selects nothing",
                code="frames-invalid",
                argument=name,
                cause="it is empty, or a mask without a true value",
                remedy=f"select at least one frame, or leave {{{name}}} out",
            )
        return source, axes, chunks_of_selected(source)
