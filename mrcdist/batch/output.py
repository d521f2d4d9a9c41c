"""Write a result as .npy, .zarr, .mrc or .png."""

from __future__ import annotations

import glob
import importlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt

from mrcdist.batch.picture import result_figure
from mrcdist.compute.results import Result
from mrcdist.compute.whole_file import written
from mrcdist.errors import ArgumentError, MissingExtraError
from mrcdist.extras import install_command
from mrcdist.interop.rosettasciio import axes_attribute, axes_dicts
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from mrcdist.warning_notes import Note
from mrcdist.write.contents import in_angstrom
from mrcdist.write.errors import exists, is_input, require_other
from mrcdist.write.place import give_name
from mrcdist.write_api import plan_write

__all__ = [
    "FORMATS",
    "check_outputs",
    "put_back",
    "require_absent",
    "require_no_input",
    "write_result",
]

Array = npt.NDArray[Any]

# Suffix → package that writes it, extra that has it, numbers of axes that it can hold.
FORMATS = {
    ".npy": ("numpy", "", range(0, 65)),
    ".zarr": ("zarr", "zarr", range(0, 65)),
    ".mrc": ("numpy", "", range(2, 4)),
    ".png": ("matplotlib", "plot", range(2, 4)),
}

# A file of this length whose first bytes are the input's too is the input, or a copy.
_HEAD = 1024

_REPLACED = ".replaced"
# What follows a result's name in those of an unfinished one and of one that is put aside.
_LEFT = re.compile(rf"(?:[0-9a-f]{{12}}|[0-9a-f]{{32}})(?:{re.escape(_REPLACED)})?")


def check_outputs(
    paths: Sequence[Path],
    ndim: int,
    *,
    panels: bool,
    inputs: Sequence[StoredFile] = (),
) -> None:
    """Find out before anything is computed whether the result can be written.

    Parameters
    ----------
    paths : sequence of Path
    ndim : int
        Number of axes of the result.
    panels : bool
        The first axis counts images.
    inputs : sequence of StoredFile
        Files that are never replaced.

    Raises
    ------
    ArgumentError
        An unknown suffix, a folder that is not there or not writable, an input, something in the
        way that is no earlier result, or a result that the format cannot hold.
    MissingExtraError
    """
    for path in paths:
        if path.suffix not in FORMATS:
            raise ArgumentError(
                f"out={path}",
                code="destination-invalid",
                argument="out",
                cause=f"no output format for the suffix {path.suffix!r}",
                remedy=f"end the name in {', '.join(FORMATS)}",
            )
        package, extra, dimensions = FORMATS[path.suffix]
        try:
            importlib.import_module(package)
        except ImportError:
            raise MissingExtraError(
                f"out={path} needs {package}",
                code="package-missing",
                argument="out",
                cause="it is not installed here",
                remedy=f"{install_command(extra)}, or write .npy",
            ) from None
        image_axes = {".mrc": range(2, 4), ".png": range(2, 3)}.get(path.suffix, dimensions)
        if ndim not in dimensions or ndim - panels not in image_axes:
            raise ArgumentError(
                f"out={path}: the result has {ndim} axes",
                code="destination-unsuited",
                argument="out",
                cause=f"{path.suffix} holds images",
                remedy="write .npy or .zarr, or give {navigation_shape=(X, Y)}",
            )
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise ArgumentError(
                f"out={path}",
                code="destination-invalid",
                argument="out",
                cause=f"the folder {path.parent} does not exist or is not writable",
                remedy="create it, or choose another one",
            )
        for file in inputs:
            require_no_input(path, file)
        _require_place(path)


def require_absent(path: Path) -> None:
    """Raise if there is a result of that name: only `overwrite` replaces it."""
    if path.exists():
        raise exists(f"out={path}", "out")


def require_no_input(path: Path, file: StoredFile, *, argument: str = "out") -> None:
    """Raise if an output is an input, a copy of one, or a folder with an input in it."""
    shown = f"{argument}={path}"
    require_other(Location(str(path.absolute())), file.location, shown, argument)
    # A server or a mount may lead to the same file by another way.
    if path.is_file() and path.stat().st_size == file.version.size:
        with path.open("rb") as there:
            if there.read(_HEAD) == file.read(0, _HEAD):
                cause = f"it has the length and the first bytes of {file.location.shown}"
                raise is_input(shown, argument, f"{cause}, which is read")


