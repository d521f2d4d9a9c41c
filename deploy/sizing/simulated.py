"""Many workers on one machine, which read from a simulated object store: see `simulate.py --scale`.

    python deploy/sizing/simulated.py SCHEDULER_FILE WORKERS THREADS SECONDS

runs dask workers as processes that are forked from one which has imported everything, and kills one
every so many seconds, as a cloud takes spot instances back; another takes its place.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from typing import Any

import dask
import fsspec
import numpy as np
from distributed import Worker
from fsspec.asyn import AsyncFileSystem

import mrcdist.storage.transport.fsspec  # noqa: F401  imported before processes are forked
from mrcdist.testing.movie import movie_header

FRAME = (8, 8)
FRAME_BYTES = 2 * FRAME[0] * FRAME[1]
HEADER_BYTES = 1024


class SimulatedStore(AsyncFileSystem):  # type: ignore[misc]
    """One MRC file of ones, whose requests take as long as those of an object store.

    Parameters
    ----------
    frames : int
        In the file; each stands for a whole chunk.
    latency : float
        Seconds until the first byte.
    transfer : float
        Seconds that a frame takes from then on.
    stragglers, failures : float
        Share of requests that take ten times as long, or whose connection breaks.
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
        dice = random.random()  # noqa: S311
        if dice < self.failures:
            await asyncio.sleep(seconds / 2)
            raise ConnectionResetError("simulated: the connection broke")
        await asyncio.sleep(seconds * (10 if dice > 1 - self.stragglers else 1))
        body = np.ones(FRAME_BYTES // 2 * -(-(stop - begin) // FRAME_BYTES), "<u2").tobytes()
        return self.header[begin:] + body[: stop - max(begin, HEADER_BYTES)]


fsspec.register_implementation("simulated", SimulatedStore, clobber=True)


async def work(scheduler_file: str, threads: int) -> None:
    """Run one worker."""
    with tempfile.TemporaryDirectory(prefix="simulated-") as folder:
        async with Worker(
            scheduler_file=scheduler_file,
            nthreads=threads,
            local_directory=folder,
            memory_limit=0,
            host="127.0.0.1",
            dashboard=False,
        ) as worker:
            await worker.finished()


def fork(scheduler_file: str, threads: int) -> int:
    """Start a worker process; return its number."""
    number = os.fork()
    if number:
        return number
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        random.seed()
        asyncio.run(work(scheduler_file, threads))
    finally:
        os._exit(0)


def main(scheduler_file: str, workers: str, threads: str, seconds: str) -> None:
    """Run workers until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # What hundreds of workers do beside their tasks would take all of one machine.
    dask.config.set(
        {
            "distributed.worker.profile.enabled": False,
            "distributed.admin.system-monitor.interval": "10s",
        }
    )
    # Compiling would take each of them seconds, for frames of a few pixels.
    sys.modules["numba"] = None  # type: ignore[assignment]
    running: list[int] = []
    try:
        running += [fork(scheduler_file, int(threads)) for _ in range(int(workers))]
        while True:
            time.sleep(float(seconds) or 3600)
            if float(seconds):
                taken = running.pop(random.randrange(len(running)))  # noqa: S311
                os.kill(taken, signal.SIGKILL)
                os.waitpid(taken, 0)
                running.append(fork(scheduler_file, int(threads)))
    finally:
        for number in running:
            os.kill(number, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
