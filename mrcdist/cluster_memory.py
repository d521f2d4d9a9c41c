"""The memory available to a task on the connected cluster, as far as it is known."""

from __future__ import annotations

import sys

# Of a chunk, `std` makes a float64 copy and a float64 square at a time: bytes per number.
FLOAT64_TEMPORARIES = 16

PYTHON_MEMORY = 150 * 2**20
"""Memory that Python and its packages take in each worker, in bytes."""

# The part of the rest that a worker holds before it spills to disk.
_BEFORE_SPILLING = 0.6


def task_memory() -> int | None:
    """Return the bytes that each task can hold on the cluster of the current `Client`.

    Of the worker with the least memory per thread. None if there is no client, if its scheduler
    does not answer, or if its workers have no memory limit.
    """
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        client = default_client()
        if client.asynchronous or client.status != "running":
            return None
        workers = client.scheduler_info()["workers"].values()
    except Exception:  # noqa: BLE001 no client, or one whose scheduler is gone: reading will tell
        return None
    rooms = [
        (worker["memory_limit"] - PYTHON_MEMORY) * _BEFORE_SPILLING / worker["nthreads"]
        for worker in workers
        if worker.get("memory_limit") and worker.get("nthreads")
    ]
    return max(int(min(rooms)), 0) if rooms else None
