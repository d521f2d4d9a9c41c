"""Write a synthetic Direct Electron acquisition: movie, sidecar, scan points, images.

By default every frame encodes its index (`mrcdist.testing.movie.indexed_frame`), so that tests can
verify the order of frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.direct_electron.filenames import (
    MOVIE_ENDING,
    SCAN_POINTS_ENDING,
    SIDECAR_ENDING,
)
from mrcdist.format.direct_electron.sidecar import sidecar_text
from mrcdist.testing.movie import MODES, indexed_frame, invalid, write_movie
from mrcdist.testing.sidecar import (
    Server,
    frame_values,
    image_values,
    ordered,
    scan_values,
    server_values,
)

__all__ = ["Acquisition", "write_acquisition"]


@dataclass(frozen=True)
class Acquisition:
    """The files of one acquisition, and the shapes that a reader should find.

    Parameters
    ----------
    name : str
        `YYYYMMDD_acq[_suffix]`, the beginning of all file names.
    movies : tuple of Path
        The movie, or its numbered parts in order.
    sidecar : Path
        `…_info.txt`.
    scan_points : Path or None
        `…_scan_coordinates.csv` of a custom scan.
    companions : tuple of Path
        Virtual images, then external images, by number.
    navigation_shape : tuple of int
        The planned shape in array order, slowest first: for a raster scan (repeats, y, x, point
        repeats) without axes of length 1; for a custom scan or no scan (frames,).
    frame_shape : tuple of int
        (ky, kx) in pixels.
    frames : int
        Number of frames written, in all movies together.
    """

    name: str
    movies: tuple[Path, ...]
    sidecar: Path
    scan_points: Path | None
    companions: tuple[Path, ...]
    navigation_shape: tuple[int, ...]
    frame_shape: tuple[int, int]
    frames: int

    @property
    def movie(self) -> Path:
        """The movie, or its first part."""
        return self.movies[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files written."""
        points = () if self.scan_points is None else (self.scan_points,)
        return (*self.movies, self.sidecar, *points, *self.companions)


def write_acquisition(
    folder: Path | str,
    *,
    name: str = "20260101_00001",
    scan_shape: tuple[int, int] = (4, 8),
    frame_shape: tuple[int, int] = (8, 16),
    repeats: int = 1,
    point_repeats: int = 1,
    roi: tuple[int, int] | None = None,
    dtype: str = "uint16",
    byteorder: ByteOrder = "<",
    frames: Callable[[int], NDArray[Any]] | None = None,
    scan: bool = True,
    present: int | None = None,
    announced: int | None = None,
    custom_points: NDArray[Any] | None = None,
    parts: int = 1,
    virtual_images: Mapping[str, NDArray[Any]] | None = None,
    external_images: Mapping[str, NDArray[Any]] | None = None,
    server: Server = "new",
    sidecar: Mapping[str, str | None] | None = None,
) -> Acquisition:
    r"""Write a synthetic acquisition to a folder and return its paths and shapes.

    Parameters
    ----------
    folder : Path or str
        Created if necessary. Existing files with the same names are replaced.
    name : str, default "20260101_00001"
        `YYYYMMDD_acq[_suffix]`.
    scan_shape : tuple of int, default (4, 8)
        (y, x) of the whole scan. Without a scan, the product is the number of frames.
    frame_shape : tuple of int, default (8, 16)
        (ky, kx) in pixels.
    repeats, point_repeats : int, default 1
        Repeats of the whole scan, and of each point before the beam moves on.
    roi : tuple of int, optional
        (y, x) of the central part of `scan_shape` that is actually scanned.
    dtype : str, default "uint16"
        int8, uint8, int16, uint16, float16, float32 or complex64.
    byteorder : {"<", ">"}, default "<"
        Byte order of header and pixels; the camera writes little-endian files.
    frames : callable, optional
        Called with the index of a frame; returns an array of `frame_shape` whose values `dtype`
        can represent exactly. Default: `indexed_frame`.
    scan : bool, default True
        False for a movie with a stationary beam.
    present : int, optional
        Number of frames written, for an aborted acquisition (or a longer one). Default: as planned.
    announced : int, optional
        NZ in the header of a single movie, if it differs from the number of frames written.
    custom_points : ndarray of int, shape (n, 2), optional
        (x, y) of each planned frame of a custom scan, written to `…_scan_coordinates.csv`.
    parts : int, default 1
        Number of movie files for the planned frames; an aborted acquisition has fewer.
    virtual_images, external_images : mapping of str to ndarray, optional
        Images of shape (y, x) by name, written as float32. Virtual images are numbered from 0,
        external images from 1; `#` is omitted from file names.
    server : {"new", "2.7"}, default "new"
        Version of the simulated server. An early 2.7 server writes `Scan - Point Repeat`,
        `ADUs Per Electron Bin1x` and `\r\n`; a newer one `Scan - Camera Frames Per Point`,
        `ADUs Per Electron`, `\n`, and `virt0` instead of `0` in file names.
    sidecar : mapping of str to str or None, optional
        Values to replace or add, and keys to omit (None).

    Returns
    -------
    Acquisition
        Paths and shapes.

    Raises
    ------
    ArgumentError
        Arguments contradict each other, or a frame has the wrong shape or values.
    """
    _check_files(dtype, byteorder, parts, announced)
    _check_scan(scan, custom_points, (repeats, point_repeats), roi, scan_shape)
    shape = (repeats, *(roi or scan_shape), point_repeats)
    planned = math.prod(shape) if custom_points is None else len(custom_points)
    n_frames = planned if present is None else present
    per_file = max(1, math.ceil(planned / parts))
    make_frame = frames or partial(indexed_frame, frame_shape=frame_shape, dtype=dtype)

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pixels: dict[str, Any] = {"dtype": dtype, "byteorder": byteorder, "frame_shape": frame_shape}
    movies = _movie_files(folder, name, parts, announced, per_file, n_frames)
    for path, part, count in movies:
        write_movie(path, map(make_frame, part), count=count, **pixels)
    number = "virt{}" if server == "new" else "{}"
    virtual = _write_images(folder, f"{name}_{number}_{{}}_sum.mrc", 0, virtual_images, byteorder)
    external = _write_images(folder, f"{name}_ext{{}}_{{}}.mrc", 1, external_images, byteorder)
    points = _write_points(folder, name, custom_points)
    xyz = f"{name}.xyz" if points else None

    generated = ordered(
        server_values(name, server, finished=n_frames == planned),
        frame_values(movies[0][0].name, frame_shape, dtype, n_frames, planned, per_file),
        scan_values(xyz, scan_shape, roi, (repeats, point_repeats), planned, server, scan=scan),
        image_values(virtual, external),
    )
    values = {k: v for k, v in {**generated, **(sidecar or {})}.items() if v is not None}
    info = folder / f"{name}{SIDECAR_ENDING}"
    info.write_bytes(sidecar_text(values, "\r\n" if server == "2.7" else "\n"))

    return Acquisition(
        name=name,
        movies=tuple(path for path, *_ in movies),
        sidecar=info,
        scan_points=points,
        companions=tuple(folder / file for file in (*virtual.values(), *external.values())),
        navigation_shape=tuple(n for n in shape if n > 1) if scan and not xyz else (planned,),
        frame_shape=frame_shape,
        frames=n_frames,
    )


