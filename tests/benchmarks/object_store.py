"""Time mrcdist's reading from object stores beside a bare HTTP client and simpler ways to do it.

    python tests/benchmarks/object_store.py [--stores nginx,nginx-60m,radosgw] [--rounds 7]
                                            [--what chunks,frames,crops,memory]

Whoever is compared takes turns, round by round, in one process; a ratio is the median over the
rounds of each round's ratio. Every result is compared with the file before its time counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

import aiohttp  # noqa: E402
import dask  # noqa: E402
import numpy as np  # noqa: E402

from mrcdist import plan_mrc  # noqa: E402
from mrcdist.config import read_settings  # noqa: E402
from mrcdist.demo.movie import movie_header  # noqa: E402
from mrcdist.planner import Plan  # noqa: E402
from mrcdist.read import stats  # noqa: E402
from tests.benchmarks.report import machine  # noqa: E402
from tests.benchmarks.stores import NAMES, Store, open_stores  # noqa: E402

WHAT = ("chunks", "frames", "crops", "memory")
CHUNK = 64 * 2**20
HEADER = 1024
# Frames, their side, and a crop of 3/8 of it: gaps from 20 KiB to 5 MiB.
CROPS = ((512, 128), (512, 256), (128, 512), (64, 1024), (16, 2048))

Numbers = np.ndarray[Any, np.dtype[np.uint16]]


@dataclass
class Way:
    """One way to read something.

    Attributes
    ----------
    name : str
    read : callable
        Of the number of the round; returns what was read.
    seconds : list of float
        By round.
    requests : int
        Of the last round; 0 if they were not counted.
    """

    name: str
    read: Callable[[int], Any]
    seconds: list[float] = field(default_factory=list)
    requests: int = 0


@dataclass(frozen=True)
class Movie:
    """A file of square frames of random numbers, in the folder that nginx serves."""

    path: Path
    frames: int
    side: int

    @classmethod
    def write(cls, folder: Path, frames: int, side: int) -> Movie:
        path = folder / f"movie-{side}.mrc"
        rng = np.random.default_rng(side)
        with path.open("wb") as file:
            file.write(movie_header(frames, (side, side)))
            for _ in range(frames):
                file.write(rng.integers(0, 2**16, (side, side), np.uint16))
        return cls(path, frames, side)

    @property
    def numbers(self) -> Numbers:
        shape = (self.frames, self.side, self.side)
        return np.memmap(self.path, np.uint16, "r", HEADER, shape)

    def plan(self, store: Store) -> Plan:
        return plan_mrc(
            store.url(self.path.name), metadata_file=None, storage_options=store.options
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 unless something was read wrongly."""
    options = _parse(arguments)
    lines = [f"{key} {value}" for key, value in machine(1).items() if key != "workers"]
    print(", ".join([*lines, f"aiohttp {aiohttp.__version__}"]))
    print(f"{read_settings()}")
    with tempfile.TemporaryDirectory(prefix="mrcdist-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        large = Movie.write(folder, options.mib * 2**20 // (2 * 128**2), 128)
        small = [Movie.write(folder, *crop) for crop in CROPS[1:]]
        with open_stores(tuple(options.stores), folder) as stores:
            for store in stores:
                for movie in (large, *small):
                    store.put(movie.path)
                if "chunks" in options.what:
                    _chunks(store, large, options.rounds)
                if "frames" in options.what:
                    _frames(store, large, options.rounds)
                if "crops" in options.what:
                    for movie in (large, *small):
                        _crops(store, movie, options.rounds)
                    _pixel(store, large, options.rounds)
                if "memory" in options.what:
                    _memory(store, large)
    return 0


def _chunks(store: Store, movie: Movie, rounds: int) -> None:
    """Whole chunks, of which each round reads another one."""
    source = movie.plan(store).source
    n_frames = CHUNK // (2 * movie.side**2)
    n_chunks = movie.frames // n_frames

    def chunk(number: int) -> slice:
        return slice(number % n_chunks * n_frames, (number % n_chunks + 1) * n_frames)

    def one_get(number: int) -> Numbers:
        with dask.config.set({"mrcdist.sub-range": CHUNK}):
            return source[chunk(number)]

    client = BareClient(store.web_url(movie.path.name))
    spans = [(HEADER + i * CHUNK, HEADER + (i + 1) * CHUNK) for i in range(n_chunks)]
    ways = [
        Way("mrcdist", lambda number: source[chunk(number)]),
        Way("one GET a chunk", one_get),
        Way(
            "bare aiohttp, into an array",
            lambda number: client.fetch(*spans[number % n_chunks], copied=True),
        ),
        Way(
            "bare aiohttp, read()",
            lambda number: client.fetch(*spans[number % n_chunks], copied=False),
        ),
    ]
    _take_turns(ways, rounds, lambda number: movie.numbers[chunk(number)])
    client.close()
    _print(f"{store.name}: chunks of 64 MiB", ways, nbytes=CHUNK)


def _frames(store: Store, movie: Movie, rounds: int) -> None:
    """Twenty single frames, one after the other."""
    source = movie.plan(store).source
    picks = np.random.default_rng(1).integers(movie.frames, size=(rounds + 1, 20))
    size = 2 * movie.side**2
    client = BareClient(store.web_url(movie.path.name))

    def bare(number: int) -> Numbers:
        starts = HEADER + picks[number] * size
        return np.concatenate([client.fetch(s, s + size, copied=True) for s in starts.tolist()])

    ways = [
        Way("mrcdist", lambda number: np.stack([source[int(i)] for i in picks[number]])),
        Way("bare aiohttp, into an array", bare),
    ]
    _take_turns(ways, rounds, lambda number: movie.numbers[picks[number]])
    client.close()
    _print(f"{store.name}: 20 single frames of {size // 1024} KiB", ways, nbytes=20 * size)


def _crops(store: Store, movie: Movie, rounds: int) -> None:
    """The same window of many frames."""
    n_frames = min({side: frames for frames, side in CROPS}[movie.side], movie.frames)
    first, last = movie.side * 5 // 16, movie.side * 11 // 16
    window = (slice(n_frames), slice(first, last), slice(first, last))
    what = f"{last - first}² of {n_frames} frames of {movie.side}²"
    _compare(store, movie, rounds, window, what)


def _pixel(store: Store, movie: Movie, rounds: int) -> None:
    """One pixel of many frames."""
    pixel = (slice(512), slice(64, 65), slice(64, 65))
    _compare(store, movie, rounds, pixel, f"a pixel of 512 frames of {movie.side}²")


def _compare(store: Store, movie: Movie, rounds: int, window: tuple[slice, ...], what: str) -> None:
    source = movie.plan(store).source

    def rows_alone(_: int) -> Numbers:
        with dask.config.set({"mrcdist.max-gap": 0}):
            return source[window]

    ways = [
        Way("mrcdist", lambda _: source[window]),
        Way("whole frames", lambda _: source[window[0]][:, window[1], window[2]]),
        Way("rows alone", rows_alone),
    ]
    _take_turns(ways, rounds, lambda _: movie.numbers[window])
    _print(f"{store.name}: {what}", ways)


def _memory(store: Store, movie: Movie) -> None:
    """Peak memory of a process that reads chunks in threads, over that of one that reads a frame."""
    print(f"\n### {store.name}: memory of a process\n")
    print(
        "| chunk | threads | peak − baseline | chunk × threads | ratio | explain() says | of peak |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for mib, threads, window in ((64, 1, ""), (64, 2, ""), (32, 4, ""), (64, 2, "crop")):
        variables = {
            **os.environ,
            "PYTHONPATH": _ROOT,
            "BENCH_OPTIONS": repr(dict(store.options)),
        }
        done = subprocess.run(  # noqa: S603
            [sys.executable, __file__, "--reader", store.url(movie.path.name)]
            + [str(mib), str(threads), window],
            env=variables,
            check=True,
            capture_output=True,
            text=True,
        )
        peak, chunk, said = map(int, done.stdout.split())
        print(
            f"| {chunk / 2**20:.0f} MiB {window} | {threads} | {peak / 2**20:.0f} MiB "
            f"| {chunk * threads / 2**20:.0f} MiB | {peak / chunk / threads:.2f} "
            f"| {said / 2**20:.0f} MiB | {said / peak:.2f} |"
        )


def _read_in_threads(url: str, mib: str, threads: str, window: str) -> int:
    """In a process of its own: read twelve chunks in threads, say what memory that took."""
    from ast import literal_eval
    from concurrent.futures import ThreadPoolExecutor

    options = literal_eval(os.environ["BENCH_OPTIONS"])
    n_frames = int(mib) * 2**20 // (2 * 128**2)
    rows = slice(40, 88) if window else slice(None)
    chunks = (n_frames, 48 if window else -1, -1)
    plan = plan_mrc(url, chunks=chunks, metadata_file=None, storage_options=options)
    n_chunks = plan.shape[0] // n_frames

    def read(number: int) -> int:
        first = number % n_chunks * n_frames
        block = plan.source[first : first + n_frames, rows]
        return int(block[-1, -1, -1])

    plan.source[0]
    with ThreadPoolExecutor(int(threads)) as pool:
        list(pool.map(lambda _: time.sleep(0.01), range(int(threads))))
        before = _memory_of_process("VmRSS")
        list(pool.map(read, range(12)))
    report = plan.explain(threads=int(threads))
    print(_memory_of_process("VmHWM") - before, report.task_bytes, report.worker_memory)
    return 0


def _memory_of_process(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith(key)]
    return int(kib) * 1024


class BareClient:
    """aiohttp and nothing else: the same ranges, as many at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._session = self._loop.run_until_complete(self._open())

    async def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=read_settings().concurrency)
        return aiohttp.ClientSession(connector=connector, auto_decompress=False)

    def close(self) -> None:
        self._loop.run_until_complete(self._session.close())
        self._loop.close()

    def fetch(self, start: int, stop: int, *, copied: bool) -> Numbers:
        """Fetch a range in sub-ranges: copied to one array as they come, or read and joined."""
        step = read_settings().sub_range
        spans = [(at, min(at + step, stop)) for at in range(start, stop, step)]
        whole = np.empty(stop - start if copied else 0, np.uint8)

        async def fetch_all() -> list[bytes]:
            return await asyncio.gather(
                *(
                    self._one(a, b, whole[a - start : b - start] if copied else None)
                    for a, b in spans
                )
            )

        pieces = self._loop.run_until_complete(fetch_all())
        return (whole if copied else np.frombuffer(b"".join(pieces), np.uint8)).view(np.uint16)

    async def _one(self, start: int, stop: int, into: Any) -> bytes:
        wanted = {"Range": f"bytes={start}-{stop - 1}"}
        async with self._session.get(self._url, headers=wanted) as answer:
            assert answer.status == 206, answer.status
            if into is None:
                return await answer.read()
            at = 0
            async for piece in answer.content.iter_any():
                into[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
                at += len(piece)
            assert at == into.size
            return b""


def _take_turns(ways: Sequence[Way], rounds: int, expected: Callable[[int], Numbers]) -> None:
    """Let each way read once a round; the first round does not count."""
    for number in range(rounds + 1):
        wanted = np.array(expected(number))
        for way in ways:
            before = stats.snapshot().requests
            begun = time.perf_counter()
            found = way.read(number)
            seconds = time.perf_counter() - begun
            way.requests = stats.snapshot().requests - before
            if not np.array_equal(np.asarray(found).reshape(wanted.shape), wanted):
                raise SystemExit(f"{way.name} read something else than what is in the file")
            del found
            if number:
                way.seconds.append(seconds)


def _print(title: str, ways: Sequence[Way], *, nbytes: int = 0) -> None:
    print(f"\n### {title}\n")
    print("| way | median | spread | MB/s | requests | speed ÷ mrcdist's |")
    print("|---|---:|---:|---:|---:|---:|")
    ours = ways[0].seconds
    for way in ways:
        median = statistics.median(way.seconds)
        ratio = statistics.median(a / b for a, b in zip(ours, way.seconds, strict=True))
        print(
            f"| {way.name} | {median * 1e3:.0f} ms "
            f"| {min(way.seconds) * 1e3:.0f} to {max(way.seconds) * 1e3:.0f} ms "
            f"| {f'{nbytes / median / 1e6:.0f}' if nbytes else ''} | {way.requests or ''} "
            f"| {ratio:.2f} |",
            flush=True,
        )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stores", type=lambda text: text.split(","), default=list(NAMES))
    parser.add_argument("--what", type=lambda text: text.split(","), default=list(WHAT))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=512, help="size of the movie (default: 512)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--reader"]:
        sys.exit(_read_in_threads(*sys.argv[2:6]))
    sys.exit(main())
