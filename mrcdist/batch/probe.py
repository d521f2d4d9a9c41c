"""Probe of a worker before a job: access to the planned file, and speed of reading."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np

from mrcdist.errors import FileChangedError, MrcdistError
from mrcdist.storage.stored_file import StoredFile, current_version

__all__ = ["probe_file", "worker_probe"]


def worker_probe() -> Callable[..., Coroutine[Any, Any, dict[str, Any]]]:
    """Return the function to be run on each worker.

    It is made inside another one so that it is sent by value: a worker without this package can
    run it, and say so.
    """

    async def probe(payload: bytes, patience: float, dask_worker: Any = None) -> dict[str, Any]:
        import asyncio
        import os
        import socket

        known = {
            "name": str(dask_worker.name),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "threads": dask_worker.state.nthreads,
            "memory_limit": dask_worker.memory_manager.memory_limit,
        }
        try:
            import mrcdist
            from mrcdist.batch.probe import probe_file
        except ImportError as error:
            return {
                **known,
                "problem": "mrcdist cannot be imported",
                "cause": str(error),
                "remedy": "install the client's version of it in the workers' environment",
            }
        known["mrcdist"] = mrcdist.__version__
        try:
            # Not in the worker's event loop: it has to go on answering its scheduler.
            reading = asyncio.to_thread(probe_file, payload, dask_worker.address)
            return {**known, **await asyncio.wait_for(reading, patience)}
        except asyncio.TimeoutError:  # noqa: UP041 another class in Python 3.10
            return {
                **known,
                "problem": f"no answer from the storage in {patience:g} s",
                "cause": "a mount that hangs, or a network that drops packets",
                "remedy": "try to read the file on that host by hand",
            }

    return probe


def probe_file(payload: bytes, address: str) -> dict[str, Any]:
    """Compare the file with the planned one, and time the reading of one block.

    Parameters
    ----------
    payload : bytes
        Pickle of the source and of an index into it for each worker's address.
    address : str
        This worker's.

    Returns
    -------
    dict
        ``bytes_read`` and ``seconds``; or ``problem``, ``cause`` and ``remedy``.
    """
    try:
        source, index = pickle.loads(payload)  # noqa: S301 from the client, as any task is
        for part in source.parts:
            _require_planned(part.file)
        begun = time.perf_counter()
        block = source[index[address]]
        block = np.array(block)  # mapped pages come from the disk when they are touched
        return {"bytes_read": int(block.nbytes), "seconds": time.perf_counter() - begun}
    except MrcdistError as error:
        return {"problem": error.problem, "cause": error.cause, "remedy": error.remedy}
    except Exception as error:  # noqa: BLE001 whatever it is, it goes into the report
        return {
            "problem": f"{type(error).__name__}: {error}",
            "cause": "software that differs from the client's",
            "remedy": "compare the versions",
        }


def _require_planned(file: StoredFile) -> None:
    found = current_version(file.location)
    try:
        file.require(found)
    except FileChangedError as error:
        raise FileChangedError(
            f"{file.location.shown} on this worker is {found}, but {file.version} was planned",
            code=error.code,
            cause="this worker sees another copy or version, or the file is being written",
            remedy="make all workers see the same file, and plan again once it is complete",
        ) from None
