"""The array's axes as RosettaSciIO's dicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcdist.format.axis import Axis

__all__ = ["axes_dicts"]


def axes_dicts(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return one dict an axis, in array order.

    Each has name, units, size, index_in_array, navigate; and scale and offset, or ``axis``, the
    positions themselves, where their steps are uneven.
    """
    return [
        {
            "name": axis.name,
            "units": axis.units,
            "size": axis.size,
            **_positions(axis),
            "index_in_array": index,
            "navigate": axis.navigate,
        }
        for index, axis in enumerate(axes)
    ]


def _positions(axis: Axis) -> dict[str, Any]:
    if axis.values is not None:
        return {"axis": np.array(axis.values)}
    return {"scale": axis.scale, "offset": axis.offset}
