"""Time several results in one pass over a movie, compared with other ways to compute them.

    python tests/benchmarks/one_pass.py [--gib 1] [--rounds 5] [--chunk-mib 64] [--folder DIR]
                                        [--schedulers threads,processes] [--stores nginx,radosgw]

All ways take turns in every round, with one thread or process per core. A ratio is the median over
all rounds; the first round is a warm-up. Results are compared with each other. RosettaSciIO and
LiberTEM are included if they are installed. LiberTEM fails on MRC files of more than 2 GiB, so it
reads only the beginning of a larger movie, and its time is scaled. numpy and the sum of words
always run in threads. With `--stores`, the four results are also computed from servers on this
machine, compared with dask expressions and with reading alone.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Before importing numpy: no multithreading within each of our threads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

import dask  # noqa: E402
import numpy as np  # noqa: E402
from dask.system import CPU_COUNT  # noqa: E402

import mrcdist  # noqa: E402
from mrcdist import CenterOfMass, MeanPattern, VirtualImage, reduce_frames  # noqa: E402
from tests.benchmarks.movie import FRAME_SHAPE, Movie, scan_of  # noqa: E402
from tests.benchmarks.object_store import Way, print_table  # noqa: E402
from tests.benchmarks.report import machine  # noqa: E402
from tests.benchmarks.run import open_cluster  # noqa: E402
from tests.benchmarks.stores import NAMES, open_stores  # noqa: E402

Array = np.ndarray[Any, Any]
Results = dict[str, Array]

BF, ADF = (64, 64, 0, 14), (64, 64, 20, 60)
OURS: dict[str, Any] = {
    "bf": VirtualImage(f"circle:{BF[0]},{BF[1]},{BF[3]}"),
    "adf": VirtualImage("annulus:{},{},{},{}".format(*ADF)),
    "mean": MeanPattern(),
    "com": CenterOfMass(),
}
CASES = {"four results": ["bf", "adf", "mean", "com"], "virtual image": ["bf"], "mean": ["mean"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit with an error if results differ."""
    options = _parse(arguments)
    print(", ".join(f"{key} {value}" for key, value in machine(CPU_COUNT).items()))
    with tempfile.TemporaryDirectory(prefix="mrcdist-bench-", dir=options.folder) as name:
        movie = Movie(Path(name) / "bench_movie.mrc", scan_of(options.gib))
        movie.write()
        short = Movie(movie.path.with_name("bench_short_movie.mrc"), _short(movie.scan_shape))
        if short.nbytes < movie.nbytes:
            short.write()
        else:
            short = movie
        size = f"{movie.nbytes / 2**30:.2f} GiB"
        for scheduler in filter(None, options.schedulers.split(",")):
            with ExitStack() as stack:
                client = None
                if scheduler == "processes":
                    client = stack.enter_context(open_cluster(CPU_COUNT))
                libertem = stack.enter_context(_libertem_context(client is None))
                plan = plan_of(str(movie.path), movie, options.chunk_mib)
                for title, names in CASES.items():
                    ways = _ways(movie, plan, names, client)
                    if libertem is not None:
                        ways.insert(-2, Way("LiberTEM", _libertem(libertem, short, names)))
                    take_turns(ways, options.rounds)
                    for way in ways:
                        if way.name == "LiberTEM":
                            scale = movie.nbytes / short.nbytes
                            way.seconds = [seconds * scale for seconds in way.seconds]
                    load = f"load {os.getloadavg()[0]:.1f}"
                    print_table(f"{title}, {scheduler}: {size}, {load}", ways, nbytes=movie.nbytes)
        if options.stores:
            _from_stores(options, movie)
    return 0


def _ways(movie: Movie, plan: mrcdist.Plan, names: Sequence[str], client: Any) -> list[Way]:
    ways = [
        Way("mrcdist", lambda _: _mrcdist(plan, names, client)),
        Way("dask", lambda _: dask_expressions(plan.to_dask(), names, client)),
    ]
    if find_spec("rsciio") is not None:
        array = _rosettasciio(movie, plan)
        ways.append(Way("RosettaSciIO with dask", lambda _: dask_expressions(array, names, client)))
    return [
        *ways,
        Way("numpy", lambda _: _numpy(movie, names)),
        Way("sum of 64-bit words", lambda _: _words(movie)),
    ]


