"""Report of times as medians, spreads and ratios, in Markdown and JSON, with the machine used."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.workloads import Workload

__all__ = ["OURS", "Timed", "as_json", "as_markdown", "machine"]

OURS = "mrcdist"
_FLOOR = "zeros"
_PACKAGES = ("numpy", "dask", "distributed", "fsspec", "rosettasciio", "libertem")


@dataclass
class Timed:
    """Times of one reader for one workload.

    Attributes
    ----------
    scheduler, workload, reader : str
    seconds : dict of int to float
        Round → time, for correct results only.
    wrong : str
        Reason why the reader was excluded (a wrong result or an error); empty if it was not.
    """

    scheduler: str
    workload: str
    reader: str
    seconds: dict[int, float] = field(default_factory=dict)
    wrong: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds.values())

    def ratio_to(self, other: Timed) -> float:
        """Median of this time ÷ the other, over all rounds that have both."""
        both = self.seconds.keys() & other.seconds.keys()
        return statistics.median(self.seconds[i] / other.seconds[i] for i in both)


def machine(workers: int) -> dict[str, str]:
    """Return the machine and the versions that times depend on."""
    properties = {
        "machine": f"{_processor()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"{platform.system()} {platform.release()}",
        "workers": str(workers),
        "python": platform.python_version(),
        OURS: _version(OURS) or "from source",
    }
    return properties | {name: version for name in _PACKAGES if (version := _version(name))}


def as_markdown(
    times: Sequence[Timed], workloads: Sequence[Workload], about: Mapping[str, str]
) -> str:
    """Return one table per scheduler."""
    lines = [
        ", ".join(f"{key} {value}" if key != "machine" else value for key, value in about.items())
    ]
    for scheduler in dict.fromkeys(timed.scheduler for timed in times):
        lines += ["", f"### {scheduler}", ""]
        lines += ["| workload | reader | median | spread | per piece | GB/s | time ÷ mrcdist |"]
        lines += ["|---|---|---:|---:|---:|---:|---:|"]
        for workload in workloads:
            rows = _rows(times, scheduler, workload)
            lines += [_row(workload, timed, rows.get(OURS)) for timed in rows.values()]
        overhead = overhead_per_task(times, workloads, scheduler)
        if overhead is not None:
            lines += ["", f"overhead of mrcdist per task: {overhead * 1e3:.2f} ms"]
    lines += ["", *(f"- {w.name}: {w.description}" for w in workloads)]
    return "\n".join(lines)


def overhead_per_task(
    times: Sequence[Timed], workloads: Sequence[Workload], scheduler: str
) -> float | None:
    """Return the seconds that a task with mrcdist takes longer than one with zeros, if known."""
    for workload in workloads:
        rows = _rows(times, scheduler, workload)
        ours, floor = rows.get(OURS), rows.get(_FLOOR)
        if ours is None or floor is None:
            continue
        both = ours.seconds.keys() & floor.seconds.keys()
        if both:
            difference = statistics.median(ours.seconds[i] - floor.seconds[i] for i in both)
            return difference / workload.pieces
    return None


def as_json(
    times: Sequence[Timed], workloads: Sequence[Workload], about: Mapping[str, str]
) -> dict[str, Any]:
    """Return all times, for other programs."""
    return {
        "about": dict(about),
        "workloads": {
            w.name: {"description": w.description, "nbytes": w.nbytes, "pieces": w.pieces}
            for w in workloads
        },
        "times": [asdict(timed) for timed in times],
    }


def _rows(times: Sequence[Timed], scheduler: str, workload: Workload) -> dict[str, Timed]:
    """Return reader → times for one workload."""
    return {t.reader: t for t in times if (t.scheduler, t.workload) == (scheduler, workload.name)}


def _row(workload: Workload, timed: Timed, ours: Timed | None) -> str:
    if timed.wrong:
        return f"| {workload.name} | {timed.reader} | {timed.wrong} | | | | |"
    seconds = timed.seconds.values()
    cells = [
        workload.name,
        timed.reader,
        _duration(timed.median),
        f"{_duration(min(seconds))} to {_duration(max(seconds))}"
        if len(seconds) > 1
        else "one run",
        _duration(timed.median / workload.pieces) if workload.pieces > 1 else "",
        f"{workload.nbytes / timed.median / 1e9:.2f}" if workload.nbytes else "",
        f"{timed.ratio_to(ours):.2f}" if ours is not None and _good(ours) else "",
    ]
    return f"| {' | '.join(cells)} |"


def _good(timed: Timed | None) -> bool:
    return timed is not None and not timed.wrong and bool(timed.seconds)


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
