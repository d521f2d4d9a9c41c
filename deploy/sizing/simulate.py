"""Measure what dask's scheduler costs a chunk, and where it becomes the bottleneck.

    python deploy/sizing/simulate.py [--chunks 1000,10000,50000] [--workers 2]

A source that reads nothing stands for the file: all that is left is dask. Graph, scheduler and
workers are real, and the graph is the one that `read_mrc` makes. The first table: cost against the
number of chunks. The second: tasks of a given length (they sleep) on many threads, until the
scheduler has no more time: then more workers do not help, and larger chunks do.
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
    """An array of zeros that takes `seconds` to read a block of, and no memory."""

    shape: tuple[int, ...]
    seconds: float = 0.0
    dtype: np.dtype[Any] = np.dtype("uint16")  # noqa: RUF009 it is constant
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
    """What one computation took."""

    tasks: int
    graph: float  # seconds until the client had made and sent the graph
    seconds: float  # until the result was there
    busy: float  # CPU seconds of the scheduler
    memory: int  # bytes that the scheduler's memory grew to


def measure(client: Client, chunks: int, seconds: float = 0.0) -> Cost:
    """Compute one number from an array of so many chunks, a block of one frame each."""
    source = Nothing((chunks, *FRAME), seconds)
    array = to_dask(source, ((1,) * chunks, *((n,) for n in FRAME)))
    # A few bytes a chunk, added up on the workers: the pattern of a virtual image or a mean.
    result = array[:, 0, 0].sum()
    before = client.run_on_scheduler(_process)
    start = time.perf_counter()
    future = client.compute(result)
    sent = time.perf_counter()
    if future.result() != 0:
        raise RuntimeError("the sum of nothing is not 0: a task ran that is not ours")
    end = time.perf_counter()
    after = client.run_on_scheduler(_process)
    del future
    return Cost(chunks, sent - start, end - start, after[0] - before[0], after[1])


def _process() -> tuple[float, int]:
    """CPU seconds and memory of the process in which this runs."""
    process = psutil.Process()
    times = process.cpu_times()
    return times.user + times.system, process.memory_info().rss


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lines with columns under each other, the first row being the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def cost_against_chunks(client: Client, counts: Sequence[int]) -> str:
    """Return the table of cost against the number of chunks."""
    head = ["chunks", "sent after s", "done after s", "scheduler CPU s", "ms a chunk", "memory MiB"]
    rows = [head]
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
    """Return the table of throughput against the length of a task.

    Each row is work for so many seconds, if all threads had always something to do.
    """
    head = ["a task ms", "threads could do /s", "done /s", "of that %"]
    rows = [[*head, "scheduler busy %", "alone it could do /s"]]
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
                # Also true where scheduler and workers have to share too few CPUs.
                f"{cost.tasks / cost.busy:.0f}",
            ]
        )
    return table(rows)


@contextmanager
def cluster(workers: int, threads: int) -> Iterator[Client]:
    """Run a scheduler, in a process of its own so that its CPU time is its own, and workers."""
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
        # Workers unpickle functions of this file.
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
    """Numbers with commas between."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Print both tables, and what they were measured with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=numbers, default=[1000, 10_000, 50_000])
    parser.add_argument("--milliseconds", type=numbers, default=[500, 200, 100, 50, 20])
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--threads", type=int, default=32, help="of a worker, which sleep")
    parser.add_argument("--seconds", type=float, default=5.0, help="of work, for each row")
    options = parser.parse_args()
    if min(options.chunks) < 1:
        sys.exit("--chunks: at least 1")
    # Ended by a signal, too, it ends the processes that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(f"dask {dask.__version__}, distributed {distributed.__version__}")
    with cluster(options.workers, options.threads) as client:
        measure(client, 200)  # imports
        print(f"\ncost against chunks, {options.workers} workers:\n")
        print(cost_against_chunks(client, [int(count) for count in options.chunks]))
        threads = options.workers * options.threads
        print(f"\nwhere the scheduler has no more time, {threads} threads:\n")
        print(saturation(client, threads, options.milliseconds, options.seconds))


if __name__ == "__main__":
    main()
