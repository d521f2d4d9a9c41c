"""What reading takes of a process's memory, measured in one of its own.

As a script: `memory.py URL MIB THREADS [crop]` reads twelve chunks and prints what it found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

__all__ = ["ReaderMemory", "reader_memory"]

_CHUNKS = 12


@dataclass(frozen=True)
class ReaderMemory:
    """Memory of a process that has read chunks in threads, all of which held one at a time.

    Attributes
    ----------
    peak : int
        Bytes at most, beyond what the process had when everything was imported and connected.
    chunk : int
        Bytes of a chunk.
    threads : int
    said : int
        Bytes that `explain()` says for as many threads.
    """

    peak: int
    chunk: int
    threads: int
    said: int

    @property
    def per_chunk(self) -> float:
        """Peak, over the bytes of the chunks that threads hold at a time."""
        return self.peak / (self.chunk * self.threads)

    @property
    def told(self) -> float:
        """What `explain()` says, over the peak."""
        return self.said / self.peak


def reader_memory(
    url: str,
    *,
    chunk_mib: int,
    threads: int,
    crop: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> ReaderMemory:
    """Read twelve chunks of a stack of frames, again and again the same if it has fewer.

    Parameters
    ----------
    url : str
    chunk_mib : int
        MiB of whole frames a chunk.
    threads : int
        A divisor of 12.
    crop : bool, default False
        Read the middle 3/8 of each frame's rows alone.
    storage_options : mapping, optional
    """
    words = [url, str(chunk_mib), str(threads), *(["crop"] if crop else [])]
    options = json.dumps(dict(storage_options or {}))
    done = subprocess.run(
        [sys.executable, __file__, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "READER_OPTIONS": options},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return ReaderMemory(**json.loads(done.stdout))


def _main(url: str, mib: str, threads: str, crop: str = "") -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    from mrcdist import plan_mrc
    from mrcdist.plan.limits import Limits

    n_threads = int(threads)
    options = json.loads(os.environ["READER_OPTIONS"])
    whole = plan_mrc(url, metadata_file=None, storage_options=options)
    _, n_rows, n_columns = whole.shape
    n_frames = int(mib) * 2**20 // (n_rows * n_columns * whole.source.dtype.itemsize)
    first, last = (n_rows * 5 // 16, n_rows * 11 // 16) if crop else (0, n_rows)
    plan = plan_mrc(
        url,
        chunks=(n_frames, last - first, -1),
        metadata_file=None,
        storage_options=options,
    )
    # As in a worker that has no memory for pages to spare.
    source = replace(plan.source, limits=Limits(mapped_memory_share=0))
    together = Barrier(n_threads)

    def read(number: int) -> int:
        start = number * n_frames % whole.shape[0]
        block = source[start : start + n_frames, first:last]
        used = int(block.max())  # of a map, only what is touched counts
        together.wait(60)
        return used

    source[0]
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(lambda _: together.wait(60), range(n_threads)))
        before = _of_process("VmRSS")
        list(pool.map(read, range(_CHUNKS)))
    report = plan.explain(threads=n_threads)
    found = ReaderMemory(
        _of_process("VmHWM") - before, report.task_bytes, n_threads, report.worker_memory
    )
    print(json.dumps(vars(found)))


def _of_process(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith(key)]
    return int(kib) * 1024


if __name__ == "__main__":
    _main(*sys.argv[1:])
