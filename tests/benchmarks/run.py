"""Time mrcdist beside other readers of the same file, in one run, taking turns.

See README.md beside it for what it measures and how to read what it prints.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# One thread a worker: numpy's own would compete with the scheduler's.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:  # worker processes get this path from us
    sys.path.insert(0, _ROOT)

from tests.benchmarks.limit import NumpyProcesses  # noqa: E402
from tests.benchmarks.readers import Reader, Run, dask_readers  # noqa: E402
from tests.benchmarks.report import Timed, as_json, as_markdown, machine  # noqa: E402
from tests.benchmarks.workloads import (  # noqa: E402
    NAMES,
    Workload,
    make_workloads,
)

SCHEDULERS = ("threads", "processes")
# Whoever takes longer in a round that counts is not asked again: its ratio is clear.
_PATIENCE = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, clean up.

    Returns
    -------
    int
        0, or 1 if some reader gave a wrong result or failed.
    """
    options = _parse(arguments)
    with tempfile.TemporaryDirectory(prefix="mrcdist-bench-", dir=options.folder) as folder:
        workloads = [
            workload
            for workload in make_workloads(
                Path(folder),
                gib=options.gib,
                chunk_mib=options.chunk_mib,
                planned_chunks=options.planned_chunks,
            )
            if workload.name in options.workloads
        ]
        for movie in {workload.movie for workload in workloads}:
            _say(f"writing {movie.path} ({movie.n_frames:,} frames)")
            movie.write()
        times: list[Timed] = []
        for scheduler in options.schedulers:
            with _readers(scheduler, options.workers) as readers:
                for workload in workloads:
                    times += _take_turns(scheduler, workload, readers, options)
    about = machine(options.workers)
    print(as_markdown(times, workloads, about))
    if options.json:
        options.json.write_text(json.dumps(as_json(times, workloads, about), indent=1))
    return int(any(each.wrong for each in times))


def _take_turns(
    scheduler: str, workload: Workload, readers: Sequence[Reader], options: argparse.Namespace
) -> list[Timed]:
    """Let every reader do the workload once a round; the first round does not count."""
    turns = {reader: Timed(scheduler, workload.name, reader.name) for reader in readers}
    kept: dict[Reader, Run] = {}
    for number in range(options.rounds + 1):
        for reader, timed in in_another_order(turns, number):
            if timed.wrong or _slow(timed):
                continue
            try:
                ready = [kept.get(reader) or reader.prepare(workload)]
                if ready == [None]:
                    del turns[reader]
                    continue
                _say(f"{scheduler}: {workload.name}, round {number}, {reader.name}")
                if options.keep:
                    kept[reader] = ready[0]
                if options.cold:
                    gc.collect()  # pages that somebody still maps stay
                    workload.movie.forget()
                seconds = _seconds(reader, workload, ready, keep=options.keep)
            except Exception as error:  # noqa: BLE001 one reader's failure is its own
                timed.wrong = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            if number > 0:  # in the first round, code is compiled and pages are read
                timed.seconds[number] = seconds
    return list(turns.values())


def in_another_order(turns: dict[Reader, Timed], number: int) -> list[tuple[Reader, Timed]]:
    """The readers, each after another one than last time: some leave the system's memory tidier."""
    readers = list(turns.items())
    random.Random(number).shuffle(readers)
    return readers


def _slow(timed: Timed) -> bool:
    return any(seconds > _PATIENCE for seconds in timed.seconds.values())


def _seconds(reader: Reader, workload: Workload, ready: list[Run], *, keep: bool) -> float:
    """Time one run, and letting go of what it has mapped; its result is checked off the clock."""
    gc.collect()
    begun = time.perf_counter()
    result = ready.pop()()
    if not keep:
        reader.let_go()
    seconds = time.perf_counter() - begun
    reader.check(workload, result)
    return seconds


@contextmanager
def _readers(scheduler: str, workers: int) -> Iterator[list[Reader]]:
    """Start what the readers need: a cluster, pools of processes; all of it ends with the block."""
    threads = scheduler == "threads"
    with ExitStack() as stack:
        client = None if threads else stack.enter_context(open_cluster(workers))
        options = (
            {"scheduler": "threads", "num_workers": workers} if threads else {"scheduler": client}
        )
        found: list[Reader] = [
            *dask_readers(lambda array: array.compute(**options), threads=threads, client=client)
        ]
        found.append(stack.enter_context(NumpyProcesses(workers)))
        if find_spec("libertem") is not None:
            from tests.benchmarks.libertem_reader import LiberTEM

            found.append(stack.enter_context(LiberTEM(workers, threads=threads)))
        yield found


@contextmanager
def open_cluster(workers: int) -> Iterator[Any]:
    """A dask cluster of processes with one thread each, on this machine alone."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--gib", type=float, default=1.0, help="least size of the file (default: 1)")
    add(
        "--schedulers", type=_names(SCHEDULERS), default=list(SCHEDULERS), help=",".join(SCHEDULERS)
    )
    add("--workloads", type=_names(NAMES), default=list(NAMES), help=",".join(NAMES))
    add(
        "--rounds",
        type=int,
        default=5,
        help="turns that count, after one that does not (default: 5)",
    )
    add(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="threads or processes (default: cores)",
    )
    add("--keep", action="store_true", help="keep the file open from round to round")
    add("--cold", action="store_true", help="empty the page cache of the file before each turn")
    add("--chunk-mib", type=float, default=64.0, help="size of a chunk (default: 64)")
    add("--planned-chunks", type=int, default=100_000, help="chunks to plan (default: 100000)")
    add(
        "--folder",
        type=Path,
        default=None,
        help="where the file is written (default: temporary files' place)",
    )
    add("--json", type=Path, default=None, help="write every single time here")
    return parser.parse_args(arguments)


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        wanted = text.split(",")
        if unknown := set(wanted) - set(known):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}"
            )
        return wanted

    return parse


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
