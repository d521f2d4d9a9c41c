"""Connection to the cluster of a job: a running scheduler, a batch system, or local workers."""

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
from mrcdist.byte_size import parse_size
from mrcdist.config import read_settings
from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.progress import waiting
from mrcdist.system_calls import interrupts_blocked

# Interval between checks of the workers while dask computes, in seconds.
_CHECK_INTERVAL = 1.0


@dataclass(frozen=True)
class ClusterOptions:
    """Place to compute: an existing cluster, jobs of a batch system, or a local cluster.

    `scheduler` is an address such as ``tcp://node1:8786``, `scheduler_file` is written by ``dask
    scheduler --scheduler-file``, and `jobqueue` is read by `read_job_queue`. For a local cluster:
    the number of worker processes, and threads and memory ("8 GiB") of each; by default dask's
    choice.
    """

    scheduler: str | None = None
    scheduler_file: Path | None = None
    jobqueue: Path | None = None
    workers: int | None = None
    threads: int | None = None
    memory_limit: str | None = None

    def __post_init__(self) -> None:
        options = [name for name, value in vars(self).items() if value is not None]
        running = [name for name in options if name in ("scheduler", "scheduler_file", "jobqueue")]
        if running and len(options) > 1:
            others = " and ".join(f"`{name}`" for name in options if name != running[0])
            raise ArgumentError(
                f"`{running[0]}` is not the only option for a cluster",
                code="cluster-options-conflict",
                argument=running[0],
                cause="a job runs on one cluster; options for workers apply to a local one only",
                remedy=f"leave out {others}, or `{running[0]}`",
            )
        if self.memory_limit not in (None, "auto"):
            size = parse_size(self.memory_limit)
            if size is None or size < 0:
                raise ArgumentError(
                    f"`memory_limit={self.memory_limit!r}`",
                    code="memory-limit-invalid",
                    argument="memory_limit",
                    cause="not a valid size in bytes",
                    remedy='pass a size such as "8 GiB"',
                )


@dataclass(eq=False)
class Cluster:
    """A connected cluster.

    `failures` holds the reasons why no worker can start; it may grow at any time. As long as
    there are no workers, a message is passed to `log` every `interval` seconds.
    """

    client: Client
    log: Callable[[str], None]
    failures: Sequence[MrcdistError] = ()
    interval: float = 60.0
    _checked_at: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise the reason why no worker can start; to be called about once a second."""
        if self.failures:
            raise self.failures[0]
        if time.monotonic() - self._checked_at >= self.interval:
            if not self.client.nthreads():
                self.log("there are no workers: tasks wait for workers to start")
            self._checked_at = time.monotonic()

    @contextmanager
    def running_dask(self) -> Iterator[None]:
        """Make dask compute on this cluster in a ``with`` block, until `check` fails."""
        done, errors = threading.Event(), list[Exception]()

        def watch() -> None:
            while not done.wait(_CHECK_INTERVAL):
                try:
                    self.check()
                except Exception as error:  # noqa: BLE001 raised again in the block
                    errors.append(error)
                    self.client.close()  # ends the wait for results
                    return

        thread = threading.Thread(target=watch, name="mrcdist-watch-workers", daemon=True)
        thread.start()
        try:
            # The client is not the default one, and the user may have configured another scheduler.
            with dask.config.set(scheduler=self.client):
                yield
        except Exception:
            if errors:
                raise errors[0] from None
            raise
        finally:
            done.set()
            thread.join()


@contextmanager
def connect(
    cluster_options: ClusterOptions,
    *,
    log: Callable[[str], None],
    min_workers: int = 1,
    wait_for_jobs: bool = False,
    resume_hint: str = "try again",
) -> Iterator[Cluster]:
    """Connect to a cluster; if it was started here, it is closed at the end of the block.

    Waits for `min_workers`, up to the setting ``mrcdist.workers-timeout``. With `wait_for_jobs`,
    also waits for those of a batch system, without a timeout; not needed for computing, since tasks
    wait for workers. Messages are passed to `log`. `resume_hint` suggests what to do after the
    scheduler was lost.

    Raises
    ------
    MrcdistError
        There is no such scheduler, there are too few workers, or the scheduler was lost.
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
                jobs = start_jobs(queue, at_least=at_least, on_failure=failures.append)
                scheduler, patience = stack.enter_context(jobs), math.inf
                log(f"up to {queue.maximum} jobs are submitted to {queue.system} as needed")
            elif cluster_options.scheduler_file is not None:
                scheduler = _read_address(Path(cluster_options.scheduler_file), log)
            elif scheduler is None:
                scheduler = stack.enter_context(_local_cluster(cluster_options))
            cluster = Cluster(stack.enter_context(_client(scheduler, log)), log, failures)
            stack.enter_context(scheduler_watched(cluster.client, resume_hint))
            if cluster_options.jobqueue is None or wait_for_jobs:
                _wait_for_workers(cluster, min_workers, patience)
            yield cluster
        finally:
            # Closed connections are expected from here on.
            logging.disable(logging.CRITICAL)


