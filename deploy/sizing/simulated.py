"""Many workers in one process, which read from a simulated object store: see `simulate.py`.

    python deploy/sizing/simulated.py SCHEDULER_FILE WORKERS THREADS SECONDS

Runs dask workers in the event loop of one process, each with its own threads, connections and
heartbeats. Every SECONDS on average, one of them is terminated without warning, like a spot
instance, and replaced.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from contextlib import suppress
from typing import Any

import dask
import fsspec
import numpy as np
from distributed import Worker
from fsspec.asyn import AsyncFileSystem

from mrcdist.testing.movie import movie_header

FRAME = (8, 8)
FRAME_BYTES = 2 * FRAME[0] * FRAME[1]
HEADER_BYTES = 1024


class SimulatedStore(AsyncFileSystem):  # type: ignore[misc]
    """An MRC file of ones, with requests that take as long as those of an object store.

    Parameters
    ----------
    frames : int
        Number of frames, each of which represents a whole chunk.
    latency : float
        Seconds until the first byte.
    transfer : float
        Seconds for the bytes of a frame.
    stragglers, failures : float
        Fraction of requests that take ten times as long, or whose connection breaks.
    """

    protocol = "simulated"

    def __init__(
        self,
        frames: int = 1,
        latency: float = 0.0,
        transfer: float = 0.0,
        stragglers: float = 0.0,
        failures: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.size = HEADER_BYTES + frames * FRAME_BYTES
        self.header = movie_header(frames, FRAME)
        self.latency, self.transfer = latency, transfer
        self.stragglers, self.failures = stragglers, failures

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": self.size, "type": "file", "ETag": '"1"'}

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        del path, detail
        return []

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        del path
        begin, stop = start or 0, min(self.size if end is None else end, self.size)
        if stop <= HEADER_BYTES:
            return self.header[begin:stop]
        seconds = self.latency + self.transfer * (stop - begin) / FRAME_BYTES
        chance = random.random()  # noqa: S311
        if chance < self.failures:
            await asyncio.sleep(seconds / 2)
            raise ConnectionResetError("simulated connection loss")
        await asyncio.sleep(seconds * (10 if chance > 1 - self.stragglers else 1))
        body = np.ones(FRAME_BYTES // 2 * -(-(stop - begin) // FRAME_BYTES), "<u2").tobytes()
        return self.header[begin:] + body[: stop - max(begin, HEADER_BYTES)]


fsspec.register_implementation("simulated", SimulatedStore, clobber=True)


async def start(scheduler_file: str, threads: int, folder: str) -> Worker:
    """Start a worker in the event loop of this process."""
    return await Worker(
        scheduler_file=scheduler_file,
        nthreads=threads,
        local_directory=folder,
        memory_limit=0,
        host="127.0.0.1",
        dashboard=False,
    )


async def terminate(worker: Worker) -> None:
    """Break the connections of a worker, from which scheduler and other workers notice the loss."""
    worker.batched_stream.abort()
    await worker.close(executor_wait=False, nanny=False, reason="terminated")


async def work(scheduler_file: str, workers: int, threads: int, seconds: float) -> None:
    """Run workers until the scheduler ends; terminate and replace one every `seconds`."""
    with tempfile.TemporaryDirectory(prefix="simulated-") as folder:
        running = [await start(scheduler_file, threads, folder) for _ in range(workers)]
        while any(worker.status.name == "running" for worker in running):
            if not seconds:
                await asyncio.gather(*(worker.finished() for worker in running))
                return
            await asyncio.sleep(random.expovariate(1 / seconds))
            await terminate(running.pop(random.randrange(len(running))))  # noqa: S311
            # The scheduler may have ended in the meantime.
            with suppress(OSError):
                running.append(await start(scheduler_file, threads, folder))


def main(scheduler_file: str, workers: str, threads: str, seconds: str) -> None:
    """Run workers until SIGTERM."""
    # Background work of hundreds of workers would occupy the whole machine.
    dask.config.set(
        {
            "distributed.worker.profile.enabled": False,
            "distributed.admin.system-monitor.interval": "10s",
            "distributed.admin.tick.interval": "2s",
        }
    )
    # Threads that wait for the interpreter lock wake up at this interval, by default every 5 ms.
    sys.setswitchinterval(0.05)
    asyncio.run(work(scheduler_file, int(workers), int(threads), float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
