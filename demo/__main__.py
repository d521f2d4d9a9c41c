"""Compute images from a 4D-STEM movie in S3 on a local dask cluster.

The demonstration creates the acquisition, the S3 server and the cluster. The images are compared
with those that numpy computes from the local file; the exit status is 1 if they differ.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from dask.system import CPU_COUNT
from distributed import Client, as_completed, futures_of
from numpy.typing import NDArray

import mrcdist
from demo.field import Detectors, demo_detectors, demo_frames
from demo.panels import save_figure
from mrcdist.format.direct_electron import sidecar_keys as keys
from mrcdist.progress import Progress
from mrcdist.testing.acquisition import Acquisition, write_acquisition
from mrcdist.testing.server import S3Server, serve_s3

_FRAME = (128, 128)
_FRAME_BYTES = _FRAME[0] * _FRAME[1] * 2
_HEADER_BYTES = 1024
_CHUNKS = "16 MiB"  # the default, 128 MiB, would make only a few chunks
_SERVER = Path(__file__).with_name("file_server.py")
_NEXT_STEPS = """
Next steps, with a file of your own, local or s3://bucket/name (or first with {movie}):
  {program} info FILE                  shape, axes and calibration
  {program} preview FILE -o look.png   an overview, from a sample of the frames
  {program} mean FILE --out mean.npy   the mean of all frames, computed on all CPUs
In Python: [ds] = mrcdist.read_mrc("FILE"); ds["data"] is a lazy dask array.
docs/tutorial.md continues from here; notebooks/ covers HyperSpy, pyxem, S3 and Slurm."""
_CALIBRATION = {
    keys.SPECIMEN_PIXEL_X.name: "2",
    keys.SPECIMEN_PIXEL_Y.name: "2",
    keys.DIFFRACTION_PIXEL_X.name: "0.11",
    keys.DIFFRACTION_PIXEL_Y.name: "0.11",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the demonstration.

    Parameters
    ----------
    arguments : list of str, optional
        Command-line arguments.

    Returns
    -------
    int
        Exit status: 0 if the images equal those of numpy, else 1.
    """
    options = _parse(arguments)
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    _ignore_proxies_and_accounts()

    with _step(f"writing an acquisition of at least {options.size_mib} MiB"):
        acquisition = _write(output, options.size_mib)
    size = acquisition.movie.stat().st_size
    y, x = acquisition.navigation_shape
    scan = f"{y} × {x} scan of {_FRAME[0]} × {_FRAME[1]} frames"
    print(f"  {acquisition.movie}: {scan}, {size / 2**20:.0f} MiB")

    detectors = demo_detectors(_FRAME)
    with ExitStack() as stack:
        with _step("starting an S3 server for its folder"):
            server = stack.enter_context(
                serve_s3(output / "s3-server.log", [sys.executable, str(_SERVER), str(output)])
            )
        stack.enter_context(_cluster(options.workers))
        images, axes = _compute(f"s3://demo/{acquisition.movie.name}", server, detectors, size)

    with _step("computing the same images with numpy from the local file, to compare"):
        expected = _compute_with_numpy(acquisition, detectors)
    wrong = [name for name in expected if not np.array_equal(images[name], expected[name])]
    print(f"  DIFFERENT: {', '.join(wrong)}" if wrong else "  all three images are exactly equal")
    path = output / f"{acquisition.name}.png"
    title = (acquisition.movie.name, scan, f"read from S3 by {options.workers} dask workers")
    with _step("drawing the images"):
        save_figure(path, images, detectors, axes, "   ·   ".join(title))
    print(f"  {path}")
    print(_NEXT_STEPS.format(program=_program(), movie=acquisition.movie))
    return 1 if wrong else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m demo", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=256, help="minimum size of the movie (256)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (2)")
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="folder to write to"
    )
    options = parser.parse_args(arguments)
    if options.size_mib < 1 or options.workers < 1:
        parser.error("--size-mib and --workers are at least 1")
    return options


