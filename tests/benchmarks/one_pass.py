"""Time several results of one pass over a movie beside other ways to get the same.

    python tests/benchmarks/one_pass.py [--gib 1] [--rounds 5] [--chunk-mib 64] [--folder DIR]
                                        [--schedulers threads,processes] [--stores nginx,radosgw]

Ways take turns, round by round, in as many threads, or processes, as there are cores; a ratio is
the median over the rounds of each round's ratio, and the first round does not count. Every result
is compared with the others. RosettaSciIO and LiberTEM take part if they are installed; LiberTEM,
which fails on MRC files of more than 2 GiB, reads the beginning of a larger one, and its time is
that for as many bytes. numpy and the sum of words always run in threads. With `--stores`, the four
results are computed from servers on this machine, too, beside dask and the reading alone.
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

# Before numpy: one thread of its own in each of ours.
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
    """Measure and print; 0 unless results differ."""
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
    """As much of a scan as LiberTEM can read."""
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
            begun = time.perf_counter()
            found: Results = way.read(number)
            seconds = time.perf_counter() - begun
            if number:
                way.seconds.append(seconds)
                continue
            for name, values in found.items():
                known = expected.setdefault(name, values)
                # LiberTEM's may be of the first rows of the scan.
                known = np.squeeze(known)[..., : np.squeeze(values).shape[-2], :]
                if not np.allclose(np.squeeze(values), known, rtol=1e-4):
                    raise SystemExit(f"{way.name}: {name} differs")


def plan_of(url: str, movie: Movie, chunk_mib: int, **options: Any) -> mrcdist.Plan:
    rows, columns = movie.scan_shape
    size = f"{chunk_mib} MiB"
    return mrcdist.plan_mrc(url, navigation_shape=(columns, rows), chunks=size, **options)


def _mrcdist(plan: mrcdist.Plan, names: Sequence[str], client: Any) -> Results:
    wanted = {name: OURS[name] for name in names}
    found = reduce_frames(plan, wanted, client=client, progress=False)
    return {name: result.values for name, result in found.items()}


def _reading(plan: mrcdist.Plan) -> Results:
    """Read all blocks, one per thread at a time, and do nothing with them."""
    data: Any = plan.to_dask()
    nothing = data.map_blocks(lambda block: block[:1, :1, :1, :1], dtype=data.dtype)
    nothing.sum().compute(scheduler="threads")
    return {}


def _rosettasciio(movie: Movie, plan: mrcdist.Plan) -> Any:
    from rsciio.mrc import file_reader

    rows, columns = movie.scan_shape
    [found] = file_reader(
        str(movie.path), lazy=True, chunks=plan.chunks, navigation_shape=(columns, rows)
    )
    return found["data"]


def dask_expressions(data: Any, names: Sequence[str], client: Any) -> Results:
    """What a user writes with dask.array, computed at once so that blocks are read once."""
    y, x = np.indices(FRAME_SHAPE)
    wanted: dict[str, Any] = {}
    for name in names:
        if name == "mean":
            wanted[name] = data.mean(axis=(0, 1))
        elif name == "com":
            mass = data.sum(axis=(2, 3))
            moments = [(data * at.astype("uint32")).sum(axis=(2, 3)) / mass for at in (y, x)]
            wanted["com_y"], wanted["com_x"] = moments
        else:
            wanted[name] = (data * _inside(name)).sum(axis=(2, 3))
    found = dict(
        zip(wanted, dask.compute(*wanted.values(), scheduler=client or "threads"), strict=True)
    )
    if "com" in names:
        found["com"] = np.stack([found.pop("com_y"), found.pop("com_x")])
    return found


def _inside(name: str) -> Array:
    cy, cx, inner, outer = BF if name == "bf" else ADF
    y, x = np.indices(FRAME_SHAPE)
    distance = (y - cy) ** 2 + (x - cx) ** 2
    return ((distance >= inner**2) & (distance <= outer**2)).astype(np.uint16)


def _numpy(movie: Movie, names: Sequence[str]) -> Results:
    """numpy's matrix product and sum over tiles in cache, in as many threads as there are cores."""
    frames = _map(movie).reshape(-1, FRAME_SHAPE[0] * FRAME_SHAPE[1])
    y, x = (at.ravel().astype(np.float32) for at in np.indices(FRAME_SHAPE))
    columns = {"bf": [_inside("bf").ravel()], "adf": [_inside("adf").ravel()]}
    columns["com"] = [np.ones(y.size), y, x]
    wanted = [(name, column) for name in names if name != "mean" for column in columns[name]]
    weights = np.stack([column for _, column in wanted], axis=1) if wanted else None
    sums = np.empty((len(frames), len(wanted)))

    def work(span: range) -> Array | None:
        total = np.zeros(frames.shape[1], np.uint64) if "mean" in names else None
        for first in span:
            some = frames[first : first + span.step]
            if weights is not None:
                sums[first : first + span.step] = some.astype(np.float64) @ weights
            if total is not None:
                total += some.sum(axis=0, dtype=np.uint64)
        return total

    totals = _in_threads(work, len(frames), 8)
    found: Results = {}
    if "mean" in names:
        found["mean"] = (sum(totals) / len(frames)).reshape(FRAME_SHAPE)
    for at, (name, _) in enumerate(wanted):
        values = sums[:, at].reshape(movie.scan_shape)
        if name != "com":
            found[name] = values
        elif "com" not in found:
            found["com"] = (
                np.stack([sums[:, at + 1], sums[:, at + 2]]).reshape(2, *movie.scan_shape) / values
            )
    return found


def _words(movie: Movie) -> Results:
    """The bandwidth of the memory: every byte is read and added once."""
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
    """Its executor of threads or processes, if it is installed."""
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
            warnings.simplefilter("ignore", UserWarning)  # of its divisions
            results = context.run_udf(data, udfs)
        found: Results = {}
        for name, result in zip(names, results, strict=True):
            if name == "com":
                found[name] = np.moveaxis(result["raw_com"].data, -1, 0)
            elif name != "mean":
                found[name] = result["intensity"].data[..., 0]
            elif movie.path.name == "bench_movie.mrc":
                found[name] = result["intensity"].data / movie.n_frames
        return found

    return run


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gib", type=float, default=1, help="size of the movie (default: 1)")
    parser.add_argument("--chunk-mib", type=int, default=64, help="size of a chunk (default: 64)")
    parser.add_argument("--folder", type=Path, default=None, help="where the movie is written")
    parser.add_argument("--schedulers", default="threads", help="threads,processes or neither")
    parser.add_argument("--stores", default="", help=f"servers to read from: {', '.join(NAMES)}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
