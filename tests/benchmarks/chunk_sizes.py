"""Time dask expressions on a movie in the page cache, with several chunk sizes.

    python tests/benchmarks/chunk_sizes.py [--gib 2] [--rounds 5] [--sizes 128,64,256,512]
                                           [--schedulers threads,processes] [--folder DIR]

Sizes take turns in every round. A ratio is the median over all rounds of the ratio to the first
size; the first round is a warm-up.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

# Before importing numpy: no multithreading within each of our threads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from dask.system import CPU_COUNT  # noqa: E402

from tests.benchmarks.movie import Movie, scan_of  # noqa: E402
from tests.benchmarks.object_store import Way, print_table  # noqa: E402
from tests.benchmarks.one_pass import dask_expressions, plan_of, take_turns  # noqa: E402
from tests.benchmarks.report import machine  # noqa: E402
from tests.benchmarks.run import open_cluster  # noqa: E402

_CASES = {"mean": ["mean"], "virtual image": ["bf"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit with an error if results differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gib", type=float, default=2, help="size of the movie (default: 2)")
    parser.add_argument("--sizes", default="128,64,256,512", help="chunk sizes in MiB")
    parser.add_argument("--schedulers", default="threads,processes")
    parser.add_argument("--folder", type=Path, default=None, help="folder for the movie")
    options = parser.parse_args(arguments)
    print(", ".join(f"{key} {value}" for key, value in machine(CPU_COUNT).items()))
    with tempfile.TemporaryDirectory(prefix="mrcdist-bench-", dir=options.folder) as name:
        movie = Movie(Path(name) / "bench_movie.mrc", scan_of(options.gib))
        movie.write()
        plans = {
            size: plan_of(str(movie.path), movie, int(size)) for size in options.sizes.split(",")
        }
        for scheduler in options.schedulers.split(","):
            with ExitStack() as stack:
                client = None
                if scheduler == "processes":
                    client = stack.enter_context(open_cluster(CPU_COUNT))
                for title, names in _CASES.items():
                    ways = [
                        Way(
                            f"{size} MiB",
                            lambda _, plan=plan, names=names, client=client: dask_expressions(
                                plan.to_dask(), names, client
                            ),
                        )
                        for size, plan in plans.items()
                    ]
                    take_turns(ways, options.rounds)
                    load = f"load {os.getloadavg()[0]:.1f}"
                    print_table(f"{title}, {scheduler}, {load}", ways, nbytes=movie.nbytes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