class _LocalCluster(LocalCluster):  # type: ignore[misc]
    """Local cluster whose workers also end with the program if Ctrl-C interrupts their start."""

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except BaseException:
            self.shutdown_on_close = False  # would fail on workers that have not started
            raise


@contextmanager
def _local_cluster(cluster_options: ClusterOptions) -> Iterator[LocalCluster]:
    """Start worker processes on this machine; Ctrl-C reaches this process only, which ends them."""
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
            except BaseException:  # after Ctrl-C, do not wait for running tasks
                cluster.sync(_kill, list(cluster.workers.values()))
                raise
    finally:
        runner.stop()


async def _kill(nannies: Sequence[Nanny]) -> None:
    await asyncio.gather(*(nanny.kill(timeout=0) for nanny in nannies), return_exceptions=True)


def require_mrcdist(client: Client) -> None:
    """Raise `MrcdistError` unless mrcdist can be imported on the scheduler and all workers.

    A dask worker that cannot unpickle a task exits, its task is sent to the next worker, and the
    job waits forever once there are no workers left.
    """

    # A nested function is pickled by value, so it also runs where the package is missing.
    def import_error() -> str:
        try:
            importlib.import_module("mrcdist.compute.tasks")
        except ImportError as error:
            return str(error)
        return ""

    answers = {"the scheduler": client.run_on_scheduler(import_error), **client.run(import_error)}
    if failed := {where: reason for where, reason in answers.items() if reason}:
        raise MrcdistError(
            f"{len(failed)} of scheduler and {len(answers) - 1} workers cannot import mrcdist",
            code="worker-import-failed",
            cause="; ".join(sorted(f"{reason} ({where})" for where, reason in failed.items())[:5]),
            remedy="install the client's version of mrcdist in their environments",
        )


def _without_login(text: str) -> str:
    """Remove user and password from addresses, which may lack protocol, port and user."""
    return re.sub(r"[^/\s'\"]*@", "", text)


class _Client(Client):  # type: ignore[misc]  # distributed has no types
    """Client that is closed if it cannot connect.

    Otherwise the garbage collector closes it, in any thread, and deadlocks if that thread is
    starting the event loop of another client: both need the same lock (`LoopRunner` of distributed
    2026.8).
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        try:
            super().__init__(*args, **options)
        except BaseException:
            with suppress(Exception):  # the first error is more informative
                self.close()
            raise


@contextmanager
def _client(scheduler: Any, log: Callable[[str], None]) -> Iterator[Client]:
    timeout = read_settings().scheduler_timeout
    shown = _without_login(str(scheduler))
    message = f"waiting for the scheduler at {shown}, for up to {timeout:.0f} s"
    try:
        with waiting(lambda: message, log=log):
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


def _read_address(file: Path, log: Callable[[str], None]) -> str:
    """Read the address in a scheduler file, once the scheduler has written it."""
    reason = ""
    for attempt in _attempts(read_settings().workers_timeout):
        if attempt == 1:
            log(f"waiting for {file}")
        try:
            return str(json.loads(file.read_text("utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"  # missing, or not completely written
    raise MrcdistError(
        f"no scheduler wrote its address to {file}",
        code="scheduler-file-missing",
        argument="scheduler_file",
        cause=reason,
        remedy="start it with `dask scheduler --scheduler-file` on a disk that is shared with this "
        "machine",
    )


def _wait_for_workers(cluster: Cluster, required: int, timeout: float) -> None:
    client, connected = cluster.client, 0
    for attempt in _attempts(timeout):
        if attempt == 1:
            cluster.log(f"waiting for workers: {connected} of {required} connected")
        cluster.check()
        connected = len(client.nthreads())
        if connected >= required:
            return
    raise MrcdistError(
        f"{connected} of {required} workers connected to {client.scheduler.address} in "
        f"{timeout:.0f} s",
        code="workers-missing",
        remedy="start workers with `dask worker`, and check their logs",
    )


def _attempts(timeout: float) -> Iterator[int]:
    """Count attempts, five per second, until the timeout."""
    deadline = time.monotonic() + timeout
    yield 0
    for attempt in itertools.count(1):
        if time.monotonic() > deadline:
            return
        time.sleep(0.2)
        yield attempt
