"""Time reading from object stores, compared with a bare HTTP client and with simpler strategies.

    python tests/benchmarks/object_store.py [--stores nginx,nginx-60m,radosgw] [--rounds 7]
                                            [--what chunks,frames,crops,memory]

All ways take turns in every round, in one process. A ratio is the median over all rounds. Times
count only if the result equals the content of the file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

import aiohttp  # noqa: E402
import dask  # noqa: E402
import numpy as np  # noqa: E402

from mrcdist import plan_mrc, stats  # noqa: E402
from mrcdist.config import read_settings  # noqa: E402
from mrcdist.read_plan import Plan  # noqa: E402
from mrcdist.testing.movie import movie_header  # noqa: E402
from tests.benchmarks.bare_clients import AiohttpClient, Client, ObstoreClient  # noqa: E402
from tests.benchmarks.report import machine  # noqa: E402
from tests.benchmarks.stores import NAMES, Store, open_stores  # noqa: E402
from tests.support.memory import reader_memory  # noqa: E402

WHAT = ("chunks", "frames", "crops", "memory")
CHUNK = 64 * 2**20
HEADER = 1024
# (number of frames, side length); crops of 3/8 of the side have gaps from 20 KiB to 5 MiB.
CROPS = ((512, 128), (512, 256), (128, 512), (64, 1024), (16, 2048))

Numbers = np.ndarray[Any, np.dtype[np.uint16]]


@dataclass
class Way:
    """One way to read something.

    Attributes
    ----------
    name : str
    read : callable
        Number of the round → result.
    seconds : list of float
        Time of each round.
    requests : int
        Number of requests in the last round; 0 if not counted.
    """

    name: str
    read: Callable[[int], Any]
    seconds: list[float] = field(default_factory=list)
    requests: int = 0


@dataclass(frozen=True)
class Movie:
    """A file of square frames of random numbers, in the folder served by nginx."""

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
    """Measure and print; exit with an error if a result is wrong."""
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
    """Read whole chunks, a different one in each round."""
    source = movie.plan(store).source
    n_frames = CHUNK // (2 * movie.side**2)
    n_chunks = movie.frames // n_frames

    def chunk(number: int) -> slice:
        return slice(number % n_chunks * n_frames, (number % n_chunks + 1) * n_frames)

    def one_get(number: int) -> Numbers:
        with dask.config.set({"mrcdist.sub-range": CHUNK}):
            return source[chunk(number)]

    clients = _clients(store, movie)
    ranges = [(HEADER + i * CHUNK, HEADER + (i + 1) * CHUNK) for i in range(n_chunks)]

    def fetching(client: Client, *, copied: bool) -> Callable[[int], Numbers]:
        return lambda number: client.fetch(*ranges[number % n_chunks], copied=copied).view("<u2")

    ways = [
        Way("mrcdist", lambda number: source[chunk(number)]),
        Way("one GET per chunk", one_get),
        *(Way(f"{name}, into an array", fetching(c, copied=True)) for name, c in clients.items()),
        Way("bare aiohttp, read()", fetching(clients["bare aiohttp"], copied=False)),
    ]
    _take_turns(ways, rounds, lambda number: movie.numbers[chunk(number)])
    for client in clients.values():
        client.close()
    print_table(f"{store.name}: chunks of 64 MiB", ways, nbytes=CHUNK)


def _clients(store: Store, movie: Movie) -> dict[str, Client]:
    clients: dict[str, Client] = {"bare aiohttp": AiohttpClient(store.web_url(movie.path.name))}
    if find_spec("obstore") is not None:
        clients["obstore"] = ObstoreClient(store.url(movie.path.name), dict(store.options))
    return clients


def _frames(store: Store, movie: Movie, rounds: int) -> None:
    """Read twenty single frames, one after the other."""
    source = movie.plan(store).source
    picks = np.random.default_rng(1).integers(movie.frames, size=(rounds + 1, 20))
    size = 2 * movie.side**2
    clients = _clients(store, movie)

    def fetching(client: Client) -> Callable[[int], Numbers]:
        return lambda number: np.concatenate(
            [client.fetch(s, s + size) for s in (HEADER + picks[number] * size).tolist()]
        ).view("<u2")

    ways = [
        Way("mrcdist", lambda number: np.stack([source[int(i)] for i in picks[number]])),
        *(Way(f"{name}, into an array", fetching(client)) for name, client in clients.items()),
    ]
    _take_turns(ways, rounds, lambda number: movie.numbers[picks[number]])
    for client in clients.values():
        client.close()
    print_table(f"{store.name}: 20 single frames of {size // 1024} KiB", ways, nbytes=20 * size)


def _crops(store: Store, movie: Movie, rounds: int) -> None:
    """Read the same crop of many frames."""
    n_frames = min({side: frames for frames, side in CROPS}[movie.side], movie.frames)
    first, last = movie.side * 5 // 16, movie.side * 11 // 16
    window = (slice(n_frames), slice(first, last), slice(first, last))
    what = f"{last - first}² of {n_frames} frames of {movie.side}²"
    _compare(store, movie, rounds, window, what)


def _pixel(store: Store, movie: Movie, rounds: int) -> None:
    """Read one pixel of many frames."""
    pixel = (slice(512), slice(64, 65), slice(64, 65))
    _compare(store, movie, rounds, pixel, f"1² of 512 frames of {movie.side}²")


def _compare(store: Store, movie: Movie, rounds: int, window: tuple[slice, ...], what: str) -> None:
    source = movie.plan(store).source

    def only_rows(_: int) -> Numbers:
        with dask.config.set({"mrcdist.max-gap": 0}):
            return source[window]

    ways = [
        Way("mrcdist", lambda _: source[window]),
        Way("whole frames", lambda _: source[window[0]][:, window[1], window[2]].copy()),
        Way("only rows", only_rows),
    ]
    _take_turns(ways, rounds, lambda _: movie.numbers[window])
    print_table(f"{store.name}: {what}", ways)


def _memory(store: Store, movie: Movie) -> None:
    """Measure the memory of a process that reads chunks in threads, above its baseline."""
    print(f"\n### {store.name}: memory of a process\n")
    print("| chunk | threads | peak − baseline | chunk × threads | ratio | explain() | ÷ peak |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for mib, threads, crop in ((64, 1, False), (64, 2, False), (32, 4, False), (64, 2, True)):
        memory = reader_memory(
            store.url(movie.path.name),
            chunk_mib=mib,
            threads=threads,
            crop=crop,
            storage_options=store.options,
        )
        print(
            f"| {memory.chunk / 2**20:.0f} MiB{' crop' * crop} | {threads} "
            f"| {memory.peak / 2**20:.0f} MiB | {memory.chunk * threads / 2**20:.0f} MiB "
            f"| {memory.per_chunk:.2f} | {memory.estimate / 2**20:.0f} MiB "
            f"| {memory.estimate_ratio:.2f} |"
        )


def _take_turns(ways: Sequence[Way], rounds: int, expected: Callable[[int], Numbers]) -> None:
    """Time each way once per round; the first round is a warm-up."""
    for number in range(rounds + 1):
        truth = np.array(expected(number))
        for way in ways:
            before = stats.snapshot().requests
            start = time.perf_counter()
            result = way.read(number)
            seconds = time.perf_counter() - start
            way.requests = stats.snapshot().requests - before
            if not np.array_equal(np.asarray(result).reshape(truth.shape), truth):
                raise SystemExit(f"{way.name}: the result differs from the file")
            del result
            if number:
                way.seconds.append(seconds)


def print_table(title: str, ways: Sequence[Way], *, nbytes: int = 0) -> None:
    print(f"\n### {title}\n")
    print(f"| way | median | spread | MB/s | requests | speed ÷ {ways[0].name} |")
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
    sys.exit(main())
