"""Time mrcdist and other readers of the same file, which take turns.

README.md in this folder explains the workloads and how to interpret the output.
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

# One thread per worker: threads of numpy would compete with those of the scheduler.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:  # worker processes inherit this path
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
# A reader that takes longer in a round that counts is not run again: its ratio is clear.
_PATIENCE = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, clean up.

    Returns
    -------
    int
        0, or 1 if a reader failed or returned a wrong result.
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
            _log(f"writing {movie.path} ({movie.n_frames:,} frames)")
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
    return int(any(timed.wrong for timed in times))


def _take_turns(
    scheduler: str, workload: Workload, readers: Sequence[Reader], options: argparse.Namespace
) -> list[Timed]:
    """Run the workload with every reader once per round; the first round is a warm-up."""
    turns = {reader: Timed(scheduler, workload.name, reader.name) for reader in readers}
    kept_open: dict[Reader, Run] = {}
    for number in range(options.rounds + 1):
        for reader, timed in shuffled(turns, number):
            if timed.wrong or _slow(timed):
                continue
            try:
                prepared = [kept_open.get(reader) or reader.prepare(workload)]
                if prepared == [None]:
                    del turns[reader]
                    continue
                _log(f"{scheduler}: {workload.name}, round {number}, {reader.name}")
                if options.keep:
                    kept_open[reader] = prepared[0]
                if options.cold:
                    gc.collect()  # releases maps, whose pages cannot be evicted
                    workload.movie.forget()
                seconds = _seconds(reader, workload, prepared, keep=options.keep)
            except Exception as error:  # noqa: BLE001 other readers go on
                timed.wrong = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            if number > 0:  # the first round compiles code and fills the page cache
                timed.seconds[number] = seconds
    return list(turns.values())


def shuffled(turns: dict[Reader, Timed], number: int) -> list[tuple[Reader, Timed]]:
    """Return the readers in a new order, since some leave memory in a better state than others."""
    readers = list(turns.items())
    random.Random(number).shuffle(readers)
    return readers


def _slow(timed: Timed) -> bool:
    return any(seconds > _PATIENCE for seconds in timed.seconds.values())


def _seconds(reader: Reader, workload: Workload, prepared: list[Run], *, keep: bool) -> float:
    """Time one run, including the release of its maps; checking the result is not timed."""
    gc.collect()
    start = time.perf_counter()
    result = prepared.pop()()
    if not keep:
        reader.release()
    seconds = time.perf_counter() - start
    reader.check(workload, result)
    return seconds


@contextmanager
def _readers(scheduler: str, workers: int) -> Iterator[list[Reader]]:
    """Yield the readers, with the cluster and the process pools that they need."""
    threads = scheduler == "threads"
    with ExitStack() as stack:
        client = None if threads else stack.enter_context(open_cluster(workers))
        options = (
            {"scheduler": "threads", "num_workers": workers} if threads else {"scheduler": client}
        )
        readers: list[Reader] = [
            *dask_readers(lambda array: array.compute(**options), threads=threads, client=client)
        ]
        readers.append(stack.enter_context(NumpyProcesses(workers)))
        if find_spec("libertem") is not None:
            from tests.benchmarks.libertem_reader import LiberTEM

            readers.append(stack.enter_context(LiberTEM(workers, threads=threads)))
        yield readers


@contextmanager
def open_cluster(workers: int) -> Iterator[Any]:
    """Run a local dask cluster of single-threaded processes; yield a client."""
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
    add("--gib", type=float, default=1.0, help="minimum size of the file (default: 1)")
    add(
        "--schedulers", type=_names(SCHEDULERS), default=list(SCHEDULERS), help=",".join(SCHEDULERS)
    )
    add("--workloads", type=_names(NAMES), default=list(NAMES), help=",".join(NAMES))
    add(
        "--rounds",
        type=int,
        default=5,
        help="rounds that count, after one warm-up round (default: 5)",
    )
    add(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="threads or processes (default: number of cores)",
    )
    add("--keep", action="store_true", help="keep the file open between rounds")
    add("--cold", action="store_true", help="evict the file from the page cache before each run")
    add("--chunk-mib", type=float, default=64.0, help="size of a chunk (default: 64)")
    add("--planned-chunks", type=int, default=100_000, help="chunks to plan (default: 100000)")
    add(
        "--folder",
        type=Path,
        default=None,
        help="folder for the file (default: a temporary one)",
    )
    add("--json", type=Path, default=None, help="file for all single times")
    return parser.parse_args(arguments)


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}"
            )
        return names

    return parse


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
