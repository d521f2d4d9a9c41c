"""A dask cluster of separate processes, as on several machines: nothing is shared by accident.

Scheduler and workers are started from the command line, know the scheduler's address alone, work
in a folder of their own and have nobody's S3 settings. On Linux as root they can also be blinded:
`hidden` is a folder that the client sees and they do not.
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

# A mount namespace of its own, in which an empty file system covers the folder.
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
    """Run a scheduler and workers on 127.0.0.1; give the client.

    Parameters
    ----------
    folder : Path
        Where logs and the workers' temporary files go.
    workers, threads : int
        Number of worker processes, and of threads in each.
    environment : mapping, optional
        Variables for the workers, such as `S3Server.environment()`.
    working_folder : Path, optional
        The workers' current folder; an empty one of their own by default.
    hidden : Path, optional
        A folder that is empty for scheduler and workers. The test is skipped where this cannot
        be done (it takes Linux and root).
    memory_limit : str, default "2 GiB"
        For each worker.
    nanny : bool, default False
        Start each worker under a nanny, which restarts it when it dies.
    default : bool, default True
        Whether `compute()` goes to this cluster for as long as the block.

    Yields
    ------
    distributed.Client
        All workers have connected. `client.run(os.getpid)` gives their pids.

    Raises
    ------
    ProcessDiedError
        A process ended before all were connected; the message has the logs.
    """
    prefix = _blindfold(hidden, folder, working_folder) if hidden else []
    dask = [*prefix, sys.executable, "-m", "dask"]
    # Functions of test modules are pickled by name; workers must be able to import them.
    variables = {"PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    address_file = folder / "scheduler.json"
    found_at = ["--scheduler-file", str(address_file)]
    served = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--no-dashboard"]
    with Processes(folder) as processes:
        processes.start(
            "scheduler",
            [*dask, "scheduler", *found_at, *served, "--port", "0"],
            environment=variables,
        )
        for number in range(workers):
            name = f"worker-{number}"
            own_folder = folder / name
            own_folder.mkdir()
            limits = ["--nthreads", str(threads), "--memory-limit", memory_limit]
            places = ["--local-directory", str(own_folder), "--name", name]
            care = ["--nanny" if nanny else "--no-nanny", "--death-timeout", "60"]
            processes.start(
                name,
                [*dask, "worker", *found_at, *served, *limits, *places, *care],
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
    except (OSError, ValueError):  # not there yet, or half written
        return ""
    return address


def _blindfold(hidden: Path, *used: Path | None) -> list[str]:
    """Return the start of a command line that hides `hidden` from the rest; skip if it cannot.

    `used` are folders that the rest of the command line works in: a process that starts in the
    folder goes on to see it from the inside.
    """
    for path in (ROOT, *used):
        if path and path.resolve().is_relative_to(hidden.resolve()):
            raise ValueError(f"{path} is used by the workers: {hidden} cannot be hidden from them")
    prefix = [*_HIDE, _HIDE_SCRIPT, "sh", str(hidden.resolve())]
    if os.geteuid() != 0:
        pytest.skip("hiding a folder from the workers takes root")
    probe = [*prefix, "ls", "-A", str(hidden)]
    try:
        seen = subprocess.run(probe, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"a folder cannot be hidden from the workers here: {error}")
    if seen:
        raise RuntimeError(f"{hidden} was to be hidden and shows {seen!r}")
    return prefix