def _short(scan_shape: tuple[int, int]) -> tuple[int, int]:
    """Return the shape of the part of a scan that LiberTEM can read."""
    rows, columns = scan_of(1.9)
    return (min(rows, scan_shape[0]), columns)


def _from_stores(options: argparse.Namespace, movie: Movie) -> None:
    names = CASES["four results"]
    with open_stores(tuple(options.stores.split(",")), movie.path.parent) as stores:
        for store in stores:
            store.put(movie.path)
            url = store.url(movie.path.name)
            plan = plan_of(url, movie, options.chunk_mib, storage_options=dict(store.options))
            ways = [
                Way("mrcdist", lambda _, plan=plan: _mrcdist(plan, names, None)),
                Way("dask", lambda _, plan=plan: dask_expressions(plan.to_dask(), names, None)),
                Way("reading alone", lambda _, plan=plan: _reading(plan)),
            ]
            take_turns(ways, options.rounds)
            title = f"four results from {store.name}, load {os.getloadavg()[0]:.1f}"
            print_table(title, ways, nbytes=movie.nbytes)


def take_turns(ways: Sequence[Way], rounds: int) -> None:
    expected: Results = {}
    for number in range(rounds + 1):
        for way in (*ways[number % len(ways) :], *ways[: number % len(ways)]):
            start = time.perf_counter()
            results: Results = way.read(number)
            seconds = time.perf_counter() - start
            if number:
                way.seconds.append(seconds)
                continue
            for name, values in results.items():
                reference = expected.setdefault(name, values)
                # LiberTEM may have read only the first rows of the scan.
                reference = np.squeeze(reference)[..., : np.squeeze(values).shape[-2], :]
                if not np.allclose(np.squeeze(values), reference, rtol=1e-4):
                    raise SystemExit(f"{way.name}: {name} differs")


def plan_of(url: str, movie: Movie, chunk_mib: int, **options: Any) -> mrcdist.Plan:
    rows, columns = movie.scan_shape
    size = f"{chunk_mib} MiB"
    return mrcdist.plan_mrc(url, navigation_shape=(columns, rows), chunks=size, **options)


def _mrcdist(plan: mrcdist.Plan, names: Sequence[str], client: Any) -> Results:
    quantities = {name: OURS[name] for name in names}
    results = reduce_frames(plan, quantities, client=client, progress=False)
    return {name: result.values for name, result in results.items()}


def _reading(plan: mrcdist.Plan) -> Results:
    """Read all blocks, one per thread at a time, without using their pixels."""
    data: Any = plan.to_dask()
    corners = data.map_blocks(lambda block: block[:1, :1, :1, :1], dtype=data.dtype)
    corners.sum().compute(scheduler="threads")
    return {}


def _rosettasciio(movie: Movie, plan: mrcdist.Plan) -> Any:
    from rsciio.mrc import file_reader

    rows, columns = movie.scan_shape
    [dataset] = file_reader(
        str(movie.path), lazy=True, chunks=plan.chunks, navigation_shape=(columns, rows)
    )
    return dataset["data"]


def dask_expressions(data: Any, names: Sequence[str], client: Any) -> Results:
    """Compute results with dask.array as a user would, together, so that blocks are read once."""
    y, x = np.indices(FRAME_SHAPE)
    expressions: dict[str, Any] = {}
    for name in names:
        if name == "mean":
            expressions[name] = data.mean(axis=(0, 1))
        elif name == "com":
            mass = data.sum(axis=(2, 3))
            moments = [(data * at.astype("uint32")).sum(axis=(2, 3)) / mass for at in (y, x)]
            expressions["com_y"], expressions["com_x"] = moments
        else:
            expressions[name] = (data * _inside(name)).sum(axis=(2, 3))
    arrays = dask.compute(*expressions.values(), scheduler=client or "threads")
    results = dict(zip(expressions, arrays, strict=True))
    if "com" in names:
        results["com"] = np.stack([results.pop("com_y"), results.pop("com_x")])
    return results


def _inside(name: str) -> Array:
    cy, cx, inner, outer = BF if name == "bf" else ADF
    y, x = np.indices(FRAME_SHAPE)
    distance = (y - cy) ** 2 + (x - cx) ** 2
    return ((distance >= inner**2) & (distance <= outer**2)).astype(np.uint16)


