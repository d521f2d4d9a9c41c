"""A dask cluster of separate processes, which share as little as processes on several machines.

Scheduler and workers are started from the command line with only the scheduler's address, have
their own working folders, and no S3 settings of the user. On Linux, as root, a folder of the client
can be hidden from them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client

from tests.support.processes import ROOT, Processes

# A new mount namespace in which an empty filesystem is mounted over the folder.
_HIDE = ["unshare", "--mount", "--propagation", "private", "sh", "-euc"]
_HIDE_SCRIPT = 'mount -t tmpfs none "$1"; shift; exec "$@"'


@contextmanager
def dask_cluster(
    folder: Path,
    *,
    workers: int = 2,
    threads: int = 1,
    environment: Mapping[str, str] | None = None,
    working_folder: Path | None = None,
    hidden: Path | None = None,
    memory_limit: str = "2 GiB",
    nanny: bool = False,
    default: bool = True,
) -> Iterator[Client]:
    """Run a scheduler and workers on 127.0.0.1; yield the client.

    Parameters
    ----------
    folder : Path
        Folder for logs and temporary files of the workers.
    workers, threads : int
        Number of worker processes, and of threads in each.
    environment : mapping, optional
        Environment variables of the workers, such as `S3Server.environment()`.
    working_folder : Path, optional
        Current folder of the workers (default: an empty one for each).
    hidden : Path, optional
        A folder that is empty for scheduler and workers. The test is skipped if folders cannot be
        hidden (this needs Linux and root).
    memory_limit : str, default "2 GiB"
        Memory limit of each worker.
    nanny : bool, default False
        Start each worker under a nanny, which restarts it when it dies.
    default : bool, default True
        Whether `compute()` uses this cluster within the block.

    Yields
    ------
    distributed.Client
        Connected to all workers. `client.run(os.getpid)` returns their pids.

    Raises
    ------
    ProcessDiedError
        If a process ends before all are connected; the message contains the logs.
    """
    prefix = _hiding_command(hidden, folder, working_folder) if hidden else []
    dask = [*prefix, sys.executable, "-m", "dask"]
    # Functions in test modules are pickled by name, so workers must be able to import them.
    variables = {"PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    address_file = folder / "scheduler.json"
    scheduler_file = ["--scheduler-file", str(address_file)]
    network = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--no-dashboard"]
    with Processes(folder) as processes:
        processes.start(
            "scheduler",
            [*dask, "scheduler", *scheduler_file, *network, "--port", "0"],
            environment=variables,
        )
        for number in range(workers):
            name = f"worker-{number}"
            own_folder = folder / name
            own_folder.mkdir()
            limits = ["--nthreads", str(threads), "--memory-limit", memory_limit]
            identity = ["--local-directory", str(own_folder), "--name", name]
            lifetime = ["--nanny" if nanny else "--no-nanny", "--death-timeout", "60"]
            processes.start(
                name,
                [*dask, "worker", *scheduler_file, *network, *limits, *identity, *lifetime],
                environment={**variables, **(environment or {})},
                working_folder=working_folder or own_folder,
            )
        processes.wait_until(lambda: _address(address_file) != "", "dask scheduler")
        with Client(_address(address_file), timeout=30, set_as_default=False) as client:
            processes.wait_until(lambda: len(client.ncores()) == workers, "dask workers")
            if default:
                with client.as_current():
                    yield client
            else:
                yield client


def _address(file: Path) -> str:
    try:
        address: str = json.loads(file.read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError):  # missing, or only half written
        return ""
    return address


def _hiding_command(hidden: Path, *working_folders: Path | None) -> list[str]:
    """Return a command prefix that hides a folder from the command; skip the test if impossible.

    `working_folders` must not be inside: a process that starts in the hidden folder still sees it.
    """
    for path in (ROOT, *working_folders):
        if path and path.resolve().is_relative_to(hidden.resolve()):
            raise ValueError(f"{path} is used by the workers: {hidden} cannot be hidden from them")
    prefix = [*_HIDE, _HIDE_SCRIPT, "sh", str(hidden.resolve())]
    if os.geteuid() != 0:
        pytest.skip("needs root to hide a folder from the workers")
    probe = [*prefix, "ls", "-A", str(hidden)]
    try:
        names = subprocess.run(probe, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"cannot hide a folder from the workers: {error}")
    if names:
        raise RuntimeError(f"{hidden} should be hidden, but contains {names!r}")
    return prefix
