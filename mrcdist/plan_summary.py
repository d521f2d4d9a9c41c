"""Summary of a plan as labelled lines, for `mrcdist info` and for previews."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
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
# Keys that always need the name of their parent.
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
    name = plan.location.name
    repeated = (name, name.rpartition(".")[0])
    entries = {
        path: value
        for path, value in metadata_items(plan_metadata(plan))
        if path[0] != "General" or value not in repeated
    }
    metadata = _metadata_lines(entries)
    lines += metadata[:max_metadata]
    if max_metadata is not None and len(metadata) > max_metadata:
        lines.append(("", f"and {len(metadata) - max_metadata} more: mrcdist info"))
    lines += [("label", label.strip()) for label in header.labels if label.strip()]
    return lines


def _metadata_lines(entries: Mapping[tuple[str, ...], Any]) -> list[tuple[str, str]]:
    """Return labels and values; a label has as many parents as distinguish it from all others."""
    endings = Counter(path[-n:] for path in entries for n in range(1, len(path) + 1))
    lines = []
    for path, value in entries.items():
        shortest = 2 if path[-1] in _AMBIGUOUS_KEYS else 1
        unique = (n for n in range(shortest, len(path)) if endings[path[-n:]] == 1)
        *parents, key = path[-next(unique, len(path)) :]
        label = " ".join([*map(str.lower, parents), key]).replace("_", " ")
        text = f"{value:.7g}" if isinstance(value, float) else str(value)
        if isinstance(value, list):
            text = format_list(value)
        unit = _UNITS.get(label) or _UNITS.get(path[-1].replace("_", " "), "")
        lines.append((label, f"{text} {unit}".rstrip()))
    return lines
