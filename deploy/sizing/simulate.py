"""Measure the time that dask's scheduler spends per chunk, and when it becomes the bottleneck.

    python deploy/sizing/simulate.py [--chunks 1000,10000,50000] [--workers 2]
    python deploy/sizing/simulate.py --scale [--chunks 1000000] [--workers 200] [--threads 4]

Client, scheduler and workers are real, and so is the code that plans, reads and retries, down to
the transport. Only the store is simulated (`simulated.py`), and workers run in a few processes
(`--processes`), so that two cores can run hundreds of them.

The first table shows what the graph of `read_mrc` costs for different numbers of chunks. The second
shows the throughput of sleeping tasks on many threads, for shorter and shorter tasks: once the
scheduler is saturated, only larger chunks help.

With `--scale`, a whole job runs: `mrcdist.reduce_frames` with `resume`, as in batch jobs. Requests
are delayed by latency and bandwidth, some take ten times as long, some fail, and workers are
terminated and replaced like spot instances.
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
from collections.abc import Callable, Iterator, Sequence
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
from mrcdist.compute import schedule

URL = "simulated://movie.mrc"
# A real worker is limited to 16 requests in flight, but here many workers share a process. With
# Amazon's S3, each request is pinned to a version, so no further requests are needed to check it.
SETTINGS = {"MRCDIST__PROCESS_CONCURRENCY": "1000000", "MRCDIST__CONSISTENCY": "off"}


@dataclass(frozen=True)
class Cost:
    """Cost of one computation."""

    tasks: int
    planned: float  # seconds to plan the file
    sent: float  # seconds to create the graph and send it
    seconds: float  # in total
    busy: float  # CPU seconds of the scheduler
    memory: int  # bytes used by the scheduler at the end


def measure(client: Client, chunks: int, seconds: float = 0.0) -> Cost:
    """Sum an array of `read_mrc` with `chunks` chunks of one frame each."""
    before = client.run_on_scheduler(_process)
    start = time.perf_counter()
    store = {"frames": chunks, "latency": seconds}
    [dataset] = mrcdist.read_mrc(URL, lazy=True, chunks=(1, -1, -1), storage_options=store)
    planned = time.perf_counter()
    # A number per chunk, summed on the workers, as for a virtual image or a mean.
    future = client.compute(dataset["data"][:, 0, 0].sum())
    sent = time.perf_counter()
    if future.result() != chunks:
        raise RuntimeError("the sum of ones is wrong")
    end = time.perf_counter()
    after = client.run_on_scheduler(_process)
    del future
    busy = after[0] - before[0]
    return Cost(chunks, planned - start, sent - planned, end - start, busy, after[1])


def _process() -> tuple[float, int]:
    """Return CPU seconds and memory (bytes) of the current process."""
    process = psutil.Process()
    times = process.cpu_times()
    return times.user + times.system, process.memory_info().rss


def table(rows: Sequence[Sequence[str]]) -> str:
    """Format rows as a table; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def cost_against_chunks(client: Client, counts: Sequence[int]) -> str:
    """Return the table of costs for each number of chunks."""
    head = ["chunks", "planned after s", "sent after s", "done after s", "scheduler CPU s"]
    rows = [[*head, "ms per chunk", "memory MiB"]]
    for count in counts:
        cost = measure(client, count)
        rows.append(
            [
                f"{count:,}",
                f"{cost.planned:.2f}",
                f"{cost.sent:.1f}",
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
        limit = 1000 * threads / length  # tasks per second
        cost = measure(client, max(threads, int(seconds * limit)), length / 1000)
        computing = cost.seconds - cost.planned - cost.sent
        rows.append(
            [
                f"{length:g}",
                f"{limit:.0f}",
                f"{cost.tasks / computing:.0f}",
                f"{100 * cost.tasks / computing / limit:.0f}",
                f"{100 * cost.busy / cost.seconds:.0f}",
                # From CPU time: valid even if scheduler and workers share too few CPUs.
                f"{cost.tasks / cost.busy:.0f}",
            ]
        )
    return table(rows)


def whole_job(client: Client, options: argparse.Namespace) -> str:
    """Run a job over many chunks of a simulated store, and return a report of its cost."""
    chunks = int(options.chunks[0])
    chunk_bytes = options.chunk_mib * 2**20
    transfer = chunk_bytes / (options.bandwidth * 1e6)
    store = {
        "frames": chunks,
        "latency": options.latency / 1000,
        "transfer": transfer,
        "stragglers": options.stragglers,
        "failures": options.failures,
    }
    # A frame represents a chunk; scale the bytes per task accordingly.
    schedule._TASK_BYTES = round(schedule._TASK_BYTES * simulated.FRAME_BYTES / chunk_bytes)
    run_job(client, {"frames": options.workers}, progress=False)  # import and compile everything
    n_lost = len(lost_workers(client))
    scheduler = client.run_on_scheduler(_process)
    own, others = _process(), _in_workers(client, _process)
    planned, seconds = run_job(client, store)
    scheduler_after, own_after = client.run_on_scheduler(_process), _process()
    others_after = _in_workers(client, _process)
    read = sum(_in_workers(client, stats.snapshot), stats.ReadStats())
    threads = options.workers * options.threads
    # Stragglers take ten times as long; a failure costs half of a request, and its repetition.
    request = transfer + options.latency / 1000
    alone = request * chunks * (1 + 9 * options.stragglers + 0.5 * options.failures) / threads
    gigabytes = chunks * chunk_bytes / 1e9
    tasks = schedule.most_tasks(chunks * simulated.FRAME_BYTES, threads)
    rows = [
        ["file", f"{gigabytes:,.0f} GB in {chunks:,} chunks of {options.chunk_mib:g} MiB"],
        ["workers", f"{options.workers} with {options.threads} threads"],
        ["tasks", f"{min(tasks, chunks):,}"],
        ["planned after", f"{planned:.1f} s"],
        ["done after", f"{seconds:.1f} s, {gigabytes / seconds:,.1f} GB/s"],
        ["the store alone", f"{alone:.1f} s, {gigabytes / alone:,.1f} GB/s"],
        ["scheduler", _cost(scheduler, scheduler_after, chunks)],
        ["client", _cost(own, own_after, chunks)],
        ["processes", _cost(_total(others), _total(others_after), chunks)],
        ["retries", f"{read.retries:,} of {read.requests:,} requests"],
        ["workers lost", f"{len(lost_workers(client)) - n_lost}"],
    ]
    return "\n".join(f"{name:>16}  {value}" for name, value in rows)


def run_job(client: Client, store: dict[str, Any], progress: bool = True) -> tuple[float, float]:
    """Run a job over the file of a store; return the seconds until it was planned and done."""
    start = time.perf_counter()
    plan = mrcdist.plan_mrc(URL, chunks=(1, -1, -1), storage_options=store)
    planned = time.perf_counter() - start
    with tempfile.TemporaryDirectory(prefix="simulate-") as folder:
        results = mrcdist.reduce_frames(
            plan,
            {"all": mrcdist.VirtualImage("all")},
            client=client,
            resume=f"{folder}/job",
            progress=progress,
        )
    seconds = time.perf_counter() - start
    if not (results["all"].values == np.prod(simulated.FRAME)).all():
        raise RuntimeError("the sums of ones are wrong")
    return planned, seconds


def _in_workers(client: Client, function: Callable[[], Any]) -> list[Any]:
    """Call a function once in each worker process, which may contain several workers."""
    by_worker = client.run(_with_pid, function)
    return list(dict(by_worker.values()).values())


def _with_pid(function: Callable[[], Any]) -> tuple[int, Any]:
    return os.getpid(), function()


def lost_workers(client: Client) -> list[str]:
    """Return the addresses of the workers that the scheduler has lost."""
    events = [event for _, event in client.get_events("all")]
    return [event["worker"] for event in events if event["action"] == "remove-worker"]


def _total(processes: list[tuple[float, int]]) -> tuple[float, int]:
    return sum(busy for busy, _ in processes), sum(memory for _, memory in processes)


def _cost(before: tuple[float, int], after: tuple[float, int], chunks: int) -> str:
    busy = after[0] - before[0]
    memory = f"{before[1] / 2**20:.0f} → {after[1] / 2**20:.0f} MiB"
    return f"{busy:.1f} s of CPU, {1e6 * busy / chunks:.0f} µs per chunk; {memory}"


@contextmanager
def cluster(workers: int, threads: int, processes: int, spot: float = 0) -> Iterator[Client]:
    """Run a scheduler in a separate process, and workers in a few others.

    On average, one worker is terminated and replaced every `spot` seconds (0: never).
    """
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulate-")))
        file = str(folder / "scheduler.json")
        shared = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--port", "0"]
        commands = [["-m", "dask", "scheduler", "--scheduler-file", file, *shared]]
        for count in shares(workers, processes):
            interval = spot * workers / count
            commands.append([simulated.__file__, file, str(count), str(threads), str(interval)])
        # Workers import this file to unpickle its functions.
        paths = [str(Path(__file__).parent), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        environment |= {f"DASK_{name}": value for name, value in SETTINGS.items()}
        for command in commands:
            process = subprocess.Popen([sys.executable, *command], env=environment, **quiet)  # noqa: S603
            stack.callback(process.wait)
            stack.callback(process.terminate)
        with Client(scheduler_file=file, timeout=60) as client:
            client.wait_for_workers(workers, timeout=60 + workers)
            yield client


def shares(workers: int, processes: int) -> list[int]:
    """Return the number of workers in each process."""
    counts = [workers // processes + (i < workers % processes) for i in range(processes)]
    return [count for count in counts if count]


def numbers(text: str) -> list[float]:
    """Parse comma-separated numbers."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Print both tables, with the versions used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=numbers)
    parser.add_argument("--milliseconds", type=numbers, default=[500, 200, 100, 50, 20])
    parser.add_argument("--workers", type=int, help="(2; 200)")
    parser.add_argument("--threads", type=int, help="per worker; they sleep (32; 4)")
    parser.add_argument("--processes", type=int, default=2, help="processes for all workers")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of work per row")
    scale = parser.add_argument_group("--scale")
    scale.add_argument("--scale", action="store_true", help="run a whole job")
    scale.add_argument("--chunk-mib", type=float, default=128.0, help="size of a real chunk")
    scale.add_argument("--latency", type=float, default=30.0, help="ms until the first byte")
    scale.add_argument("--bandwidth", type=float, default=250.0, help="MB/s per thread")
    scale.add_argument(
        "--stragglers", type=float, default=0.01, help="fraction of requests ten times as slow"
    )
    scale.add_argument("--failures", type=float, default=0.002, help="fraction of requests")
    scale.add_argument(
        "--spot", type=float, default=60.0, help="seconds between losses of a worker; 0: none"
    )
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
        with cluster(options.workers, options.threads, options.processes, options.spot) as client:
            print(whole_job(client, options))
        return
    with cluster(options.workers, options.threads, options.processes) as client:
        measure(client, 200)  # imports
        print(f"\ncost by number of chunks, {options.workers} workers:\n")
        print(cost_against_chunks(client, [int(count) for count in options.chunks]))
        threads = options.workers * options.threads
        print(f"\nsaturation of the scheduler, {threads} threads:\n")
        print(saturation(client, threads, options.milliseconds, options.seconds))


if __name__ == "__main__":
    main()
