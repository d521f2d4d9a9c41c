"""Tilt angles of a series, and the order of its sections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mrcdist.format.axis import Axis
from mrcdist.plan.layout import FrameTable


@dataclass(frozen=True)
class TiltSeries:
    """Tilt angles of sections in degrees, and the section numbers in the file, in array order.

    `source` is "extended header", or the name of a file.
    """

    angles: tuple[float, ...]
    sections: tuple[int, ...]
    source: str

    @classmethod
    def of(cls, angles: Iterable[float], source: str) -> TiltSeries:
        """Return a series from angles in file order."""
        in_degrees = tuple(float(angle) for angle in angles)
        return cls(in_degrees, tuple(range(len(in_degrees))), source)

    def first(self, n_sections: int) -> TiltSeries:
        """Return the series of the first `n_sections` sections."""
        return replace(self, angles=self.angles[:n_sections], sections=self.sections[:n_sections])

    def by_tilt(self) -> TiltSeries:
        """Return the series sorted by angle, lowest first; equal angles stay in order."""
        order = np.argsort(self.angles, kind="stable").tolist()
        return replace(
            self,
            angles=tuple(self.angles[i] for i in order),
            sections=tuple(self.sections[i] for i in order),
        )

    @property
    def table(self) -> FrameTable | None:
        """Section at each position; None if they are in file order."""
        sections = np.array(self.sections, np.int32)
        return None if (np.diff(sections) == 1).all() else sections

    def axis(self) -> Axis:
        """Return the tilt axis: uniform if all angles are even to within a hundredth of a step.

        Otherwise, its `values` are the angles; those of a dose-symmetric or bidirectional series,
        or of a montage, are not monotonic.
        """
        angles = self.angles
        step = (angles[-1] - angles[0]) / max(len(angles) - 1, 1)
        even = angles[0] + np.arange(len(angles)) * step
        axis = Axis("tilt", len(angles), navigate=True, units="deg")
        if step and (np.abs(even - angles) <= abs(step) / 100).all():
            return replace(axis, scale=step, offset=angles[0])
        return replace(axis, values=angles)
