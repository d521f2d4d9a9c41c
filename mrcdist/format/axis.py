"""One axis of the array, with its calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Names of the navigation axes of a scan, from a sidecar or an extended header, and from the caller.
_SCAN_AXES = (("y", "x"), ("scan_y", "scan_x"))


@dataclass(frozen=True)
class Axis:
    """One axis of the array."""

    name: str  # such as "y" or "kx"
    size: int
    navigate: bool  # navigation (True) or signal axis
    scale: float = 1.0  # in `units`; 1 if uncalibrated
    offset: float = 0.0
    units: str | None = None  # "nm", "nm^-1", "s", "deg"; None if uncalibrated
    values: tuple[float, ...] | None = None  # the positions, if their steps are uneven

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Axis:
        """Convert one of RosettaSciIO's dicts, which has at least the keys "size" and "navigate".

        Other keys may be missing or None, or HyperSpy's "<undefined>".
        """
        name, units = (str(described.get(key) or "") for key in ("name", "units"))
        scale, offset = described.get("scale"), described.get("offset")
        values = described.get("axis")
        return cls(
            "" if "undefined" in name.lower() else name,
            int(described["size"]),
            navigate=bool(described["navigate"]),
            scale=1.0 if scale is None else float(scale),
            offset=0.0 if offset is None else float(offset),
            units=None if "undefined" in units.lower() else units or None,
            values=None if values is None else tuple(map(float, values)),
        )

    @property
    def monotonic(self) -> bool:
        """Whether positions increase or decrease along the whole axis."""
        positions = np.array(self.values or ())
        earlier, later = positions[:-1], positions[1:]
        return bool((later > earlier).all() or (later < earlier).all())

    @property
    def positions(self) -> npt.NDArray[np.float64]:
        """Position of each element along the axis."""
        if self.values is not None:
            return np.array(self.values, np.float64)
        return np.asarray(self.offset + self.scale * np.arange(self.size), np.float64)


def scan_plane(axes: Sequence[Axis]) -> tuple[int, int] | None:
    """Return the indices of a scan's (y, x) among the navigation axes, or None without a scan."""
    names = [axis.name for axis in axes if axis.navigate]
    for y, x in _SCAN_AXES:
        if y in names and x in names:
            return names.index(y), names.index(x)
    return None


def frames_are_patterns(axes: Sequence[Axis]) -> bool:
    """Whether the axes are those of diffraction patterns: reciprocal, or of a scan."""
    return scan_plane(axes) is not None or any(
        axis.name in ("kx", "ky") or (axis.units or "").endswith(("^-1", "rad"))
        for axis in axes
        if not axis.navigate
    )
