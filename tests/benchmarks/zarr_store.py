"""Time the Zarr store and the xarray backend, compared with `read_mrc`, and conversion to Zarr.

    .venv-zarr3/bin/python tests/benchmarks/zarr_store.py [--what disk,s3,convert] [--gib 1]
                                                          [--rounds 7] [--chunk-mib 64]
                                                          [--folder DIR]
                                                          [--mrc2omezarr PYTHON]

A movie is read into memory, as a whole and as 100 single frames in random order: from a local disk,
and from radosgw, where kerchunk's references over s3fs are compared, too. Then it is converted to
Zarr, with `mrcdist.convert` and with `dask.array.to_zarr`, using the same chunks, shards and codec.
All ways take turns in every round, in one process. A ratio is the median over all rounds; the first
round is a warm-up. Results are compared with the file.

`--mrc2omezarr` is the Python of an environment with mrc2omezarr, which needs zarr 2. A tomogram of
float32 is then converted to OME-Zarr by both, each time in a new process that excludes its imports
from the time.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

import fsspec  # noqa: E402
import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
import zarr  # noqa: E402
from dask.system import CPU_COUNT  # noqa: E402

import mrcdist  # noqa: E402
from tests.benchmarks.movie import Movie, scan_of  # noqa: E402
from tests.benchmarks.object_store import Way, print_table  # noqa: E402
from tests.benchmarks.report import machine  # noqa: E402
from tests.benchmarks.stores import open_stores  # noqa: E402

Array = np.ndarray[Any, Any]
FRAMES = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit with an error if a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--what", type=lambda text: text.split(","), default=["disk", "s3", "convert"]
    )
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--chunk-mib", type=int, default=64)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--mrc2omezarr", metavar="PYTHON")
    options = parser.parse_args(arguments)
    versions = {**machine(CPU_COUNT), "zarr": zarr.__version__, "xarray": xr.__version__}
    print(", ".join(f"{key} {value}" for key, value in versions.items()))
    with tempfile.TemporaryDirectory(prefix="mrcdist-bench-", dir=options.folder) as name:
        movie = Movie(Path(name) / "bench_movie.mrc", scan_of(options.gib))
        movie.write()
        truth = np.memmap(movie.path, np.uint16, "r", 1024, movie.shape)
        if "s3" in options.what:
            _from_s3(movie, truth, options, Path(name))
        if "convert" in options.what:
            _convert(movie, truth, options, Path(name))
        if options.mrc2omezarr:
            _convert_tomogram(options, Path(name))
        if "disk" not in options.what:
            return 0
        whole = [
            Way("read_mrc", lambda _: _lazy(movie, options.chunk_mib).compute()),
            Way("Zarr store", lambda _: _zarr(movie, options.chunk_mib)[...]),
            Way("xarray, chunks={}", lambda _: _xarray(movie, chunks={}).values),
        ]
        _take_turns(whole, options.rounds, lambda _: truth)
        print_table(f"whole movie: {movie.nbytes / 2**30:.1f} GiB", whole, nbytes=movie.nbytes)
        lazy, array, data = _lazy(movie, 64), _zarr(movie, 64), _xarray(movie)
        single = [
            Way("read_mrc", lambda n: _each(movie, n, lambda y, x: lazy[y, x].compute())),
            Way("Zarr store", lambda n: _each(movie, n, lambda y, x: array[y, x])),
            Way("xarray", lambda n: _each(movie, n, lambda y, x: data[y, x].values)),
        ]
        _take_turns(single, options.rounds, lambda n: _each(movie, n, lambda y, x: truth[y, x]))
        print_table(f"{FRAMES} single frames", single, nbytes=FRAMES * 2**15)
    return 0


def _from_s3(movie: Movie, truth: Array, options: argparse.Namespace, folder: Path) -> None:
    """Read with the Zarr store, and with kerchunk's references over s3fs."""
    with open_stores(("radosgw",), folder) as [store]:
        assert store.server is not None
        store.put(movie.path)
        url, storage_options = store.url(movie.path.name), dict(store.options)
        plan = mrcdist.plan_mrc(
            url,
            chunks=f"{options.chunk_mib} MiB",
            storage_options=storage_options,
            **_options(movie),
        )
        ours = zarr.open_array(mrcdist.zarr_store(plan))
        references = folder / "movie.json"
        mrcdist.write_references(plan, references)
        fs = fsspec.filesystem(
            "reference",
            fo=str(references),
            remote_protocol="s3",
            remote_options={**storage_options, "asynchronous": True},
            asynchronous=True,
        )
        by_references = zarr.storage.FsspecStore(fs, read_only=True)
        theirs = zarr.open_group(by_references, mode="r", zarr_format=2)["data"]
        whole = [
            Way("Zarr store", lambda _: ours[...]),
            Way("references over s3fs", lambda _: theirs[...]),
        ]
        _take_turns(whole, options.rounds, lambda _: truth)
        print_table("whole movie from radosgw", whole, nbytes=movie.nbytes)
        single = [
            Way("Zarr store", lambda n: _each(movie, n, lambda y, x: ours[y, x], 10)),
            Way("references over s3fs", lambda n: _each(movie, n, lambda y, x: theirs[y, x], 10)),
        ]
        _take_turns(single, options.rounds, lambda n: _each(movie, n, lambda y, x: truth[y, x], 10))
        print_table("10 single frames from radosgw", single, nbytes=10 * 2**15)


