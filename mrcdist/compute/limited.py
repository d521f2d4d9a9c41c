"""The frames that a pass is limited to: a region of the scan, or a range of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mrcdist.compute.detectors import ArrayFile
from mrcdist.compute.results import Dataset
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.plan.chunks import Chunks
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import chunks_of_selected, select_frames

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What is read: all frames, those of a region, or those of a range, as for `Plan.frames`.

    A region may also be an `ArrayFile`.
    """

    region: Any = None
    frames: Any = None

    def apply(
        self, source: MrcSource, axes: tuple[Axis, ...], chunks: Chunks
    ) -> tuple[MrcSource, Dataset]:
        """Return the frames that are left, in the order given, and what results depend on."""
        if self.region is not None or self.frames is not None:
            source, axes = self._selected(source, axes)
            chunks = chunks_of_selected(source)
        return source, Dataset(source.layout, axes, chunks, source.table)

    def _selected(
        self, source: MrcSource, axes: tuple[Axis, ...]
    ) -> tuple[MrcSource, tuple[Axis, ...]]:
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
            if isinstance(which, ArrayFile):
                which = which.load()
            source, axes = select_frames(source, axes, which)
        except ArgumentError as error:
            error.code, error.argument = "frames-invalid", name
            raise
        if not source.layout.n_frames:
            raise ArgumentError(
                f"{name} selects nothing",
                code="frames-invalid",
                argument=name,
                cause="it is empty, or a mask without a true value",
                remedy=f"select at least one frame, or leave {{{name}}} out",
            )
        return source, axes
