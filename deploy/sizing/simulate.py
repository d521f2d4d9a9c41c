"""Measure the time dask's scheduler spends per chunk, and when it becomes the bottleneck.

    python deploy/sizing/simulate.py [--chunks 1000,10000,50000] [--workers 2]
    python deploy/sizing/simulate.py --scale [--chunks 1000000] [--workers 200] [--threads 4]

The source reads nothing, so that only dask is measured. Scheduler and workers are real, and the
graph is the one that `read_mrc` makes. The first table shows the cost for different numbers of
chunks. The second shows the throughput of sleeping tasks on many threads, for shorter and shorter
tasks: once the scheduler is saturated, only larger chunks help.

With `--scale`, a whole job runs: `mrcdist.reduce_frames` with `resume`, as batch jobs do it, on
hundreds of worker processes, with the code that runs on real workers down to the transport. Only
the store is simulated (`simulated.py`): requests wait for latency and bandwidth, some take ten
times as long, some fail, and workers are killed and replaced, as spot instances are.
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
import simulated
from distributed import Client

import mrcdist
from mrcdist import stats
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


def whole_job(client: Client, options: argparse.Namespace) -> str:
    """Run a job over many chunks of a simulated store, and return what it cost."""
    chunks = int(options.chunks[0])
    transfer = options.chunk_mib * 2**20 / (options.bandwidth * 1e6)
    store = {
        "frames": chunks,
        "latency": options.latency / 1000,
        "transfer": transfer,
        "stragglers": options.stragglers,
        "failures": options.failures,
    }
    scheduler = client.run_on_scheduler(_process)
    own = _process()
    start = time.perf_counter()
    plan = mrcdist.plan_mrc("simulated://movie.mrc", chunks=(1, -1, -1), storage_options=store)
    planned = time.perf_counter() - start
    with tempfile.TemporaryDirectory(prefix="simulate-") as folder:
        found = mrcdist.reduce_frames(
            plan, {"all": mrcdist.VirtualImage("all")}, client=client, resume=f"{folder}/job"
        )
    seconds = time.perf_counter() - start
    if not (found["all"].values == np.prod(simulated.FRAME)).all():
        raise RuntimeError("the sums of ones are wrong")
    after, ended = client.run_on_scheduler(_process), _process()
    read = sum(client.run(stats.snapshot).values(), stats.ReadStats())
    threads = options.workers * options.threads
    # What stragglers add, and that a failure costs half of a request and the request again.
    each = transfer + options.latency / 1000
    alone = each * chunks * (1 + 9 * options.stragglers + 0.5 * options.failures) / threads
    gigabytes = chunks * options.chunk_mib * 2**20 / 1e9
    rows = [
        ["file", f"{gigabytes:,.0f} GB in {chunks:,} chunks of {options.chunk_mib:g} MiB"],
        ["workers", f"{options.workers} processes with {options.threads} threads"],
        ["planned after", f"{planned:.1f} s"],
        ["done after", f"{seconds:.1f} s, {gigabytes / seconds:,.1f} GB/s"],
        ["the store alone", f"{alone:.1f} s, {gigabytes / alone:,.1f} GB/s"],
        ["scheduler", _cost(scheduler, after, chunks)],
        ["client", _cost(own, ended, chunks)],
        ["retries", f"{read.retries:,} in the workers that lived to the end"],
        ["workers killed", f"{int(seconds / options.spot) if options.spot else 0}"],
    ]
    return "\n".join(f"{name:>16}  {value}" for name, value in rows)


def _cost(before: tuple[float, int], after: tuple[float, int], chunks: int) -> str:
    busy = after[0] - before[0]
    memory = f"{before[1] / 2**20:.0f} → {after[1] / 2**20:.0f} MiB"
    return f"{busy:.1f} s of CPU, {1e6 * busy / chunks:.0f} µs per chunk; {memory}"


@contextmanager
def cluster(workers: int, threads: int, *, spot: float | None = None) -> Iterator[Client]:
    """Run scheduler and workers, each in a separate process to measure its CPU time.

    With `spot`, workers are forked from one process, which kills one every so many seconds (0:
    none).
    """
    dask_program = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulate-")))
        file = ["--scheduler-file", str(folder / "scheduler.json")]
        shared = [*file, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        worker = ["--nthreads", str(threads), "--local-directory", str(folder), "--no-nanny"]
        worker += ["--death-timeout", "60"]
        commands = [[*dask_program, "scheduler", *shared, "--port", "0"]]
        if spot is None:
            commands += [[*dask_program, "worker", *shared, *worker]] * workers
        else:
            how = [file[1], str(workers), str(threads), str(spot)]
            commands += [[sys.executable, simulated.__file__, *how]]
        # Workers import this file to unpickle its classes.
        paths = [str(Path(__file__).parent), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        for command in commands:
            process = subprocess.Popen(command, env=environment, **quiet)  # noqa: S603
            stack.callback(process.wait)
            stack.callback(process.terminate)
        with Client(scheduler_file=str(folder / "scheduler.json"), timeout=60) as client:
            client.wait_for_workers(workers, timeout=60 + workers)
            yield client


def numbers(text: str) -> list[float]:
    """Parse comma-separated numbers."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Print both tables, with the versions used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=numbers)
    parser.add_argument("--milliseconds", type=numbers, default=[500, 200, 100, 50, 20])
    parser.add_argument("--workers", type=int, help="processes (2; 200)")
    parser.add_argument("--threads", type=int, help="per worker; they sleep (32; 4)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of work per row")
    scale = parser.add_argument_group("--scale")
    scale.add_argument("--scale", action="store_true", help="run a whole job")
    scale.add_argument("--chunk-mib", type=float, default=128.0, help="what a chunk stands for")
    scale.add_argument("--latency", type=float, default=30.0, help="ms until the first byte")
    scale.add_argument("--bandwidth", type=float, default=250.0, help="MB/s of a thread")
    scale.add_argument("--stragglers", type=float, default=0.01, help="share, ten times as slow")
    scale.add_argument("--failures", type=float, default=0.002, help="share of requests")
    scale.add_argument("--spot", type=float, default=60.0, help="seconds between kills; 0: none")
    options = parser.parse_args()
    if options.chunks is None:
        options.chunks = [1e6] if options.scale else [1000, 10_000, 50_000]
    options.workers = options.workers or (200 if options.scale else 2)
    options.threads = options.threads or (4 if options.scale else 32)
    if min(options.chunks) < 1:
        sys.exit("--chunks: at least 1")
    # On SIGTERM, also end the processes started here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(f"dask {dask.__version__}, distributed {distributed.__version__}")
    if options.scale:
        print(f"starting {options.workers} workers", flush=True)
        with cluster(options.workers, options.threads, spot=options.spot) as client:
            print(whole_job(client, options))
        return
    with cluster(options.workers, options.threads) as client:
        measure(client, 200)  # imports
        print(f"\ncost by number of chunks, {options.workers} workers:\n")
        print(cost_against_chunks(client, [int(count) for count in options.chunks]))
        threads = options.workers * options.threads
        print(f"\nsaturation of the scheduler, {threads} threads:\n")
        print(saturation(client, threads, options.milliseconds, options.seconds))


if __name__ == "__main__":
    main()