def _require_place(path: Path) -> None:
    """Raise unless the result can have this name: what is there may be an earlier result."""
    what = ""
    if path.suffix == ".zarr":
        if path.is_dir():
            names = {file.name for file in path.iterdir()}
            if names and not names & {".zarray", "zarr.json"}:
                what = f"a folder with other files, such as {min(names)}"
        elif os.path.lexists(path):
            what = "no folder"
    elif path.is_dir():
        what = "a folder"
    elif os.path.lexists(path) and not path.is_file():
        what = "no file, or a link that leads nowhere"
    if what:
        raise ArgumentError(
            f"out={path} is in the way",
            code="destination-invalid",
            argument="out",
            cause=f"it is {what}, and is not replaced",
            remedy="delete or rename it, or choose another name",
        )


def put_back(path: Path) -> None:
    """Give an earlier result its name again that a killed job put aside, and clear what it left.

    For who holds the lock on this output: nobody else is about to replace it.
    """
    with written(path):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
            if _LEFT.fullmatch(left.name.removeprefix(f".{path.name}.")):
                _clear(left, path)


def write_result(
    path: Path,
    result: Result,
    *,
    origin: str,
    job: str = "",
    claim: Callable[[Path, Path], None] | None = None,
) -> list[str]:
    """Write a result; the file appears under its name once it is complete.

    Parameters
    ----------
    path : Path
        Its suffix says in which format. Replaced if it is there.
    result : Result
    origin : str
        Redacted URL of the data, for the formats that have a place for it.
    job : str, optional
        A name for the unfinished file that no other process uses.
    claim : callable, optional
        Called with the path and the complete file that is about to get this name.

    Returns
    -------
    list of str
        What got lost.

    Raises
    ------
    MrcdistError
        The disk is full, say.
    """
    unfinished = path.with_name(f".{path.name}.{job or uuid.uuid4().hex}")
    replaced = unfinished.with_name(f"{unfinished.name}{_REPLACED}")
    with written(path):
        try:
            _clear(unfinished, path)
            _clear(replaced, path)
            lost = _WRITERS[path.suffix](unfinished, result, origin)
            if claim is not None:
                claim(path, unfinished)
            give_name(unfinished, path, replaced)
            _delete(replaced)
        finally:
            _delete(unfinished)
    return lost


def _clear(left: Path, path: Path) -> None:
    """Clear what a killed job left, but for a result that has no other place."""
    if left.name.endswith(_REPLACED) and left.exists() and not os.path.lexists(path):
        left.rename(path)
    else:
        _delete(left)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _write_npy(path: Path, result: Result, _origin: str) -> list[str]:
    with path.open("xb") as file:
        np.save(file, result.values)
    return []


def _write_png(path: Path, result: Result, _origin: str) -> list[str]:
    result_figure(result).savefig(path, format="png")
    return []


def _write_zarr(path: Path, result: Result, origin: str) -> list[str]:
    import zarr

    array = zarr.open_array(
        str(path), mode="w", shape=result.values.shape, dtype=result.values.dtype
    )
    array[...] = result.values
    array.attrs.update(
        {
            "title": result.title,
            "axes": axes_attribute(result.axes),
            "names": list(result.names),
            "units": list(result.units),
            "source": origin,
        }
    )
    return []


def _write_mrc(path: Path, result: Result, origin: str) -> list[str]:
    """Write an image or a stack, with the pixel size in Å where the axes are in nm."""
    data, notes = _for_mrc(result.values)
    y, x = result.axes[-2:]
    labels = [f"mrcdist: {result.title}", origin.rsplit("/", 1)[-1]]
    labels += [
        f"{name}: {axis.scale:.6g} {axis.units} per pixel"
        for name, axis in (("y", y), ("x", x))
        if axis.units and in_angstrom(axis)[0] is None
    ]
    maps: list[dict[str, Any]] = [{} for _ in data.shape[:-2]]
    plan = plan_write(
        path,
        data,
        axes=maps + axes_dicts((y, x)),
        kind="images",
        sidecar=False,
        labels=[label.encode("ascii", "replace").decode()[:80] for label in labels],
        overwrite=True,  # what a job that was killed has left
    )
    with dask.config.set(scheduler="threads"):  # the file is this machine's, not the workers'
        plan.write()
    return notes


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
    text = (
        "MRC has no integers this large: the values are rounded to float32; .npy keeps them exactly"
    )
    return single, [Note("numbers-rounded", text)] if lost else []


_WRITERS = {".npy": _write_npy, ".zarr": _write_zarr, ".mrc": _write_mrc, ".png": _write_png}
