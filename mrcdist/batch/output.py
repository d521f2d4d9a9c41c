"""Write a result as .npy, .zarr, .mrc or .png."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.batch.partial import write_whole
from mrcdist.batch.picture import result_figure
from mrcdist.batch.quantities import Result
from mrcdist.errors import ArgumentError, MissingExtraError
from mrcdist.format.axis import Axis
from mrcdist.interop.rosettasciio import axes_dicts
from mrcdist.notes import Note

__all__ = ["FORMATS", "check_outputs", "write_result"]

Array = npt.NDArray[Any]

# Suffix → package that writes it, extra that has it, numbers of axes that it can hold.
FORMATS = {
    ".npy": ("numpy", "", range(0, 65)),
    ".zarr": ("zarr", "zarr", range(0, 65)),
    ".mrc": ("mrcfile", "", range(2, 4)),
    ".png": ("matplotlib", "plot", range(2, 4)),
}

_ANGSTROM_PER_NM = 10.0


def check_outputs(paths: Sequence[Path], ndim: int, *, panels: bool, overwrite: bool) -> None:
    """Find out before anything is computed whether the result can be written.

    Parameters
    ----------
    paths : sequence of Path
    ndim : int
        Number of axes of the result.
    panels : bool
        The first axis counts images.
    overwrite : bool
        Whether files that are there may be replaced.

    Raises
    ------
    ArgumentError
        An unknown suffix, a folder that is not there or not writable, a file that is there, or a
        result that the format cannot hold.
    MissingExtraError
    """
    for path in paths:
        if path.suffix not in FORMATS:
            raise ArgumentError(
                f"--out {path}",
                code="out-invalid",
                argument="out",
                cause=f"the suffix {path.suffix!r} stands for no format",
                remedy=f"end the name in {', '.join(FORMATS)}",
            )
        package, extra, dimensions = FORMATS[path.suffix]
        try:
            importlib.import_module(package)
        except ImportError:
            raise MissingExtraError(
                f"--out {path} needs {package}",
                code="package-missing",
                argument="out",
                cause="it is not installed here",
                remedy=f'pip install "mrcdist[{extra}]", or write .npy',
            ) from None
        if ndim not in dimensions or (path.suffix == ".png" and ndim - panels != 2):
            raise ArgumentError(
                f"--out {path}: the result has {ndim} axes",
                code="out-unsuited",
                argument="out",
                cause=f"{path.suffix} holds images",
                remedy="write .npy or .zarr, or give --navigation-shape X,Y",
            )
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise ArgumentError(
                f"--out {path}",
                code="out-invalid",
                argument="out",
                cause=f"the folder {path.parent} is not there, or may not be written to",
                remedy="make it, or name another one",
            )
        if path.exists() and not overwrite:
            raise ArgumentError(
                f"--out {path} exists",
                code="out-exists",
                argument="out",
                cause="a result is not overwritten unasked",
                remedy="choose another name, or add --overwrite",
            )


def write_result(path: Path, result: Result, *, origin: str) -> list[str]:
    """Write a result; the file appears under its name once it is complete.

    Parameters
    ----------
    path : Path
        Its suffix says in which format. Replaced if it is there.
    result : Result
    origin : str
        Redacted URL of the data, for the formats that have a place for it.

    Returns
    -------
    list of str
        What got lost.
    """
    if path.suffix == ".zarr":
        _write_zarr(path, result, origin)
        return []
    if path.suffix == ".mrc":
        return _write_mrc(path, result, origin)
    with write_whole(path) as file:
        if path.suffix == ".npy":
            np.save(file, result.values)
        else:
            result_figure(result).savefig(file, format="png")
    return []


def _write_zarr(path: Path, result: Result, origin: str) -> None:
    import zarr

    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    array = zarr.open_array(
        str(unfinished), mode="w", shape=result.values.shape, dtype=result.values.dtype
    )
    array[...] = result.values
    array.attrs.update(
        {
            "title": result.title,
            "axes": [_plain(axis) for axis in axes_dicts(result.axes)],
            "names": list(result.names),
            "units": list(result.units),
            "source": origin,
        }
    )
    if path.is_dir():
        shutil.rmtree(path)
    unfinished.replace(path)


def _plain(axis: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in axis.items()
    }


def _write_mrc(path: Path, result: Result, origin: str) -> list[str]:
    """Write an image or a stack, with the pixel size in Å where the axes are in nm."""
    import mrcfile

    data, notes = _for_mrc(result.values)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    y, x = result.axes[-2:]
    with mrcfile.new(unfinished, data, overwrite=True) as file:
        if data.ndim == 3:
            file.set_image_stack()
        file.voxel_size = (_angstrom(x), _angstrom(y), 0.0)
        file.add_label(f"mrcdist: {result.title}")
        file.add_label(origin.rsplit("/", 1)[-1].encode("ascii", "replace").decode()[:80])
        for name, axis in (("y", y), ("x", x)):
            if axis.units and not _angstrom(axis):
                file.add_label(f"{name}: {axis.scale:.6g} {axis.units} a pixel")
    unfinished.replace(path)
    return notes


def _angstrom(axis: Axis) -> float:
    known = axis.units == "nm" and axis.values is None
    return abs(axis.scale) * _ANGSTROM_PER_NM if known else 0.0


def _for_mrc(values: Array) -> tuple[Array, list[str]]:
    """Convert to a dtype that MRC2014 has, losing as little as possible."""
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        for name in ("uint16", "int16"):
            limits = np.iinfo(name)
            if limits.min <= low and high <= limits.max:
                return values.astype(name), []
    single = values.astype(np.float32)
    lost = values.dtype.kind in "iu" and not np.array_equal(single.astype(values.dtype), values)
    text = "MRC has no integers this large: the numbers are rounded to float32; .npy has them all"
    return single, [Note("numbers-rounded", text)] if lost else []
