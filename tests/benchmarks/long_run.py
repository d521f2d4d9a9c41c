"""Read random blocks for a long time from a store with faults, and check for leaks.

    python tests/benchmarks/long_run.py [--minutes 30] [--threads 8] [--faults 0.05]

A separate process reads through a proxy that breaks every twentieth response of a real S3 server.
It compares each block with the data written, and records its open files, sockets, threads and
memory. The exit status is 1 if they are higher in the last third of the run than in the first.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from ast import literal_eval
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

import dask  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402

from mrcdist import plan_mrc, stats  # noqa: E402
from tests.support.http_log import CountingProxy, Exchange, Fault  # noqa: E402
from tests.support.mrc_files import mrc_bytes  # noqa: E402
from tests.support.s3 import radosgw_server  # noqa: E402

SHAPE = (1024, 64, 64)
FAULTS = (
    Fault("status", status=500),
    Fault("status", status=503),
    Fault("reset"),
    Fault("reset", after=500),
    Fault("truncate", after=500),
    Fault("short", after=500),
    Fault("stall", after=500, seconds=5),
)
_SAMPLE_SECONDS = 5.0


def numbers() -> np.ndarray:
    """Return the content of the file."""
    return np.random.default_rng(0).integers(0, 2**16, SHAPE, np.uint16)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run server, proxy and reader; return the exit status of the reader."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--faults", type=float, default=0.05, help="fraction of broken responses")
    options = parser.parse_args(arguments)
    rng = random.Random(0)

    def respond(_: Exchange) -> Fault | None:
        return rng.choice(FAULTS) if rng.random() < options.faults else None

    with (
        tempfile.TemporaryDirectory(prefix="mrcdist-long-") as folder,
        radosgw_server(Path(folder) / "radosgw", on_disk=True) as server,
        server.bucket() as bucket,
        CountingProxy(server) as proxy,
    ):
        url = bucket.put("movie.mrc", mrc_bytes(numbers()))
        proxy.respond = respond
        command = [sys.executable, __file__, "--reader", url, str(options.minutes)]
        variables = {**os.environ, "READER_OPTIONS": repr(proxy.server.storage_options())}
        with subprocess.Popen([*command, str(options.threads)], env=variables) as reader:
            while reader.poll() is None:
                time.sleep(1)
                proxy.clear()  # otherwise, its list of requests would grow
            return reader.returncode


def read_at_random(url: str, minutes: str, threads: str) -> int:
    """Read blocks in threads until the time is up; return 0 if nothing has grown."""
    source = plan_mrc(url, storage_options=literal_eval(os.environ["READER_OPTIONS"])).source
    expected = numbers()
    deadline = time.monotonic() + 60 * float(minutes)
    blocks = [0] * int(threads)
    lock = threading.Lock()

    def read(number: int) -> None:
        rng = np.random.default_rng(number)
        while time.monotonic() < deadline:
            start, stop = np.sort(rng.integers(0, SHAPE[0] + 1, 2))
            rows = slice(*np.sort(rng.integers(0, SHAPE[1] + 1, 2)).tolist())
            window = (slice(int(start), int(stop), int(rng.integers(1, 4))), rows)
            if not np.array_equal(source[window], expected[window]):
                raise SystemExit(f"{window}: differs from the data written")
            with lock:
                blocks[number] += 1

    samples: list[dict[str, int]] = []
    settings = {"mrcdist.sub-range": 2**17, "mrcdist.stall": 1.0, "mrcdist.max-gap": 2**12}
    with dask.config.set(settings), ThreadPoolExecutor(int(threads)) as pool:
        futures = [pool.submit(read, number) for number in range(int(threads))]
        while not all(future.done() for future in futures):
            time.sleep(_SAMPLE_SECONDS)
            samples.append(_sample())
            print(f"{sum(blocks):>8} blocks  {stats.snapshot().retries:>6} retries  {samples[-1]}")
            sys.stdout.flush()
        for future in futures:
            future.result()
    return _report_growth(samples)


def _sample() -> dict[str, int]:
    process = psutil.Process()
    return {
        "files": process.num_fds(),
        "sockets": len(process.net_connections()),
        "threads": process.num_threads(),
        "MiB": process.memory_info().rss // 2**20,
    }


def _report_growth(samples: Sequence[dict[str, int]]) -> int:
    """Compare the last third with the first, with a tolerance for random fluctuations."""
    third = len(samples) // 3
    if third < 3:
        print("the run is too short to detect growth")
        return 1
    grown = 0
    for key, tolerance in (("files", 8), ("sockets", 8), ("threads", 2), ("MiB", 24)):
        before = statistics.median(sample[key] for sample in samples[:third])
        after = statistics.median(sample[key] for sample in samples[-third:])
        has_grown = after > before + tolerance
        grown += has_grown
        print(f"{key:<8} {before:>6.0f} → {after:>6.0f}{'  GROWN' * has_grown}")
    print(f"{stats.snapshot()}")
    return int(grown > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--reader"]:
        sys.exit(read_at_random(*sys.argv[2:5]))
    sys.exit(main())