def _ignore_proxies_and_accounts() -> None:
    """Ignore proxies and AWS accounts in the environment, also for the workers."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        os.environ[name] = os.devnull
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))


@contextmanager
def _step(description: str) -> Iterator[None]:
    print(f"{description} …", flush=True)
    start = time.perf_counter()
    yield
    print(f"  {time.perf_counter() - start:.1f} s")


def _write(folder: Path, size_mib: int) -> Acquisition:
    side = 8 * math.ceil(math.sqrt(size_mib * 2**20 / _FRAME_BYTES) / 8)
    frame = demo_frames((side, side), _FRAME)
    with Progress("  writing", side * side, stream=sys.stdout) as progress:

        def counted(index: int) -> NDArray[np.uint16]:
            progress.advance()
            return frame(index)

        return write_acquisition(
            folder,
            scan_shape=(side, side),
            frame_shape=_FRAME,
            frames=counted,
            sidecar=_CALIBRATION,
        )


def _program() -> Path:
    """Return the path of the command-line program, relative to this folder if possible."""
    program = Path(sys.executable).with_name("mrcdist")
    return program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program


@contextmanager
def _cluster(workers: int) -> Iterator[None]:
    """Run a cluster of worker processes for the duration of the context."""
    with tempfile.TemporaryDirectory(prefix="mrcdist-demo-") as scratch, ExitStack() as stack:
        with _step(f"starting {workers} worker processes"):
            client = stack.enter_context(
                Client(
                    n_workers=workers,
                    threads_per_worker=2,
                    processes=True,
                    dashboard_address="127.0.0.1:0",
                    host="127.0.0.1",
                    local_directory=scratch,
                    silence_logs=logging.ERROR,
                )
            )
            client.run(importlib.import_module, "s3fs")  # would delay the first reads
        yield


def _compute(
    url: str, server: S3Server, detectors: Detectors, size: int
) -> tuple[dict[str, NDArray[Any]], list[dict[str, Any]]]:
    """Open the movie and compute three images as a user would; print times and requests."""
    before = server.requests()
    with _step(f'[ds] = read_mrc("{url}", distributed=True)'):
        [ds] = mrcdist.read_mrc(
            url, distributed=True, chunks=_CHUNKS, storage_options=server.storage_options
        )
    planned = server.requests()
    data = ds["data"]
    print(f"  {data.shape} {data.dtype} in {data.npartitions} chunks")
    for axis in ds["axes"]:
        print(f"  {axis['name']:>3}: {axis['size']} × {axis['scale']:g} {axis['units']}")

    print("mean pattern, bright field and dark field, in one pass …", flush=True)
    start = time.perf_counter()
    results = mrcdist.reduce_frames(
        ds,
        {
            "pattern": mrcdist.SumPattern(),
            "bright": mrcdist.VirtualImage(detectors.bright.astype("i1")),
            "dark": mrcdist.VirtualImage(detectors.dark.astype("i1")),
        },
    )
    seconds = time.perf_counter() - start
    read = server.requests()
    print(f"  {seconds:.1f} s, {size / seconds / 2**20:.0f} MiB/s")
    print(
        f"  requests: {_format_requests(planned - before)} to plan, "
        f"{_format_requests(read - planned)} to read"
    )

    print("reading everything again, without computing …", flush=True)
    start = time.perf_counter()
    one_pixel = data.map_blocks(lambda b: b[..., 0, 0].copy(), drop_axis=(2, 3), dtype=data.dtype)
    _follow(one_pixel.persist())
    seconds = time.perf_counter() - start
    print(
        f"  {seconds:.1f} s, {size / seconds / 2**20:.0f} MiB/s: server, scheduler and workers "
        f"share {CPU_COUNT} CPUs here"
    )
    return {name: np.asarray(result) for name, result in results.items()}, ds["axes"]


def _follow(array: da.Array) -> None:
    """Wait for an array and show the progress."""
    futures = futures_of(array)
    with Progress("  reading", len(futures), stream=sys.stdout) as progress:
        for _ in as_completed(futures):
            progress.advance()


def _format_requests(requests: dict[str, int]) -> str:
    return " + ".join(f"{count} {method}" for method, count in sorted(requests.items())) or "none"


def _compute_with_numpy(acquisition: Acquisition, detectors: Detectors) -> dict[str, NDArray[Any]]:
    """Compute the same images from the local file with numpy."""
    y, x = acquisition.navigation_shape
    shape = (y, x, *acquisition.frame_shape)
    movie = np.memmap(acquisition.movie, "<u2", mode="r", offset=_HEADER_BYTES, shape=shape)
    masks = {"bright": detectors.bright, "dark": detectors.dark}
    return {
        "pattern": movie.sum(axis=(0, 1), dtype="uint64"),
        **{
            name: np.einsum("yxij,ij->yx", movie, mask, dtype="uint64")
            for name, mask in masks.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