def _movie_files(
    folder: Path, name: str, parts: int, announced: int | None, per_file: int, n_frames: int
) -> list[tuple[Path, range, int]]:
    """Return path, frames and NZ of each movie to write; parts without frames are omitted."""
    if parts == 1:
        count = n_frames if announced is None else announced
        return [(folder / f"{name}{MOVIE_ENDING}", range(n_frames), count)]
    starts = range(0, max(n_frames, 1), per_file)[:parts]
    parts_of_movie = [range(*ends) for ends in pairwise([*starts, n_frames])]
    return [
        (folder / f"{name}_{number}{MOVIE_ENDING}", frames, len(frames))
        for number, frames in enumerate(parts_of_movie)
    ]


def _write_points(folder: Path, name: str, points: NDArray[Any] | None) -> Path | None:
    if points is None:
        return None
    path = folder / f"{name}{SCAN_POINTS_ENDING}"
    np.savetxt(path, points, fmt="%d", delimiter=",")
    return path


def _write_images(
    folder: Path,
    pattern: str,
    first: int,
    images: Mapping[str, NDArray[Any]] | None,
    byteorder: ByteOrder,
) -> dict[str, str]:
    """Write images, and return the file name of each."""
    files = {}
    for number, (name, image) in enumerate((images or {}).items(), start=first):
        files[name] = pattern.format(number, name.replace("#", ""))
        pixels: dict[str, Any] = {"dtype": "float32", "byteorder": byteorder}
        frames = [np.asarray(image, "float32")]
        write_movie(folder / files[name], frames, count=1, frame_shape=image.shape, **pixels)
    return files


def _check_files(dtype: str, byteorder: str, parts: int, announced: int | None) -> None:
    if dtype not in MODES or byteorder not in ("<", ">"):
        raise invalid(
            "byteorder" if dtype in MODES else "dtype",
            f"`dtype={dtype!r}`, `byteorder={byteorder!r}`",
            "MRC has no mode or no machine stamp for it",
            f"use one of {', '.join(MODES)}, and '<' or '>'",
        )
    if parts < 1 or (announced is not None and parts > 1):
        raise invalid(
            "parts" if parts < 1 else "announced",
            f"`parts={parts}` with `announced={announced}`",
            "only for a single movie can the header announce a different number of frames",
            "use `parts=1`, or omit `announced`",
        )


def _check_scan(
    scan: bool,
    custom_points: NDArray[Any] | None,
    repeats: tuple[int, int],
    roi: tuple[int, int] | None,
    scan_shape: tuple[int, int],
) -> None:
    if (not scan or custom_points is not None) and (repeats != (1, 1) or roi is not None):
        raise invalid(
            "roi" if roi else "repeats" if repeats[0] != 1 else "point_repeats",
            f"`repeats={repeats[0]}`, `point_repeats={repeats[1]}`, `roi={roi}` without a raster "
            "scan",
            "they describe a raster; a list of points already contains all repeats",
            "omit them, or omit `custom_points` and `scan=False`",
        )
    if not scan and custom_points is not None:
        raise invalid(
            "custom_points",
            "`custom_points` with `scan=False`",
            "points describe a scan",
            "omit one of them",
        )
    if roi is not None and (roi[0] > scan_shape[0] or roi[1] > scan_shape[1]):
        raise invalid(
            "roi",
            f"`roi={roi}` is larger than `scan_shape={scan_shape}`",
            "the region must lie inside the scan",
            "use a smaller `roi` or a larger `scan_shape`",
        )
