"""Time writing to a disk and to a bucket, compared with plain copies of the same bytes.

    python tests/benchmarks/writing.py [--what disk,bucket,memory,columns] [--mib 512]
                                       [--chunk-mib 64] [--rounds 5] [--folder DIR]

All ways take turns in every round, in one process. A ratio is the median over all rounds. Files
are read back and compared before times count.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

import dask.array as da  # noqa: E402
import mrcfile  # noqa: E402
import numpy as np  # noqa: E402
import s3fs  # noqa: E402

import mrcdist  # noqa: E402
from tests.benchmarks.object_store import Way, print_table  # noqa: E402
from tests.benchmarks.report import machine  # noqa: E402
from tests.benchmarks.stores import Store, open_stores  # noqa: E402
from tests.support.memory import writer_memory  # noqa: E402

WHAT = ("disk", "bucket", "memory", "columns")
SIDE, MIB = 512, 2**20
HEADER = 1024

Numbers = np.ndarray[Any, np.dtype[np.uint16]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit with an error if a file is wrong."""
    options = _parse(arguments)
    print(", ".join(f"{key} {value}" for key, value in machine(1).items() if key != "workers"))
    shape = (options.mib * MIB // (2 * SIDE**2), SIDE, SIDE)
    numbers = np.random.default_rng(0).integers(0, 2**16, shape, np.uint16)
    # With a name, so that dask does not hash the numbers each time.
    chunks = (options.chunk_mib * MIB // (2 * SIDE**2), -1, -1)
    array = da.from_array(numbers, chunks=chunks, name="benchmark", asarray=False)
    with tempfile.TemporaryDirectory(prefix="mrcdist-bench-", dir=options.folder) as name:
        folder = Path(name)
        if "disk" in options.what:
            _disk(folder, array, numbers, options.rounds)
        if "bucket" in options.what:
            with open_stores(("radosgw",), folder) as stores:
                for store in stores:
                    _bucket(store, folder, array, numbers, options.rounds)
        if "memory" in options.what:
            _memory(folder)
        if "columns" in options.what:
            _columns(folder, numbers, options.rounds)
    return 0


def _disk(folder: Path, array: da.Array, numbers: Numbers, rounds: int) -> None:
    path = folder / "written.mrc"
    with tempfile.TemporaryDirectory(prefix="mrcdist-bench-", dir=_memory_folder()) as name:
        source = Path(name) / "source.mrc"
        mrcdist.write_mrc(source, array)

        def dd(_: int) -> None:
            command = ["dd", f"if={source}", f"of={path}", "bs=64M", "conv=fsync"]
            subprocess.run(command, check=True, capture_output=True)

        def new_mmap(_: int) -> None:
            with mrcfile.new_mmap(path, numbers.shape, mrc_mode=6) as file:
                da.store(array, file.data)

        ways = [
            Way("mrcdist", lambda _: mrcdist.write_mrc(path, array)),
            Way("without statistics", lambda _: mrcdist.write_mrc(path, array, statistics=False)),
            Way("dd conv=fsync", dd),
            Way("da.store into mrcfile.new_mmap", new_mmap),
        ]
        _take_turns(ways, rounds, numbers, lambda: path, path.unlink)
    print_table(f"disk: {numbers.nbytes // MIB} MiB", ways, nbytes=numbers.nbytes)


def _memory_folder() -> str | None:
    """Return a folder in memory, from which `dd` can copy without reading from a disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _bucket(store: Store, folder: Path, array: da.Array, numbers: Numbers, rounds: int) -> None:
    source, url = folder / "source.mrc", store.url("written.mrc")
    mrcdist.write_mrc(source, array)
    fs = s3fs.S3FileSystem(**store.options)
    bucket, key = url.removeprefix("s3://").split("/")
    if store.server is None:
        raise TypeError(f"cannot upload to {store.name}")
    client = store.server.client

    def bare(_: int) -> None:
        """Upload the same parts as mrcdist, with the same number of connections."""
        raw = numbers.reshape(-1).view(np.uint8)
        created = client.create_multipart_upload(Bucket=bucket, Key=key)
        upload = {"Bucket": bucket, "Key": key, "UploadId": created["UploadId"]}

        def send(number: int) -> dict[str, Any]:
            start = max(number * PART - HEADER, 0)
            body = raw[start : (number + 1) * PART - HEADER].tobytes()
            if number == 0:
                body = bytes(HEADER) + body
            response = client.upload_part(**upload, PartNumber=number + 1, Body=body)
            return {"PartNumber": number + 1, "ETag": response["ETag"]}

        with ThreadPoolExecutor(8) as pool:
            parts = list(pool.map(send, range(-(-(HEADER + raw.nbytes) // PART))))
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    def read_back() -> Path:
        copy = folder / "downloaded.mrc"
        client.download_file(bucket, key, str(copy))
        return copy

    def write(_: int, **arguments: Any) -> None:
        mrcdist.write_mrc(url, array, storage_options=store.options, **arguments)

    ways = [
        Way("mrcdist", write),
        Way("without statistics", lambda number: write(number, statistics=False)),
        Way("bare multipart upload", bare),
        Way("s3fs.put", lambda _: fs.put_file(str(source), f"{bucket}/{key}")),
    ]
    _take_turns(
        ways, rounds, numbers, read_back, lambda: client.delete_object(Bucket=bucket, Key=key)
    )
    print_table(f"{store.name}: {numbers.nbytes // MIB} MiB", ways, nbytes=numbers.nbytes)


def _columns(folder: Path, numbers: Numbers, rounds: int) -> None:
    """Write blocks of a quarter of each row, compared with blocks of whole frames."""
    path = folder / "columns.mrc"
    frames, narrow = (
        da.from_array(numbers, chunks=chunks, name=name, asarray=False)
        for name, chunks in (("frames", (48, -1, -1)), ("columns", (48, -1, SIDE // 4)))
    )
    ways = [
        Way("blocks of columns", lambda _: mrcdist.write_mrc(path, narrow)),
        Way("blocks of frames", lambda _: mrcdist.write_mrc(path, frames)),
    ]
    _take_turns(ways, rounds, numbers, lambda: path, path.unlink)
    print_table(f"disk: {numbers.nbytes // MIB} MiB", ways, nbytes=numbers.nbytes)


PART = 8 * MIB


def _memory(folder: Path) -> None:
    """Measure the memory of a process that writes blocks in threads, above its baseline."""
    print("\n### memory of a process that writes to a disk\n")
    print("| block | threads | byte order | peak − baseline | ÷ (block × threads) | ÷ explain() |")
    print("|---|---:|---|---:|---:|---:|")
    for mib, threads, byteorder in ((64, 1, "<"), (64, 2, "<"), (32, 4, "<"), (64, 2, ">")):
        path = folder / "memory.mrc"
        memory = writer_memory(str(path), block_mib=mib, threads=threads, byteorder=byteorder)
        path.unlink()
        order = "foreign" if byteorder == ">" else "native"
        print(
            f"| {mib} MiB | {threads} | {order} | {memory.peak / MIB:.0f} MiB "
            f"| {memory.per_chunk:.2f} | {1 / memory.estimate_ratio:.2f} |"
        )


def _take_turns(
    ways: Sequence[Way],
    rounds: int,
    numbers: Numbers,
    read_back: Callable[[], Path],
    remove: Callable[[], object],
) -> None:
    """Time each way once per round, in rotating order; the first round is a warm-up."""
    for number in range(rounds + 1):
        for way in (*ways[number % len(ways) :], *ways[: number % len(ways)]):
            start = time.perf_counter()
            way.read(number)
            seconds = time.perf_counter() - start
            if number == 0:
                written = np.fromfile(read_back(), np.uint16, offset=HEADER)
                if not np.array_equal(written, numbers.reshape(-1)):
                    raise SystemExit(f"{way.name}: the file differs from the array")
            else:
                way.seconds.append(seconds)
            remove()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", type=lambda text: text.split(","), default=list(WHAT))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=512, help="size of the file (default: 512)")
    parser.add_argument("--chunk-mib", type=int, default=64, help="size of a chunk (default: 64)")
    parser.add_argument("--folder", type=Path, default=None, help="folder on the disk to write to")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
