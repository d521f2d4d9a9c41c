"""The cluster of a job: a scheduler that is there, jobs of a batch system, or this machine."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster, Nanny
from distributed.utils import LoopRunner

from mrcdist.batch.jobqueue import read_job_queue, start_jobs
from mrcdist.batch.lost_scheduler import logs_left_to_errors, scheduler_watched
from mrcdist.config import parse_size, read_settings
from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.progress import waiting
from mrcdist.system_calls import interrupts_blocked

# Seconds between two looks at the workers while dask computes.
_LOOK = 1.0


@dataclass(frozen=True)
class ClusterOptions:
    """Where to compute: one of the first three options, or some of the last three, or none.

    A scheduler's address, such as ``tcp://node1:8786``; the file that ``dask scheduler
    --scheduler-file`` writes; that of `read_job_queue`. Of a local cluster: processes, threads in
    each, and the memory of each, such as "8 GiB"; by default dask's choice for this machine.
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
            others = " and ".join(f"{{{name}}}" for name in given if name != running[0])
            raise ArgumentError(
                f"{running[0]} is not the only option for a cluster",
                code="cluster-options-conflict",
                argument=running[0],
                cause="a job runs on one cluster; options for workers apply to a local one only",
                remedy=f"leave out {others}, or {{{running[0]}}}",
            )
        for name, number in (("workers", self.workers), ("threads", self.threads)):
            if number is not None and number < 1:
                raise ArgumentError(
                    f"{name}={number}",
                    code="workers-invalid",
                    argument=name,
                    cause="a cluster has at least one of each",
                    remedy="give a positive number, or leave it out",
                )
        if self.memory_limit not in (None, "auto"):
            size = parse_size(self.memory_limit)
            if size is None or size < 0:
                raise ArgumentError(
                    f"memory_limit={self.memory_limit!r}",
                    code="memory-limit-invalid",
                    argument="memory_limit",
                    cause="not a valid size in bytes",
                    remedy='pass a size such as "8 GiB"',
                )


