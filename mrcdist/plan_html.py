"""HTML summary of a plan for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape

import dask.array as da

from mrcdist.explain import PlanReport
from mrcdist.format.axis import Axis
from mrcdist.formatting import format_number, format_range, format_unit

_CHART_SIZE = 110  # length of the longest side of the chunk chart, in pixels

# Colours follow the text of the notebook, so that they suit light and dark themes. dask's chart has
# black lines with an inline style, which only "!important" overrides.
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
    rows: Mapping[str, str],
    notes: Sequence[str],
) -> str:
    """Return a plan as HTML, with a chart of the chunks; all text is escaped.

    `rows` are shown below those of the cost, by label.
    """
    facts = "".join(
        f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>"
        for label, text in {**cost.summary(), **rows}.items()
    )
    chart = ""
    with suppress(NotImplementedError):  # dask cannot draw empty arrays
        chart = array.to_svg(size=_CHART_SIZE)
    return "".join(
        (
            f'<div class="mrcdist-plan">{_STYLE}',
            f"<div><strong>{escape(name)}</strong></div>",
            f'<div class="url">{escape(cost.url)}</div>',
            f'<div class="columns"><div><table>{facts}</table>{_axes(axes)}</div>',
            f"<div>{chart}</div></div>",
            *(f'<div class="note">{escape(note)}</div>' for note in (*notes, *cost.remarks)),
            "</div>",
        )
    )


def _axes(axes: Sequence[Axis]) -> str:
    headings = "".join(f'<th class="n">{name}</th>' for name in ("size", "step", "from"))
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
    head = f"<tr><th>axis</th>{headings}<th>kind</th></tr>"
    return f'<table class="axes"><thead>{head}</thead><tbody>{"".join(body)}</tbody></table>'
