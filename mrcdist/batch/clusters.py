"""The cluster of a job: a scheduler that is there, jobs of a batch system, or this machine."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from mrcdist.batch.jobqueue import read_job_queue, start_jobs
from mrcdist.config import parse_size, read_settings
from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.progress import waiting

__all__ = ["ClusterOptions", "connect", "require_mrcdist", "warn_without_workers"]


@dataclass(frozen=True)
class ClusterOptions:
    """What the user says about the cluster: one of the first three, or the last three, or nothing.

    Parameters
    ----------
    scheduler : str, optional
        Address, such as ``tcp://node1:8786``.
    scheduler_file : Path, optional
        Written by ``dask scheduler --scheduler-file``.
    jobqueue : Path, optional
        See `read_job_queue`.
    workers, threads : int, optional
        Of a local cluster: processes, and threads in each. Default: dask's choice for this machine.
    memory_limit : str, optional
        Of each local worker, such as "8 GiB". Default: its share of the machine.
    """

    scheduler: str | None = None
    scheduler_file: Path | None = None
    jobqueue: Path | None = None
    workers: int | None = None
    threads: int | None = None
    memory_limit: str | None = None

    def __post_init__(self) -> None:
        given = [name for name, value in vars(self).items() if value is not None]
        running = [name for name in given if name in ("scheduler", "scheduler_file", "jobqueue")]
        if running and len(given) > 1:
            options = ", ".join("--" + name.replace("_", "-") for name in given)
            raise ArgumentError(
                f"{options} together",
                code="cluster-options-conflict",
                cause="a job runs on one cluster; --workers, --threads and --memory-limit are for "
                "a local one",
                remedy="give one of them, or none for a local cluster",
            )
        if any(number is not None and number < 1 for number in (self.workers, self.threads)):
            raise ArgumentError(
                f"--workers {self.workers} --threads {self.threads}",
                code="workers-invalid",
                argument="workers",
                cause="a cluster has at least one of each",
                remedy="give positive numbers, or leave them out",
            )
        if self.memory_limit not in (None, "auto"):
            size = parse_size(self.memory_limit)
            if size is None or size < 0:
                raise ArgumentError(
                    f"--memory-limit {self.memory_limit!r}",
                    code="memory-limit-invalid",
                    argument="memory_limit",
                    cause="this is no size in bytes",
                    remedy='pass a size such as "8 GiB"',
                )


@contextmanager
def connect(
    where: ClusterOptions,
    *,
    say: Callable[[str], None],
    min_workers: int = 1,
    wait_for_jobs: bool = False,
) -> Iterator[Client]:
    """Give the client of a cluster; a cluster that was started here ends with the block.

    Parameters
    ----------
    where : ClusterOptions
    say : callable
        Told what is waited for.
    min_workers : int, default 1
        Workers to wait for, as long as dask's configuration ``mrcdist.workers-timeout`` says.
    wait_for_jobs : bool, default False
        Wait for the workers of a batch system too, for as long as its queue takes. Not needed for
        computing: tasks wait for workers.

    Raises
    ------
    MrcdistError
        There is no such scheduler, or too few workers.
    MissingExtraError
        dask-jobqueue is not installed.
    """
    if where.jobqueue is not None:
        queue = read_job_queue(where.jobqueue)
        at_least = min_workers if wait_for_jobs else 0
        with start_jobs(queue, at_least=at_least) as cluster, _client(cluster, say) as client:
            say(f"up to {queue.maximum} jobs are submitted to {queue.system} as they are needed")
            if wait_for_jobs:
                _wait_for_workers(client, min_workers, say)
            yield client
    elif where.scheduler is not None or where.scheduler_file is not None:
        address = where.scheduler
        if address is None:
            address = _address_in(Path(where.scheduler_file or ""), say)
        with _client(address, say) as client:
            _wait_for_workers(client, min_workers, say, patience=read_settings().workers_timeout)
            yield client
    else:
        with (
            LocalCluster(
                n_workers=where.workers,
                threads_per_worker=where.threads,
                memory_limit=where.memory_limit or "auto",
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
            ) as cluster,
            _client(cluster, say) as client,
        ):
            yield client


def require_mrcdist(client: Client) -> None:
    """Make sure that scheduler and workers have this package.

    A dask worker that cannot unpack a task ends, the task goes to the next one, and a job without
    workers waits for ever.

    Raises
    ------
    MrcdistError
    """

    # Sent by value, since it is inside a function: whoever lacks the package can run it.
    def why_not() -> str:
        try:
            importlib.import_module("mrcdist.batch.tasks")
        except ImportError as error:
            return str(error)
        return ""

    answers = {"the scheduler": client.run_on_scheduler(why_not), **client.run(why_not)}
    if unable := {who: why for who, why in answers.items() if why}:
        raise MrcdistError(
            f"{len(unable)} of scheduler and {len(answers) - 1} workers cannot import mrcdist",
            code="worker-import-failed",
            cause="; ".join(sorted({f"{why} ({who})" for who, why in unable.items()})[:5]),
            remedy="install the client's version of it in their environments",
        )


@contextmanager
def warn_without_workers(
    client: Client, say: Callable[[str], None], *, interval: float = 60.0
) -> Iterator[None]:
    """Say now and then that there are no workers, for as long as there are none."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(interval):
            try:
                alone = not client.nthreads()
            except OSError:  # the scheduler is gone, which the job itself will find out
                return
            if alone:
                say("there are no workers: tasks wait for some to come")

    # Not waited for: it may be waiting for the scheduler.
    threading.Thread(target=watch, name="mrcdist-workers", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def _client(scheduler: Any, say: Callable[[str], None]) -> Iterator[Client]:
    timeout = read_settings().scheduler_timeout

    def words() -> str:
        return f"waiting for the scheduler at {scheduler}, for up to {timeout:.0f} s"

    try:
        with waiting(words, say=say):
            client = Client(scheduler, timeout=timeout, set_as_default=False)
    except Exception as error:  # noqa: BLE001 each protocol has its own errors
        raise MrcdistError(
            f"no dask scheduler answers at {scheduler}",
            code="scheduler-unreachable",
            argument="scheduler",
            cause=str(error),
            remedy="check the address, that `dask scheduler` runs there, and the network between",
        ) from None
    with client:
        yield client


def _address_in(file: Path, say: Callable[[str], None]) -> str:
    """Read the address in a scheduler file; scheduler and job are often started together."""
    reason = ""
    for attempt in _attempts(read_settings().workers_timeout):
        if attempt == 1:
            say(f"waiting for {file}")
        try:
            return str(json.loads(file.read_text("utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            # Not there yet, or half written.
            reason = f"{type(error).__name__}: {error}"
    raise MrcdistError(
        f"no scheduler wrote its address to {file}",
        code="scheduler-file-missing",
        argument="scheduler_file",
        cause=reason,
        remedy="start it with `dask scheduler --scheduler-file` on a disk that is shared with this "
        "machine",
    )


def _wait_for_workers(
    client: Client, wanted: int, say: Callable[[str], None], *, patience: float = math.inf
) -> None:
    found = 0
    for attempt in _attempts(patience):
        if attempt == 1:
            say(f"{found} of {wanted} workers are there, waiting")
        found = len(client.nthreads())
        if found >= wanted:
            return
    raise MrcdistError(
        f"{found} of {wanted} workers came to {client.scheduler.address} in {patience:.0f} s",
        code="workers-missing",
        remedy="start workers with `dask worker`, and look at their logs",
    )


def _attempts(patience: float) -> Iterator[int]:
    """Count attempts, five a second, until patience ends."""
    deadline = time.monotonic() + patience
    yield 0
    for attempt in itertools.count(1):
        if time.monotonic() > deadline:
            return
        time.sleep(0.2)
        yield attempt