@dataclass(eq=False)
class Cluster:
    """A connected cluster.

    `say` is told now and then if there are no workers; `failures` are reasons why none will come,
    to which what starts them appends. The workers are looked at every `interval` seconds.
    """

    client: Client
    say: Callable[[str], None]
    failures: Sequence[MrcdistError] = ()
    interval: float = 60.0
    _looked: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise the reason why no workers will come; called every second or so while one waits."""
        if self.failures:
            raise self.failures[0]
        if time.monotonic() - self._looked >= self.interval:
            if not self.client.nthreads():
                self.say("there are no workers: tasks wait for some to come")
            self._looked = time.monotonic()

    @contextmanager
    def running_dask(self) -> Iterator[None]:
        """Let what dask computes in the block be computed here, until `check` fails."""
        ended, hopeless = threading.Event(), list[Exception]()

        def watch() -> None:
            while not ended.wait(_LOOK):
                try:
                    self.check()
                except Exception as error:  # noqa: BLE001 raised again in the block
                    hopeless.append(error)
                    self.client.close()  # ends the wait for results
                    return

        thread = threading.Thread(target=watch, name="mrcdist-watch-workers", daemon=True)
        thread.start()
        try:
            # The client of a job is nobody's default, and the user may have set another scheduler.
            with dask.config.set(scheduler=self.client):
                yield
        except Exception:
            if hopeless:
                raise hopeless[0] from None
            raise
        finally:
            ended.set()
            thread.join()


@contextmanager
def connect(
    cluster_options: ClusterOptions,
    *,
    say: Callable[[str], None],
    min_workers: int = 1,
    wait_for_jobs: bool = False,
    again: str = "try again",
) -> Iterator[Cluster]:
    """Connect to a cluster; a cluster that was started here ends with the block.

    `say` is told what is waited for: `min_workers`, as long as dask's configuration
    ``mrcdist.workers-timeout`` says. With `wait_for_jobs` also those of a batch system, for as long
    as its queue takes; computing does not need it, since tasks wait for workers. `again` is what to
    do when the scheduler was lost, as a remedy says it.

    Raises
    ------
    MrcdistError
        There is no such scheduler, or too few workers; later, the scheduler is gone.
    """
    failures: list[MrcdistError] = []
    with ExitStack() as stack:
        stack.enter_context(logs_left_to_errors())
        try:
            scheduler: Any = cluster_options.scheduler
            patience = read_settings().workers_timeout
            if cluster_options.jobqueue is not None:
                queue = read_job_queue(cluster_options.jobqueue)
                at_least = min_workers if wait_for_jobs else 0
                jobs = start_jobs(queue, at_least=at_least, failed=failures.append)
                scheduler, patience = stack.enter_context(jobs), math.inf
                say(f"up to {queue.maximum} jobs are submitted to {queue.system} as needed")
            elif cluster_options.scheduler_file is not None:
                scheduler = _address_in(Path(cluster_options.scheduler_file), say)
            elif scheduler is None:
                scheduler = stack.enter_context(_local_cluster(cluster_options))
            cluster = Cluster(stack.enter_context(_client(scheduler, say)), say, failures)
            stack.enter_context(scheduler_watched(cluster.client, again))
            if cluster_options.jobqueue is None or wait_for_jobs:
                _wait_for_workers(cluster, min_workers, say, patience=patience)
            yield cluster
        finally:
            # Connections that end now are no news.
            logging.disable(logging.CRITICAL)


class _LocalCluster(LocalCluster):  # type: ignore[misc]
    """One whose workers end with the program where Ctrl-C comes while they start."""

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except BaseException:
            self.shutdown_on_close = False  # dask would fail, since it finds them half started
            raise


@contextmanager
def _local_cluster(cluster_options: ClusterOptions) -> Iterator[LocalCluster]:
    """Start processes on this machine; Ctrl-C does not reach them, since this one ends them."""
    with interrupts_blocked():
        runner = LoopRunner()
        runner.start()
    try:
        with _LocalCluster(
            n_workers=cluster_options.workers,
            threads_per_worker=cluster_options.threads,
            memory_limit=cluster_options.memory_limit or "auto",
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            loop=runner.loop,
        ) as cluster:
            try:
                yield cluster
            except Exception:
                raise
            except BaseException:  # Ctrl-C does not wait for what tasks wait for
                cluster.sync(_kill, list(cluster.workers.values()))
                raise
    finally:
        runner.stop()


async def _kill(nannies: Sequence[Nanny]) -> None:
    await asyncio.gather(*(nanny.kill(timeout=0) for nanny in nannies), return_exceptions=True)


def require_mrcdist(client: Client) -> None:
    """Raise `MrcdistError` unless scheduler and workers have this package.

    A dask worker that cannot unpack a task ends, the task goes to the next one, and a job without
    workers waits for ever.
    """

    # Sent by value, since it is inside a function: whoever lacks the package can run it.
    def why_not() -> str:
        try:
            importlib.import_module("mrcdist.compute.tasks")
        except ImportError as error:
            return str(error)
        return ""

    answers = {"the scheduler": client.run_on_scheduler(why_not), **client.run(why_not)}
    if unable := {who: why for who, why in answers.items() if why}:
        raise MrcdistError(
            f"{len(unable)} of scheduler and {len(answers) - 1} workers cannot import mrcdist",
            code="worker-import-failed",
            cause="; ".join(sorted({f"{why} ({who})" for who, why in unable.items()})[:5]),
            remedy="install the client's version of mrcdist in their environments",
        )


def _without_login(text: str) -> str:
    """Remove user and password of an address, which may lack the protocol that tells it is one."""
    return re.sub(r"[^/@\s'\"]+:[^/@\s]+@", "", text)


class _Client(Client):  # type: ignore[misc]  # distributed has no types
    """A client that is closed if it cannot connect.

    The garbage collector would close it in any thread, and hang where that thread is about to start
    the event loop of another client: both want one lock (`LoopRunner` of distributed 2026.8).
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        try:
            super().__init__(*args, **options)
        except BaseException:
            with suppress(Exception):  # the first error says more
                self.close()
            raise


@contextmanager
def _client(scheduler: Any, say: Callable[[str], None]) -> Iterator[Client]:
    timeout = read_settings().scheduler_timeout
    shown = _without_login(str(scheduler))
    words = f"waiting for the scheduler at {shown}, for up to {timeout:.0f} s"
    try:
        with waiting(lambda: words, say=say):
            client = _Client(scheduler, timeout=timeout, set_as_default=False)
    except Exception as error:  # noqa: BLE001 each protocol has its own errors
        raise MrcdistError(
            f"no dask scheduler answers at {shown}",
            code="scheduler-unreachable",
            argument="scheduler",
            cause=_without_login(str(error)),
            remedy="check the address, the network, and that `dask scheduler` is running there",
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
    cluster: Cluster, wanted: int, say: Callable[[str], None], *, patience: float
) -> None:
    client, found = cluster.client, 0
    for attempt in _attempts(patience):
        if attempt == 1:
            say(f"{found} of {wanted} workers are there, waiting")
        cluster.check()
        found = len(client.nthreads())
        if found >= wanted:
            return
    raise MrcdistError(
        f"{found} of {wanted} workers connected to {client.scheduler.address} in {patience:.0f} s",
        code="workers-missing",
        remedy="start workers with `dask worker`, and check their logs",
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
