"""Time reading through the Zarr store and the xarray backend beside `read_mrc`.

    .venv-zarr3/bin/python tests/benchmarks/zarr_store.py [--gib 1] [--rounds 7] [--chunk-mib 64]
                                                          [--folder DIR]

A movie on a local disk is read into memory, all of it and 100 single frames in random order. Ways
take turns, round by round, in one process; a ratio is the median over the rounds of each round's
ratio, and the first round does not count. Every result is compared with the file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
import zarr  # noqa: E402
from dask.system import CPU_COUNT  # noqa: E402

import mrcdist  # noqa: E402
from tests.benchmarks.movie import Movie, scan_of  # noqa: E402
from tests.benchmarks.object_store import Way, print_table  # noqa: E402
from tests.benchmarks.report import machine  # noqa: E402

Array = np.ndarray[Any, Any]
FRAMES = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 unless something was read wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--chunk-mib", type=int, default=64)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args(arguments)
    versions = {**machine(CPU_COUNT), "zarr": zarr.__version__, "xarray": xr.__version__}
    print(", ".join(f"{key} {value}" for key, value in versions.items()))
    with tempfile.TemporaryDirectory(prefix="mrcdist-bench-", dir=options.folder) as name:
        movie = Movie(Path(name) / "bench_movie.mrc", scan_of(options.gib))
        movie.write()
        truth = np.memmap(movie.path, np.uint16, "r", 1024, movie.shape)
        whole = [
            Way("read_mrc", lambda _: _lazy(movie, options.chunk_mib).compute()),
            Way("Zarr store", lambda _: _zarr(movie, options.chunk_mib)[...]),
            Way("xarray, chunks={}", lambda _: _xarray(movie, chunks={}).values),
        ]
        _take_turns(whole, options.rounds, lambda _: truth)
        print_table(f"whole movie: {movie.nbytes / 2**30:.1f} GiB", whole, nbytes=movie.nbytes)
        lazy, array, data = _lazy(movie, 64), _zarr(movie, 64), _xarray(movie)
        some = [
            Way("read_mrc", lambda n: _each(movie, n, lambda y, x: lazy[y, x].compute())),
            Way("Zarr store", lambda n: _each(movie, n, lambda y, x: array[y, x])),
            Way("xarray", lambda n: _each(movie, n, lambda y, x: data[y, x].values)),
        ]
        _take_turns(some, options.rounds, lambda n: _each(movie, n, lambda y, x: truth[y, x]))
        print_table(f"{FRAMES} single frames", some, nbytes=FRAMES * 2**15)
    return 0


def _take_turns(ways: Sequence[Way], rounds: int, truth: Callable[[int], Array]) -> None:
    for number in range(rounds + 1):
        for way in (*ways[number % len(ways) :], *ways[: number % len(ways)]):
            begun = time.perf_counter()
            found = way.read(number)
            seconds = time.perf_counter() - begun
            if number:
                way.seconds.append(seconds)
            if not np.array_equal(found, truth(number)):
                raise SystemExit(f"{way.name}: the numbers are wrong")
            del found


def _options(movie: Movie) -> dict[str, Any]:
    return {"navigation_shape": movie.scan_shape[::-1], "metadata_file": None}


def _lazy(movie: Movie, chunk_mib: int) -> Any:
    return mrcdist.read_mrc(movie.path, chunks=f"{chunk_mib} MiB", **_options(movie))[0]["data"]


def _zarr(movie: Movie, chunk_mib: int) -> Any:
    plan = mrcdist.plan_mrc(movie.path, chunks=f"{chunk_mib} MiB", **_options(movie))
    return zarr.open_array(mrcdist.zarr_store(plan))


def _xarray(movie: Movie, chunks: Any = None) -> Any:
    ds = xr.open_dataset(
        movie.path, engine="mrcdist", chunks=chunks, cache=False, **_options(movie)
    )
    return ds["data"]


def _each(movie: Movie, number: int, read: Callable[[int, int], Array]) -> Array:
    """Read single frames, in each round others."""
    points = np.random.default_rng(number).integers(0, movie.scan_shape, (FRAMES, 2))
    return np.stack([read(int(y), int(x)) for y, x in points])


if __name__ == "__main__":
    sys.exit(main())
