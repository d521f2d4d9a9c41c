"""Summary of a plan as labelled lines, for `mrcdist info` and for previews."""

from __future__ import annotations

from typing import Any

from dask.utils import format_bytes

from mrcdist.format.byte_order import ORDER_NAMES
from mrcdist.formatting import format_list, format_shape, format_steps
from mrcdist.interop.rosettasciio import plan_metadata
from mrcdist.read_plan import Plan
from mrcdist.write.contents import metadata_items

# Units of HyperSpy's metadata.
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
# Entries of "General" that do not merely repeat the name of the file.
_GENERAL = ("date", "time", "time_zone", "notes")
# Keys that need the name of their parent.
_AMBIGUOUS_KEYS = ("name", "x", "y", "z")


def summary_lines(plan: Plan, max_metadata: int | None = None) -> list[tuple[str, str]]:
    """Return labelled lines: array, storage, axes, metadata, labels of the header; no secrets.

    The label is empty if a line belongs to the previous one. At most `max_metadata` entries of the
    metadata are included.
    """
    header = plan.header
    order = ORDER_NAMES[header.byteorder]
    lines = [
        ("array", f"{format_shape(plan.shape)} {plan.dtype}, {format_bytes(plan.layout.nbytes)}"),
        ("stored", f"mode {header.mode}, {order}, data from byte {header.data_offset}"),
    ]
    if len(plan.source.parts) > 1:
        lines.append(("", f"in {len(plan.source.parts)} files"))
    if compression := plan.source.parts[0].compression:
        lines.append(("", f"one {compression} stream"))
    for axis in plan.axes:
        kind = "navigation" if axis.navigate else "signal"
        lines.append((axis.name, f"{axis.size}, {kind}, {format_steps(axis)}"))
    if plan.question:
        lines.append(("note", plan.question))
    metadata = [
        _metadata_line(path, value)
        for path, value in metadata_items(plan_metadata(plan))
        if path[0] != "General" or path[-1] in _GENERAL
    ]
    lines += metadata[:max_metadata]
    if max_metadata is not None and len(metadata) > max_metadata:
        lines.append(("", f"and {len(metadata) - max_metadata} more: mrcdist info"))
    lines += [("label", label.strip()) for label in header.labels if label.strip()]
    return lines


def _metadata_line(path: tuple[str, ...], value: Any) -> tuple[str, str]:
    *parents, key = path
    name = f"{parents[-1].lower()} {key}" if key in _AMBIGUOUS_KEYS else key.replace("_", " ")
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if isinstance(value, list):
        text = format_list(value)
    return name, f"{text} {_UNITS.get(name, '')}".rstrip()
