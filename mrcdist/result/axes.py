"""The array's axes as RosettaSciIO's dicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrcdist.plan.geometry import ArrayAxis

__all__ = ["axes_dicts"]


def axes_dicts(axes: Sequence[ArrayAxis]) -> list[dict[str, Any]]:
    """Return one dict an axis, in array order: name, units, size, scale, offset, index_in_array, navigate."""
    return [
        {
            "name": axis.name,
            "units": axis.units,
            "size": axis.size,
            "scale": axis.scale,
            "offset": axis.offset,
            "index_in_array": index,
            "navigate": axis.navigate,
        }
        for index, axis in enumerate(axes)
    ]
