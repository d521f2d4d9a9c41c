"""Measure how fast a cluster reads from its storage, and print a table to publish.

    python deploy/sizing/throughput.py /lustre/scratch/throughput.mrc --gib 500 --scheduler ADDRESS
    python deploy/sizing/throughput.py s3://bucket/throughput.mrc --gib 500 --jobqueue slurm.yaml

The workers write a file of noise, which storage cannot compress, read it several times like a movie
(`mrcdist.reduce_frames`, each byte once), compare the sums, and delete it. The file should be at
least twice as large as the memory of the nodes; otherwise, it is read from their page caches. The
first pass includes imports, and compilation if numba is installed.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import dask.array as da
import fsspec
import numpy as np
import psutil
from distributed import Client
from numpy.typing import NDArray

import mrcdist
from mrcdist.batch.clusters import ClusterOptions, connect
from mrcdist.cli.cluster import cluster_options
from mrcdist.cli.options import storage_option

FRAME = (512, 512)
FRAME_BYTES = 2 * FRAME[0] * FRAME[1]
BLOCK = 256  # frames, 128 MiB
PACKAGES = ("mrcdist", "dask", "distributed", "numpy", "numba", "fsspec", "s3fs", "aiobotocore")


def noise(block_info: Any = None) -> NDArray[np.uint16]:
    """Return the frames of a block, each with a distinct number in one corner."""
    [(first, last), *_] = block_info[None]["array-location"]
    rng = np.random.default_rng(first)
    tile = rng.integers(0, 4096, (16, *FRAME), dtype=np.uint16)
    frames = np.resize(tile, (last - first, *FRAME))
    frames[:, 0, 0] = np.arange(first, last) % 4096
    return frames


def hardware(folder: str | None) -> dict[str, Any]:
    """Return the properties of a worker's host and of the filesystem it reads from."""
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = cpus.read_text("utf-8", errors="replace").splitlines()
        model = next((s.partition(":")[2].strip() for s in lines if s[:10] == "model name"), model)
    mounts = [disk for disk in psutil.disk_partitions(all=True) if folder] if folder else []
    inside = [disk for disk in mounts if Path(str(folder)).is_relative_to(disk.mountpoint)]
    found = max(inside, key=lambda disk: len(disk.mountpoint), default=None)
    return {
        "host": platform.node(),
        "cpu": f"{model}, {os.cpu_count()} CPUs",
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "filesystem": found.fstype if found else "",
    }


def write(url: str, frames: int, options: dict[str, Any]) -> float:
    """Write the file and return the time in seconds."""
    chunks = da.core.normalize_chunks((BLOCK, *FRAME), (frames, *FRAME))
    data = da.map_blocks(noise, chunks=chunks, dtype=np.uint16, meta=np.empty((0,) * 3, np.uint16))
    start = time.perf_counter()
    mrcdist.write_mrc(url, data, statistics=False, storage_options=options)
    return time.perf_counter() - start


def read(client: Client, url: str, frames: int, options: dict[str, Any]) -> float:
    """Read the file once and return the time in seconds."""
    start = time.perf_counter()
    plan = mrcdist.plan_mrc(url, chunks="128 MiB", storage_options=options)
    results = mrcdist.reduce_frames(plan, {"sum": mrcdist.SumPattern()}, client=client)
    seconds = time.perf_counter() - start
    numbers = np.arange(frames, dtype=np.uint64) % 4096
    if plan.shape != (frames, *FRAME) or results["sum"].values[0, 0] != numbers.sum():
        sys.exit(f"error: the data read from {url} differ from those written")
    return seconds


def report(
    client: Client, url: str, nbytes: int, rows: list[tuple[str, float]], versions: str
) -> str:
    """Return the table in Markdown."""
    local = "://" not in url
    hosts = list(client.run(hardware, str(Path(url).resolve().parent) if local else None).values())
    by_name = {host["host"]: host for host in hosts}
    memory = sum(host["memory"] for host in by_name.values())
    threads = sum(client.nthreads().values())
    kinds = Counter(f"{host['cpu']}, {host['memory'] / 2**30:.0f} GiB" for host in by_name.values())
    storage = ", ".join(sorted({host["filesystem"] for host in hosts})) if local else "object store"
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "nodes": "; ".join(f"{count} × {kind}" for kind, count in kinds.items()),
        "workers": f"{len(hosts)} processes, {threads} threads",
        "system": ", ".join(sorted({host["system"] for host in hosts})),
        "storage": f"{storage} (fill in: model, targets, network)",
        "file": f"{nbytes / 1e9:.1f} GB, {nbytes / memory:.1f} times the memory of the nodes",
        "versions": versions,
    }
    lines = [f"| {name} | {value} |" for name, value in facts.items()]
    lines = ["| | |", "|---|---|", *lines, "", "| | seconds | GB/s |", "|---|---:|---:|"]
    lines += [f"| {name} | {took:.1f} | {nbytes / took / 1e9:.2f} |" for name, took in rows]
    if nbytes < 2 * memory:
        lines += ["", "The file may have been read from the page caches of the nodes."]
    return "\n".join(lines)


def package_versions() -> str:
    """Return the versions of Python and of the packages involved."""
    versions = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(versions)


@click.command(help=__doc__.partition("\n")[0])
@click.argument("url")
@click.option("--gib", type=float, default=64.0, help="Size of the file.  [64]")
@click.option(
    "--passes", type=click.IntRange(1), default=3, help="Number of times to read it.  [3]"
)
@click.option("--keep", is_flag=True, help="Do not delete the file.")
@storage_option
@cluster_options
def main(
    url: str, gib: float, passes: int, keep: bool, storage_options: dict[str, Any], **cluster: Any
) -> None:
    """Write, read, delete, and print the table."""
    frames = max(1, round(gib * 2**30 / FRAME_BYTES))
    nbytes = frames * FRAME_BYTES

    def log(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with connect(ClusterOptions(**cluster), log=log, wait_for_jobs=True) as connected:
        client = connected.client
        log(f"writing {nbytes / 1e9:.1f} GB to {url}")
        rows = [("write", write(url, frames, storage_options))]
        try:
            for number in range(1, passes + 1):
                log(f"reading it, pass {number} of {passes}")
                rows.append((f"read, pass {number}", read(client, url, frames, storage_options)))
            print(report(client, url, nbytes, rows, package_versions()))
        finally:
            if not keep:
                fs, path = fsspec.core.url_to_fs(url, **storage_options)
                fs.rm(path)


if __name__ == "__main__":
    main()
