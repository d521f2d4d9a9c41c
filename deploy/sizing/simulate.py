"""Measure the time dask's scheduler spends per chunk, and when it becomes the bottleneck.

    python deploy/sizing/simulate.py [--chunks 1000,10000,50000] [--workers 2]

The source reads nothing, so that only dask is measured. Scheduler and workers are real, and the
graph is the one that `read_mrc` makes. The first table shows the cost for different numbers of
chunks. The second shows the throughput of sleeping tasks on many threads, for shorter and shorter
tasks: once the scheduler is saturated, only larger chunks help.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
import psutil
from distributed import Client

from mrcdist.dask_array import to_dask
from mrcdist.plan.indexing import select

FRAME = (256, 256)


@dataclass(frozen=True)
class Nothing:
    """Array of zeros without memory; reading a block takes `seconds`."""

    shape: tuple[int, ...]
    seconds: float = 0.0
    dtype: np.dtype[Any] = np.dtype("uint16")  # noqa: RUF009 immutable
    travels_light: bool = True

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray[Any, Any]:
        time.sleep(self.seconds)
        return np.broadcast_to(np.zeros((), self.dtype), select(index, self.shape).result_shape)


@dataclass(frozen=True)
class Cost:
    """Cost of one computation."""

    tasks: int
    graph: float  # seconds to make and send the graph
    seconds: float  # in total
    busy: float  # CPU seconds of the scheduler
    memory: int  # bytes; of the scheduler, at the end


def measure(client: Client, chunks: int, seconds: float = 0.0) -> Cost:
    """Sum over an array of `chunks` chunks of one frame each."""
    source = Nothing((chunks, *FRAME), seconds)
    array = to_dask(source, ((1,) * chunks, *((n,) for n in FRAME)))
    # A few bytes per chunk, summed on the workers, as for a virtual image or a mean.
    result = array[:, 0, 0].sum()
    before = client.run_on_scheduler(_process)
    start = time.perf_counter()
    future = client.compute(result)
    sent = time.perf_counter()
    if future.result() != 0:
        raise RuntimeError("the sum of zeros is not 0")
    end = time.perf_counter()
    after = client.run_on_scheduler(_process)
    del future
    return Cost(chunks, sent - start, end - start, after[0] - before[0], after[1])


def _process() -> tuple[float, int]:
    """Return CPU seconds and memory (bytes) of the current process."""
    process = psutil.Process()
    times = process.cpu_times()
    return times.user + times.system, process.memory_info().rss


def table(rows: Sequence[Sequence[str]]) -> str:
    """Format rows as a table; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def cost_against_chunks(client: Client, counts: Sequence[int]) -> str:
    """Return the table of costs for each number of chunks."""
    head = ["chunks", "sent after s", "done after s", "scheduler CPU s"]
    rows = [[*head, "ms per chunk", "memory MiB"]]
    for count in counts:
        cost = measure(client, count)
        rows.append(
            [
                f"{count:,}",
                f"{cost.graph:.1f}",
                f"{cost.seconds:.1f}",
                f"{cost.busy:.1f}",
                f"{1000 * cost.busy / count:.2f}",
                f"{cost.memory / 2**20:.0f}",
            ]
        )
    return table(rows)


def saturation(client: Client, threads: int, milliseconds: Sequence[float], seconds: float) -> str:
    """Return the table of throughput for each length of a task.

    Each row is `seconds` of work for all threads.
    """
    head = ["ms per task", "threads' limit /s", "done /s", "done %"]
    rows = [[*head, "scheduler busy %", "scheduler's limit /s"]]
    for length in milliseconds:
        could = 1000 * threads / length
        cost = measure(client, max(threads, int(seconds * could)), length / 1000)
        computing = cost.seconds - cost.graph
        rows.append(
            [
                f"{length:g}",
                f"{could:.0f}",
                f"{cost.tasks / computing:.0f}",
                f"{100 * cost.tasks / computing / could:.0f}",
                f"{100 * cost.busy / cost.seconds:.0f}",
                # From CPU time: valid even if scheduler and workers share too few CPUs.
                f"{cost.tasks / cost.busy:.0f}",
            ]
        )
    return table(rows)


@contextmanager
def cluster(workers: int, threads: int) -> Iterator[Client]:
    """Run scheduler and workers, each in a separate process to measure its CPU time."""
    dask_program = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulate-")))
        file = ["--scheduler-file", str(folder / "scheduler.json")]
        shared = [*file, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        worker = ["--nthreads", str(threads), "--local-directory", str(folder), "--no-nanny"]
        worker += ["--death-timeout", "60"]
        commands = [[*dask_program, "scheduler", *shared, "--port", "0"]]
        commands += [[*dask_program, "worker", *shared, *worker]] * workers
        # Workers import this file to unpickle its classes.
        paths = [str(Path(__file__).parent), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        for command in commands:
            process = subprocess.Popen(command, env=environment, **quiet)  # noqa: S603
            stack.callback(process.wait)
            stack.callback(process.terminate)
        with Client(scheduler_file=str(folder / "scheduler.json"), timeout=60) as client:
            client.wait_for_workers(workers, timeout=60)
            yield client


def numbers(text: str) -> list[float]:
    """Parse comma-separated numbers."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Print both tables, with the versions used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=numbers, default=[1000, 10_000, 50_000])
    parser.add_argument("--milliseconds", type=numbers, default=[500, 200, 100, 50, 20])
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--threads", type=int, default=32, help="per worker; they sleep")
    parser.add_argument("--seconds", type=float, default=5.0, help="of work per row")
    options = parser.parse_args()
    if min(options.chunks) < 1:
        sys.exit("--chunks: at least 1")
    # On SIGTERM, also end the processes started here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(f"dask {dask.__version__}, distributed {distributed.__version__}")
    with cluster(options.workers, options.threads) as client:
        measure(client, 200)  # imports
        print(f"\ncost by number of chunks, {options.workers} workers:\n")
        print(cost_against_chunks(client, [int(count) for count in options.chunks]))
        threads = options.workers * options.threads
        print(f"\nsaturation of the scheduler, {threads} threads:\n")
        print(saturation(client, threads, options.milliseconds, options.seconds))


if __name__ == "__main__":
    main()
