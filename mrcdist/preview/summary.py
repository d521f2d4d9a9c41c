"""Summary of header, extended header and sidecar, in a few lines beside the picture."""

from __future__ import annotations

from typing import Any

from dask.utils import format_bytes

from mrcdist.format.axis import Axis
from mrcdist.format.byte_order import ORDER_NAMES
from mrcdist.formatting import format_list, format_number, format_range, format_shape, format_unit
from mrcdist.interop.rosettasciio import metadata_items, plan_metadata
from mrcdist.read_plan import Plan

__all__ = ["axis_words", "summary_lines"]

_MAX_METADATA = 18

# As HyperSpy's metadata have them.
_UNITS = {
    "beam energy": "keV",
    "camera length": "mm",
    "convergence angle": "mrad",
    "defocus": "nm",
    "dwell time": "s",
    "stage x": "mm",
    "stage y": "mm",
    "stage z": "mm",
    "tilt alpha": "deg",
    "tilt beta": "deg",
}
# Names that say little without that of what they belong to.
_SHORT = ("name", "x", "y", "z")


def summary_lines(plan: Plan) -> list[tuple[str, str]]:
    """Return labels and words: array, how it is stored, axes, instrument, the header's own labels.

    The label is empty where the line belongs to the one before. No secret.
    """
    header = plan.header
    lines = [
        ("array", f"{format_shape(plan.shape)} {plan.dtype}"),
        ("", format_bytes(plan.layout.nbytes)),
        ("stored", f"mode {header.mode}, {ORDER_NAMES[header.byteorder]}"),
    ]
    if len(plan.source.parts) > 1:
        lines.append(("", f"in {len(plan.source.parts)} files"))
    if compression := plan.source.parts[0].compression:
        lines.append(("", f"one {compression} stream"))
    lines += [(axis.name, axis_words(axis)) for axis in plan.axes]
    if plan.question:
        lines.append(("note", plan.question))
    metadata = plan_metadata(plan)
    shown = [
        _metadata_line(path, value)
        for path, value in metadata_items(metadata)
        if path[0] not in ("General", "Signal") or path[-1] in ("date", "time", "notes")
    ]
    lines += shown[:_MAX_METADATA]
    if len(shown) > _MAX_METADATA:
        lines.append(("", f"and {len(shown) - _MAX_METADATA} more: mrcdist info"))
    lines += [("label", label.strip()) for label in header.labels if label.strip()]
    return lines


def axis_words(axis: Axis) -> str:
    """Describe how long an axis is and what a step on it means."""
    if axis.values is not None:
        return f"{axis.size}, {format_range(axis)}"
    if not axis.units:
        return f"{axis.size}" if axis.name == "rgb" else f"{axis.size}, uncalibrated"
    units = format_unit(axis.units)
    start = f" from {format_number(axis.offset)}" if axis.offset else ""
    return f"{axis.size} × {format_number(axis.scale)} {units}{start}"


def _metadata_line(path: tuple[str, ...], value: Any) -> tuple[str, str]:
    *parents, key = path
    name = f"{parents[-1].lower()} {key}" if key in _SHORT else key.replace("_", " ")
    words = f"{value:.6g}" if isinstance(value, float) else str(value)
    if isinstance(value, list):
        words = format_list(value)
    return name, f"{words} {_UNITS.get(name, '')}".rstrip()
