"""HTML summary of a plan for notebooks; showing it reads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape

import dask.array as da
from dask.utils import format_bytes

from mrcdist.cluster_memory import PYTHON_MEMORY
from mrcdist.explain import PlanReport
from mrcdist.format.axis import Axis
from mrcdist.formatting import format_count, format_number, format_range, format_shape, format_unit

_PICTURE = 110  # pixels of the chunk picture's longest side

# Colours follow the notebook's text, so that they suit a light and a dark one. dask's picture has
# black lines in a style of its own, which only "!important" overrides.
_STYLE = """<style>
.mrcdist-plan {font-size: 0.9em; line-height: 1.45; max-width: 84em}
.mrcdist-plan .columns {display: flex; flex-wrap: wrap; gap: 0.6em 2.5em; align-items: flex-start}
.mrcdist-plan table {border-collapse: collapse; margin: 0.3em 0; color: inherit}
.mrcdist-plan th, .mrcdist-plan td {text-align: left; padding: 0.1em 1.1em 0.1em 0;
  vertical-align: top; border: none; background: none; color: inherit}
.mrcdist-plan tr {background: none !important}
.mrcdist-plan th {font-weight: 600; opacity: 0.75}
.mrcdist-plan .axes thead th {border-bottom: 1px solid rgba(128, 128, 128, 0.5)}
.mrcdist-plan .n {text-align: right; font-variant-numeric: tabular-nums}
.mrcdist-plan .url {opacity: 0.75; overflow-wrap: anywhere}
.mrcdist-plan .note {border-left: 3px solid #e0a100; padding-left: 0.6em; margin: 0.3em 0}
.mrcdist-plan svg {stroke: currentColor !important; overflow: visible}
.mrcdist-plan svg text {fill: currentColor; stroke: none}
</style>"""


def plan_html(
    name: str,
    array: da.Array,
    axes: Sequence[Axis],
    cost: PlanReport,
    *,
    found: Mapping[str, str],
    notes: Sequence[str],
) -> str:
    """Return a plan as HTML, in which all text is escaped.

    The chunks of the array are drawn. `found` are more rows of the table: what was found in the
    file and in its folder.
    """
    left = "".join((_facts(cost, found), _axes(axes)))
    picture = ""
    with suppress(NotImplementedError):  # dask draws no array without elements
        picture = array.to_svg(size=_PICTURE)
    return "".join(
        (
            f'<div class="mrcdist-plan">{_STYLE}',
            f"<div><strong>{escape(name)}</strong></div>",
            f'<div class="url">{escape(cost.url)}</div>',
            f'<div class="columns"><div>{left}</div><div>{picture}</div></div>',
            *(f'<div class="note">{escape(note)}</div>' for note in (*notes, *cost.remarks)),
            "</div>",
        )
    )


def _facts(cost: PlanReport, found: Mapping[str, str]) -> str:
    reading = format_count(cost.requests, "request") if cost.requests else "mapped from disk"
    rows = {
        "array": f"{format_shape(cost.shape)} {cost.dtype}, {format_bytes(cost.total_bytes)}",
        "chunks": f"{format_shape(cost.chunk_shape)}, a grid of {format_shape(cost.chunk_grid)}",
        "reading": (
            f"{format_count(cost.tasks, 'task')}; each {format_bytes(cost.task_bytes)} "
            f"from {format_bytes(cost.fetched_bytes)} of file, {reading}"
        ),
        "memory": f"{format_bytes(cost.worker_memory)} per worker thread, "
        f"plus about {PYTHON_MEMORY >> 20} MiB for Python",
        **found,
    }
    cells = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())
    return f"<table>{cells}</table>"


def _axes(axes: Sequence[Axis]) -> str:
    numbers = "".join(f'<th class="n">{name}</th>' for name in ("size", "step", "from"))
    body = []
    for axis in axes:
        units = format_unit(axis.units or "")
        if axis.values is not None:
            step, start = "uneven", format_range(axis)
        elif axis.units:
            step, start = (f"{format_number(value)} {units}" for value in (axis.scale, axis.offset))
        else:
            step = start = "–"
        kind = "navigation" if axis.navigate else "signal"
        cells = f"<td>{escape(axis.name)}</td>" + "".join(
            f'<td class="n">{escape(text)}</td>' for text in (str(axis.size), step, start)
        )
        body.append(f"<tr>{cells}<td>{kind}</td></tr>")
    head = f"<tr><th>axis</th>{numbers}<th>kind</th></tr>"
    return f'<table class="axes"><thead>{head}</thead><tbody>{"".join(body)}</tbody></table>'
