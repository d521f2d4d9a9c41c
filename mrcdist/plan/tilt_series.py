"""The tilt angles of a series, and the order of its sections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mrcdist.format.axis import Axis
from mrcdist.plan.layout import FrameTable


@dataclass(frozen=True)
class TiltSeries:
    """Tilt angles of sections in degrees, in the order of the array, and their numbers in the file.

    Their source is "extended header", or the name of a file.
    """

    angles: tuple[float, ...]
    sections: tuple[int, ...]
    source: str

    @classmethod
    def of(cls, angles: Iterable[float], source: str) -> TiltSeries:
        """Take angles in the order of the file's sections."""
        in_degrees = tuple(float(angle) for angle in angles)
        return cls(in_degrees, tuple(range(len(in_degrees))), source)

    def first(self, n_sections: int) -> TiltSeries:
        """Return the angles of the first sections."""
        return replace(self, angles=self.angles[:n_sections], sections=self.sections[:n_sections])

    def by_tilt(self) -> TiltSeries:
        """Return the sections from the lowest angle to the highest; equal ones stay in order."""
        order = np.argsort(self.angles, kind="stable").tolist()
        return replace(
            self,
            angles=tuple(self.angles[i] for i in order),
            sections=tuple(self.sections[i] for i in order),
        )

    @property
    def table(self) -> FrameTable | None:
        """The section at each position; None where they are in the order of the file."""
        in_order = all(later == earlier + 1 for earlier, later in pairwise(self.sections))
        return None if in_order else np.array(self.sections, np.int32)

    def axis(self) -> Axis:
        """Return a uniform axis where the angles are, to a hundredth of a step; else positions.

        Positions of a dose-symmetric or bidirectional series, or of a montage, are not monotonic.
        """
        angles = self.angles
        step = (angles[-1] - angles[0]) / max(len(angles) - 1, 1)
        even = all(
            abs(angles[0] + i * step - angle) <= abs(step) / 100 for i, angle in enumerate(angles)
        )
        axis = Axis("tilt", len(angles), navigate=True, units="deg")
        if even and step:
            return replace(axis, scale=step, offset=angles[0])
        return replace(axis, values=angles)