def _convert(movie: Movie, truth: Array, options: argparse.Namespace, folder: Path) -> None:
    """Convert with `convert` and with dask's `to_zarr`, with the same chunks, shards and codec."""
    plan = mrcdist.plan_mrc(movie.path, chunks=f"{options.chunk_mib} MiB", **_options(movie))

    def ours(_: int) -> Array:
        mrcdist.convert(plan, folder / "ours.zarr", overwrite=True)
        return np.asarray(zarr.open_array(folder / "ours.zarr" / "data", mode="r")[0])

    def theirs(_: int) -> Array:
        like = zarr.open_array(folder / "ours.zarr" / "data", mode="r")
        target = zarr.create_array(
            str(folder / "theirs.zarr"),
            shape=like.shape,
            dtype=like.dtype,
            chunks=like.chunks,
            shards=like.shards,
            compressors=like.compressors,
            overwrite=True,
        )
        plan.to_dask().rechunk(like.shards).to_zarr(target)
        return np.asarray(target[0])

    ours(0)
    ways = [Way("convert", ours), Way("dask's to_zarr", theirs)]
    _take_turns(ways, options.rounds, lambda _: truth[0])
    print_table(f"to Zarr: {movie.nbytes / 2**30:.1f} GiB", ways, nbytes=movie.nbytes)


_SCRIPT = """
import sys, time, warnings
warnings.simplefilter("ignore")
{imports}
start = time.perf_counter()
{call}
seconds = time.perf_counter() - start
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(seconds, int(peak) // 1024)
"""


def _convert_tomogram(options: argparse.Namespace, folder: Path) -> None:
    """Convert a tomogram to OME-Zarr in processes of this environment and of the other one."""
    shape = (max(int(256 * options.gib), 2), 1024, 1024)
    numbers = np.random.default_rng(0).normal(100, 10, shape).astype("float32")
    source = folder / "tomogram.mrc"
    mrcdist.write_mrc(source, numbers, kind="volume", overwrite=True)
    scripts = {
        "convert": (
            sys.executable,
            "import mrcdist.convert_api, zarr, ome_zarr_models.v05.image",
            "mrcdist.convert({}, {})",
        ),
        "mrc2omezarr": (
            options.mrc2omezarr,
            "from mrc2omezarr.proc import convert_mrc_to_ngff",
            "convert_mrc_to_ngff({}, {})",
        ),
    }
    peaks: dict[str, list[int]] = {name: [] for name in scripts}
    ways = [Way(name, lambda _: numbers) for name in scripts]
    for number in range(options.rounds):
        for way in (*ways[number % 2 :], *ways[: number % 2]):
            python, imports, call = scripts[way.name]
            target = folder / f"{way.name}-{number}.ome.zarr"
            script = _SCRIPT.format(
                imports=imports, call=call.format(repr(str(source)), repr(str(target)))
            )
            process = subprocess.run(
                [python, "-c", script], capture_output=True, text=True, check=True
            )
            seconds, peak = process.stdout.split()[-2:]
            way.seconds.append(float(seconds))
            peaks[way.name].append(int(peak))
            converted = zarr.open_group(target, mode="r")["0"]
            if not np.array_equal(converted[...], numbers):
                raise SystemExit(f"{way.name}: the values are wrong")
            shutil.rmtree(target)
    print_table(f"to OME-Zarr: {numbers.nbytes / 2**20:.0f} MiB", ways, nbytes=numbers.nbytes)
    print({name: f"peak {max(mib)} MiB" for name, mib in peaks.items()})


def _take_turns(ways: Sequence[Way], rounds: int, truth: Callable[[int], Array]) -> None:
    for number in range(rounds + 1):
        for way in (*ways[number % len(ways) :], *ways[: number % len(ways)]):
            start = time.perf_counter()
            result = way.read(number)
            seconds = time.perf_counter() - start
            if number:
                way.seconds.append(seconds)
            if not np.array_equal(result, truth(number)):
                raise SystemExit(f"{way.name}: the values are wrong")
            del result


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


def _each(
    movie: Movie, number: int, read: Callable[[int, int], Array], frames: int = FRAMES
) -> Array:
    """Read single frames, different ones in each round."""
    points = np.random.default_rng(number).integers(0, movie.scan_shape, (frames, 2))
    return np.stack([read(int(y), int(x)) for y, x in points])


if __name__ == "__main__":
    sys.exit(main())
