"""Peak memory of reading and writing, measured in a separate process.

As a script, `memory.py read URL MIB THREADS [crop]` reads twelve chunks, and `memory.py write URL
MIB THREADS BYTEORDER [COMPRESSOR]` writes four; both print the result as JSON.
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
    """Memory of a process that reads or writes chunks in threads, one per thread at a time.

    Attributes
    ----------
    peak : int
        Peak memory in bytes, above the baseline after all imports and connections.
    chunk : int
        Bytes of a chunk.
    threads : int
    estimate : int
        Bytes estimated by `explain()` for this number of threads.
    """

    peak: int
    chunk: int
    threads: int
    estimate: int

    @property
    def per_chunk(self) -> float:
        """Peak ÷ bytes of the chunks that threads hold at a time."""
        return self.peak / (self.chunk * self.threads)

    @property
    def estimate_ratio(self) -> float:
        """Estimate of `explain()` ÷ peak."""
        return self.estimate / self.peak


def reader_memory(
    url: str,
    *,
    chunk_mib: int,
    threads: int,
    crop: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> ReaderMemory:
    """Read twelve chunks of a stack of frames, some of them repeatedly if it has fewer.

    Parameters
    ----------
    url : str
    chunk_mib : int
        MiB of whole frames per chunk.
    threads : int
        A divisor of 12.
    crop : bool, default False
        Read only the middle 3/8 of the rows of each frame.
    storage_options : mapping, optional
    """
    return _measure(
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
    """Write four blocks of noise, computed by tasks, one per thread at a time.

    Parameters
    ----------
    url : str
    block_mib : int
        MiB per block.
    threads : int
        A divisor of 4.
    byteorder : {"<", ">"}, default "<"
    compressor : str, optional
    storage_options : mapping, optional
    """
    encoding = (byteorder, *([compressor] if compressor else []))
    return _measure("write", url, block_mib, threads, *encoding, options=storage_options)


def _measure(*arguments: object, options: Mapping[str, Any] | None) -> ReaderMemory:
    process = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "STORE_OPTIONS": json.dumps(dict(options or {})),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(process.stderr)
    return ReaderMemory(**json.loads(process.stdout))


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
    # As in a worker without memory for mapped pages that are not needed.
    source = replace(plan.source, limits=ReadLimits(mapped_memory_share=0))
    together = Barrier(n_threads)

    def read(number: int) -> int:
        start = number * n_frames % whole.shape[0]
        block = source[start : start + n_frames, first:last]
        largest = int(block.max())  # only pages that were accessed count as memory
        together.wait(60)
        return largest

    source[0]
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(lambda _: together.wait(60), range(n_threads)))
        before = _process_memory("VmRSS")
        list(pool.map(read, range(_CHUNKS)))
    report = plan.explain(threads=n_threads)
    result = ReaderMemory(
        _process_memory("VmHWM") - before, report.task_bytes, n_threads, report.worker_memory
    )
    print(json.dumps(vars(result)))


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
        together.wait(120)  # otherwise, threads might run one after the other on a busy machine
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
        write(1, f"{url}.first")  # import and connect everything
        before = _process_memory("VmRSS")
        # Reset the peak.
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        estimate = write(n_frames, url)
    peak = _process_memory("VmHWM") - before
    nbytes = int(mib) * 2**20
    result = ReaderMemory(peak, nbytes, int(threads), estimate.task_memory * int(threads))
    print(json.dumps(vars(result)))


def _process_memory(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith(key)]
    return int(kib) * 1024


if __name__ == "__main__":
    {"read": _read, "write": _write}[sys.argv[1]](*sys.argv[2:])
