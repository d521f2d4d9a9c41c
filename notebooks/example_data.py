"""Synthetic data of the notebooks, and the servers they need: one function per notebook.

Servers and clusters stop at exit, even after an error, or when `stop()` is called.
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import s3fs
from distributed import Client, LocalCluster

from demo.tilt_series import Microscope, write_tilt_series
from mrcdist import write_mrc
from mrcdist.testing.acquisition import Acquisition, write_acquisition
from mrcdist.testing.server import S3Server, serve_s3

sys.path.append(str(Path(__file__).resolve().parents[1]))  # to import from demo/
from demo.field import demo_detectors, demo_frames
from demo.magnetism import magnetic_deflection
from demo.tilt_specimen import demo_tilts

_running = ExitStack()
atexit.register(_running.close)
stop = _running.close

Frames = Callable[[int], npt.NDArray[np.uint8]]


class Scan(NamedTuple):
    """A 4D-STEM acquisition on disk and in an S3 server."""

    path: Path
    """The movie on disk; the other files are next to it."""
    url: str
    """The movie in S3."""
    storage_options: dict[str, Any]
    """Options to access the S3 server."""
    frames: Frames
    """Frame number → expected frame, for comparison."""


class Tilts(NamedTuple):
    """Tilt series in an S3 server."""

    urls: list[str]
    storage_options: dict[str, Any]
    series: list[Callable[[int], npt.NDArray[Any]]]
    """For each series: image number → expected image, for comparison."""


def scan_on_disk() -> Path:
    """Return the path of a movie of 64 × 64 patterns."""
    frames = demo_frames((64, 64), (64, 64))
    return _acquisition(frames, (64, 64), (64, 64), nm=2, per_nm=0.15, dtype="uint16").movie


def scan_with_dark_field() -> Scan:
    """Return a scan of 64 × 64 patterns, with a dark-field image recorded by the camera."""
    frames = demo_frames((64, 64), (96, 96))
    ring = demo_detectors((96, 96)).dark
    image = np.reshape([frames(index)[ring].sum() for index in range(64**2)], (64, 64))
    written = _acquisition(frames, (64, 64), (96, 96), nm=2, virtual_images={"ADF": image})
    return _in_s3(written, frames)


def scan_for_zarr() -> Scan:
    """Return a scan of 64 × 64 patterns."""
    frames = demo_frames((64, 64), (64, 64))
    written = _acquisition(frames, (64, 64), (64, 64), nm=3, per_nm=0.15, dtype="uint16")
    return _in_s3(written, frames)


def magnetic_film() -> tuple[Scan, Client]:
    """Return a scan of 96 × 96 patterns, deflected by a magnetic film, and two workers."""
    deflection = magnetic_deflection((96, 96), pixels=0.6)
    frames = demo_frames((96, 96), (96, 96), deflection=deflection)
    scan = _in_s3(_acquisition(frames, (96, 96), (96, 96), nm=3), frames)
    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        local_directory=str(_folder()),
    )
    return scan, _running.enter_context(Client(_running.enter_context(cluster)))


def scan_for_batch_jobs() -> Scan:
    """Return a scan of 72 × 72 patterns, and set the environment that `sbatch` passes on to jobs.

    The environment contains the S3 credentials (yours may be in ``~/.aws`` instead) and, because
    all nodes of the demo cluster are this machine, its network interface and scratch folder.
    """
    frames = demo_frames((72, 72), (96, 96))
    scan = _in_s3(_acquisition(frames, (72, 72), (96, 96), nm=2), frames)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": scan.storage_options["key"],
        "AWS_SECRET_ACCESS_KEY": scan.storage_options["secret"],
        "AWS_ENDPOINT_URL": scan.storage_options["endpoint_url"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "INTERFACE": "lo",
        "LOCAL_SCRATCH": str(_folder()),
    }
    return scan


def tilt_series() -> Tilts:
    """Return two tilt series, in the formats of Thermo Fisher's software and of SerialEM."""
    folder, urls, series = _folder(), [], []
    server, store = _s3(folder, "tomography")
    for name, kind, side, step in (
        ("fei.mrc", "FEI2", 1024, 3.0),
        ("serialem.mrc", "SERI", 384, 2.0),
    ):
        angles = np.arange(-60.0, 61.0, step)
        images = demo_tilts((side, side), angles)
        microscope = Microscope(pixel_size=0.4 * 1024 / side)
        write_tilt_series(
            folder / name, angles, images, shape=(side, side), kind=kind, microscope=microscope
        )
        series.append(images)
        urls += _put(store, "tomography", [folder / name])
    return Tilts(urls, server.storage_options, series)


def tomogram_of_spheres() -> tuple[Path, npt.NDArray[np.float32]]:
    """Return the path and the values of a noisy volume of hollow spheres, with voxels of 1 nm."""
    random, shape = np.random.default_rng(3), (64, 520, 520)
    volume = random.normal(100, 15, shape).astype("float32")
    grid = np.ogrid[tuple(map(slice, shape))]
    for _ in range(40):
        centre, radius = random.uniform(0, shape), random.uniform(15, 45)
        squares = [(g - c) ** 2 for g, c in zip(grid, centre, strict=True)]
        volume[abs(np.sqrt(sum(squares)) - radius) < 3] -= 40
    path = _folder() / "tomogram.mrc"
    write_mrc(path, volume, axes=[{"name": name, "scale": 1.0, "units": "nm"} for name in "zyx"])
    return path, volume


def _folder() -> Path:
    return Path(_running.enter_context(tempfile.TemporaryDirectory()))


def _acquisition(
    frames: Frames,
    scan_shape: tuple[int, int],
    frame_shape: tuple[int, int],
    *,
    nm: float,
    per_nm: float = 0.1,
    dtype: str = "uint8",
    **options: Any,
) -> Acquisition:
    return write_acquisition(
        _folder(),
        scan_shape=scan_shape,
        frame_shape=frame_shape,
        frames=frames,
        dtype=dtype,
        sidecar={
            "Specimen Pixel Size X (nanometers)": f"{nm}",
            "Specimen Pixel Size Y (nanometers)": f"{nm}",
            "Diffraction Pixel Size X": f"{per_nm}",
            "Diffraction Pixel Size Y": f"{per_nm}",
        },
        **options,
    )


def _s3(folder: Path, bucket: str) -> tuple[S3Server, s3fs.S3FileSystem]:
    server = _running.enter_context(serve_s3(folder / "s3.log"))
    store = s3fs.S3FileSystem(**server.storage_options)
    store.call_s3("create_bucket", Bucket=bucket)
    return server, store


def _put(store: s3fs.S3FileSystem, bucket: str, files: Iterable[Path]) -> list[str]:
    urls = []
    for file in files:
        store.put_file(str(file), f"{bucket}/{file.name}")
        urls.append(f"s3://{bucket}/{file.name}")
    return urls


def _in_s3(acquisition: Acquisition, frames: Frames) -> Scan:
    server, store = _s3(_folder(), "demo")
    url, *_ = _put(store, "demo", acquisition.files)
    return Scan(acquisition.movie, url, server.storage_options, frames)
