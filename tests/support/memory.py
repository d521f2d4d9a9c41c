"""What reading and writing take of a process's memory, measured in one of its own.

As a script: `memory.py read URL MIB THREADS [crop]` reads twelve chunks, and `memory.py write URL
MIB THREADS BYTEORDER [COMPRESSOR]` writes four; it prints what it found.
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

__all__ = ["ReaderMemory", "reader_memory", "writer_memory"]

_CHUNKS = 12


@dataclass(frozen=True)
class ReaderMemory:
    """Memory of a process that has read or written chunks in threads, each of which had one.

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
    return _measured(
        "read", url, chunk_mib, threads, *(["crop"] if crop else []), options=storage_options
    )


def writer_memory(
    url: str,
    *,
    block_mib: int,
    threads: int,
    byteorder: str = "<",
    compressor: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ReaderMemory:
    """Write four blocks of noise that tasks compute, in each thread one at the same time.

    Parameters
    ----------
    url : str
    block_mib : int
        MiB a block.
    threads : int
        A divisor of 4.
    byteorder : {"<", ">"}, default "<"
    compressor : str, optional
    storage_options : mapping, optional
    """
    words = (byteorder, *([compressor] if compressor else []))
    return _measured("write", url, block_mib, threads, *words, options=storage_options)


def _measured(*words: object, options: Mapping[str, Any] | None) -> ReaderMemory:
    given = json.dumps(dict(options or {}))
    done = subprocess.run(
        [sys.executable, __file__, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "STORE_OPTIONS": given},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return ReaderMemory(**json.loads(done.stdout))


def _read(url: str, mib: str, threads: str, crop: str = "") -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    from mrcdist import plan_mrc
    from mrcdist.read_limits import ReadLimits

    n_threads = int(threads)
    options = json.loads(os.environ["STORE_OPTIONS"])
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
    source = replace(plan.source, limits=ReadLimits(mapped_memory_share=0))
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


def _write(url: str, mib: str, threads: str, byteorder: str, compressor: str | None = None) -> None:
    from threading import Barrier

    import dask
    import dask.array as da
    import numpy as np

    import mrcdist

    side, n_blocks = 1024, 4
    n_frames = int(mib) * 2**20 // (2 * side**2)
    options = json.loads(os.environ["STORE_OPTIONS"])
    noise = np.random.default_rng(0).integers(0, 2**16, (side, side), np.uint16)
    together = Barrier(int(threads))

    def block(block_info: Any = None) -> Any:
        (start, stop), *_ = block_info[None]["array-location"]
        numbers = np.empty((stop - start, side, side), np.uint16)
        for number in range(stop - start):
            np.bitwise_xor(noise, start + number, out=numbers[number], casting="unsafe")
        together.wait(120)  # a busy machine may let one thread work after the other
        return numbers

    def write(frames: int, name: str) -> Any:
        chunks = ((frames,) * n_blocks, (side,), (side,))
        array = da.map_blocks(block, chunks=chunks, dtype=np.uint16, meta=np.empty((0, 0, 0), "u2"))
        plan = mrcdist.plan_write(
            name,
            array,
            byteorder=byteorder,
            compressor=compressor,
            overwrite=True,
            storage_options=options,
        )
        plan.write()
        return plan.explain()

    with dask.config.set(scheduler="threads", num_workers=int(threads)):
        write(1, f"{url}.first")  # everything is imported and connected
        before = _of_process("VmRSS")
        # The peak so far does not count.
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        estimate = write(n_frames, url)
    peak = _of_process("VmHWM") - before
    nbytes = int(mib) * 2**20
    found = ReaderMemory(peak, nbytes, int(threads), estimate.task_memory * int(threads))
    print(json.dumps(vars(found)))


def _of_process(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith(key)]
    return int(kib) * 1024


if __name__ == "__main__":
    {"read": _read, "write": _write}[sys.argv[1]](*sys.argv[2:])
