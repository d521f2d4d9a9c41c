"""Memory available to a task on the connected cluster, as far as it is known."""

from __future__ import annotations

import sys

# Bytes per number: `std` holds a float64 copy and a float64 square of a chunk at the same time.
FLOAT64_TEMPORARIES = 16

PYTHON_MEMORY = 150 * 2**20
"""Memory of Python and its packages in each worker, in bytes."""

# Fraction of the remaining memory that a worker fills before it spills to disk.
_SPILL_FRACTION = 0.6


def task_memory() -> int | None:
    """Return the bytes that each task can hold on the cluster of the current `Client`.

    The worker with the least memory per thread counts. None if there is no client, if its scheduler
    does not answer, or if its workers have no memory limit.
    """
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        client = default_client()
        if client.asynchronous or client.status != "running":
            return None
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    except Exception:  # noqa: BLE001 no client, or a lost scheduler, which reading will report
        return None
    per_task = [
        (worker["memory_limit"] - PYTHON_MEMORY) * _SPILL_FRACTION / worker["nthreads"]
        for worker in workers
        if worker.get("memory_limit") and worker.get("nthreads")
    ]
    return max(int(min(per_task)), 0) if per_task else None
