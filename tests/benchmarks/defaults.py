"""Time the mean pattern of a movie, with each reader called as in its own tutorial.

    python tests/benchmarks/defaults.py [--gib 2] [--rounds 5] [--folder DIR]

Chunks, threads and dtypes are the defaults of each reader; only the scan shape is passed, if a
reader cannot find it. Times include opening the file. Readers take turns in every round, results
are compared, and the first round is a warm-up. Readers that are not installed are left out.
LiberTEM fails on MRC files of more than 2 GiB, so the movie is slightly smaller.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from dask.system import CPU_COUNT  # noqa: E402

import mrcdist  # noqa: E402
from mrcdist.testing.acquisition import write_acquisition  # noqa: E402
from tests.benchmarks.movie import FRAME_SHAPE, Movie, scan_of  # noqa: E402
from tests.benchmarks.object_store import Way, print_table  # noqa: E402
from tests.benchmarks.one_pass import Results, take_turns  # noqa: E402
from tests.benchmarks.report import machine  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit with an error if results differ."""
    options = _parse(arguments)
    print(", ".join(f"{key} {value}" for key, value in machine(CPU_COUNT).items()))
    with (
        tempfile.TemporaryDirectory(prefix="mrcdist-bench-", dir=options.folder) as name,
        ExitStack() as stack,
    ):
        movie = _acquisition(Path(name), options.gib)
        ways = _ways(movie, stack)
        take_turns(ways, options.rounds)
        load = os.getloadavg()[0]
        size = f"{movie.nbytes / 2**30:.1f} GiB"
        print_table(f"path to mean pattern: {size}, load {load:.1f}", ways, nbytes=movie.nbytes)
    return 0


def _acquisition(folder: Path, gib: float) -> Movie:
    """Write a movie with a sidecar, from which some readers take the scan shape."""
    rows, columns = scan_of(gib)
    movie = Movie(folder / "bench_movie.mrc", (rows - 1, columns))
    write_acquisition(
        folder,
        name="bench",
        scan_shape=movie.scan_shape,
        frame_shape=FRAME_SHAPE,
        present=1,
        sidecar={"Scan - Repeat Delay (seconds)": "0"},
    )
    movie.write()
    return movie


def _ways(movie: Movie, stack: ExitStack) -> list[Way]:
    path = str(movie.path)
    ways = [
        Way("read_mrc", lambda _: _mean(_open(path), axis=(0, 1))),
        Way("reduce_frames", lambda _: _reduce(path)),
    ]
    if find_spec("hyperspy") is not None:
        ways.append(Way("hs.load", lambda _: _hyperspy(path, lazy=False)))
        ways.append(Way("hs.load, lazy=True", lambda _: _hyperspy(path, lazy=True)))
    if find_spec("mrcfile") is not None:
        ways.append(Way("mrcfile.mmap", lambda _: _mrcfile(path)))
    if find_spec("libertem") is not None:
        context = stack.enter_context(_libertem())
        ways.append(Way("LiberTEM", lambda _: _libertem_mean(context, movie)))
    return ways


def _open(path: str) -> Any:
    [dataset] = mrcdist.read_mrc(path, distributed=True)
    return dataset["data"]


def _mean(data: Any, axis: tuple[int, ...]) -> Results:
    return {"mean": data.mean(axis=axis).compute()}


def _reduce(path: str) -> Results:
    results = mrcdist.reduce_frames(path, {"mean": mrcdist.MeanPattern()}, progress=False)
    return {"mean": results["mean"].values}


def _hyperspy(path: str, *, lazy: bool) -> Results:
    import hyperspy.api as hs

    signal = hs.load(path, lazy=lazy)
    mean = signal.mean(axis=signal.axes_manager.navigation_axes)
    if lazy:
        mean.compute(show_progressbar=False)
    return {"mean": mean.data}


def _mrcfile(path: str) -> Results:
    import mrcfile

    with mrcfile.mmap(path, permissive=True) as file:
        return {"mean": file.data.mean(axis=0)}


@contextmanager
def _libertem() -> Any:
    """Yield LiberTEM's default context, with an executor whose start is not timed."""
    from libertem.api import Context

    with Context() as context:
        yield context


def _libertem_mean(context: Any, movie: Movie) -> Results:
    from libertem.udf.sum import SumUDF

    dataset = context.load(
        "mrc", str(movie.path), nav_shape=movie.scan_shape, sig_shape=FRAME_SHAPE
    )
    total = context.run_udf(dataset, SumUDF())["intensity"].data
    return {"mean": total / movie.n_frames}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=2.0, help="size of the movie (default: 2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="folder for the movie (default: a temporary one)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