def _numpy(movie: Movie, names: Sequence[str]) -> Results:
    """Matrix products and sums of numpy over cache-sized tiles, with one thread per core."""
    frames = _map(movie).reshape(-1, FRAME_SHAPE[0] * FRAME_SHAPE[1])
    y, x = (at.ravel().astype(np.float32) for at in np.indices(FRAME_SHAPE))
    columns = {"bf": [_inside("bf").ravel()], "adf": [_inside("adf").ravel()]}
    columns["com"] = [np.ones(y.size), y, x]
    weighted = [(name, column) for name in names if name != "mean" for column in columns[name]]
    weights = np.stack([column for _, column in weighted], axis=1) if weighted else None
    sums = np.empty((len(frames), len(weighted)))

    def work(span: range) -> Array | None:
        total = np.zeros(frames.shape[1], np.uint64) if "mean" in names else None
        for first in span:
            tile = frames[first : first + span.step]
            if weights is not None:
                sums[first : first + span.step] = tile.astype(np.float64) @ weights
            if total is not None:
                total += tile.sum(axis=0, dtype=np.uint64)
        return total

    totals = _in_threads(work, len(frames), 8)
    results: Results = {}
    if "mean" in names:
        results["mean"] = (sum(totals) / len(frames)).reshape(FRAME_SHAPE)
    for i, (name, _) in enumerate(weighted):
        values = sums[:, i].reshape(movie.scan_shape)
        if name != "com":
            results[name] = values
        elif "com" not in results:
            moments = np.stack([sums[:, i + 1], sums[:, i + 2]])
            results["com"] = moments.reshape(2, *movie.scan_shape) / values
    return results


def _words(movie: Movie) -> Results:
    """Sum the file as 64-bit words, which measures the memory bandwidth."""
    words = _map(movie).reshape(-1).view(np.uint64)
    _in_threads(lambda span: [words[at : at + span.step].sum() for at in span], len(words), 2**20)
    return {}


def _in_threads(work: Callable[[range], Any], size: int, step: int) -> list[Any]:
    cuts = [size * n // CPU_COUNT // step * step for n in range(CPU_COUNT)] + [size]
    spans = [range(a, b, step) for a, b in itertools.pairwise(cuts)]
    with ThreadPoolExecutor(CPU_COUNT) as pool:
        return list(pool.map(work, spans))


def _map(movie: Movie) -> Array:
    return np.memmap(movie.path, np.uint16, "r", len(movie.header), movie.shape)


@contextmanager
def _libertem_context(threads: bool) -> Iterator[Any]:
    """Yield a LiberTEM context with threads or processes; None if it is not installed."""
    if find_spec("libertem") is None:
        yield None
        return
    import libertem.api

    kind = "threads" if threads else "pipelined"
    with libertem.api.Context.make_with(kind, cpus=CPU_COUNT) as context:
        yield context


def _libertem(context: Any, movie: Movie, names: Sequence[str]) -> Callable[[int], Results]:
    from libertem.udf.com import CoMUDF
    from libertem.udf.masks import ApplyMasksUDF
    from libertem.udf.sum import SumUDF

    def masks(name: str) -> Any:
        mask = _inside(name)
        return ApplyMasksUDF(mask_factories=[lambda: mask])

    data = context.load("mrc", path=str(movie.path), nav_shape=movie.scan_shape)
    udfs = [
        SumUDF() if name == "mean" else CoMUDF() if name == "com" else masks(name) for name in names
    ]

    def run(_: int) -> Results:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about its divisions
            udf_results = context.run_udf(data, udfs)
        results: Results = {}
        for name, result in zip(names, udf_results, strict=True):
            if name == "com":
                results[name] = np.moveaxis(result["raw_com"].data, -1, 0)
            elif name != "mean":
                results[name] = result["intensity"].data[..., 0]
            elif movie.path.name == "bench_movie.mrc":
                results[name] = result["intensity"].data / movie.n_frames
        return results

    return run


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gib", type=float, default=1, help="size of the movie (default: 1)")
    parser.add_argument("--chunk-mib", type=int, default=64, help="size of a chunk (default: 64)")
    parser.add_argument("--folder", type=Path, default=None, help="folder for the movie")
    parser.add_argument("--schedulers", default="threads", help="threads,processes or neither")
    parser.add_argument("--stores", default="", help=f"servers to read from: {', '.join(NAMES)}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
