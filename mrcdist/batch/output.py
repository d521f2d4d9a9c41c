"""Output files of results (.npy, .zarr, .mrc, .png), and pictures of unfinished ones."""

from __future__ import annotations

import glob
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt

from mrcdist.compute.results import Result
from mrcdist.errors import ArgumentError
from mrcdist.extras import import_optional, install_command
from mrcdist.formatting import format_unit
from mrcdist.interop.rosettasciio import axes_attribute
from mrcdist.preview.overview_page import draw_panels
from mrcdist.preview.panels import Panel
from mrcdist.storage.local_files import (
    atomic_write,
    explain_os_errors,
    replace_path,
    restore_path,
)
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile, read_whole
from mrcdist.warning_notes import Note
from mrcdist.write.checks import check_not_input
from mrcdist.write.contents import in_angstrom
from mrcdist.write.errors import exists, in_the_way, is_input
from mrcdist.write_api import plan_write

Array = npt.NDArray[Any]

# A file with the size and the first bytes of the input is the input, or a copy of it.
_HEAD = 1024

# Ending of the name of a result's temporary folder: the ID of the job, and a suffix.
_TEMPORARY = re.compile(r"[0-9a-f]{12}\.tmp")
_PREVIOUS = "previous"


def check_outputs(
    paths: Sequence[Path], ndim: int, *, panels: bool, inputs: Sequence[StoredFile] = ()
) -> None:
    """Check that a result with `ndim` axes can be written to each path.

    With `panels`, the first axis counts images. Raise if a path is one of the `inputs`, or exists
    and cannot be an earlier result.

    Raises
    ------
    ArgumentError, MissingExtraError
    """
    for path in paths:
        _require_format(path, ndim, panels)
        for file in inputs:
            require_no_input(path, file)
        if obstacle := _obstacle(path):
            raise in_the_way(f"`out={path}`", "out", f"it is {obstacle}, which is never replaced")


def _require_format(path: Path, ndim: int, panels: bool) -> None:
    """Raise unless the format of this suffix can store the result and its package is installed."""
    if path.suffix not in _FORMATS:
        raise ArgumentError(
            f"`out={path}`",
            code="destination-invalid",
            argument="out",
            cause=f"no output format for the suffix {path.suffix!r}",
            remedy=f"end the name in {', '.join(_FORMATS)}",
        )
    _, package, extra, image_axes, max_axes = _FORMATS[path.suffix]
    remedy = f"{install_command(extra)}, or write .npy"
    import_optional(package, f"{path} is written with it", remedy, argument="out")
    if ndim - panels not in image_axes or ndim > max_axes:
        raise ArgumentError(
            f"`out={path}`: the result has {ndim} axes",
            code="destination-unsuited",
            argument="out",
            cause=f"{path.suffix} holds images",
            remedy="write .npy or .zarr, or give `navigation_shape=(X, Y)`",
        )


def _obstacle(path: Path) -> str:
    """Describe what has the name of a result but cannot be an earlier one; empty if nothing."""
    if not os.path.lexists(path):
        return ""
    if path.suffix != ".zarr":
        kind = "a folder" if path.is_dir() else "not a regular file, or a broken link"
        return "" if path.is_file() else kind
    if not path.is_dir():
        return "not a folder"
    names = {file.name for file in path.iterdir()}
    if not names or names & {".zarray", "zarr.json"}:
        return ""
    return f"a folder with other files, such as {min(names)}"


def require_absent(path: Path) -> None:
    """Raise if a result of this name exists; only `overwrite` replaces it."""
    if path.exists():
        raise exists(f"`out={path}`", "out")


def require_no_input(path: Path, file: StoredFile, *, argument: str = "out") -> None:
    """Raise if an output is an input, a copy of one, or a folder that contains one."""
    output = Location(str(path.absolute()))
    check_not_input(output, file.location, argument)
    # A server or a mount may give access to the same file under another name.
    is_equal = path.is_file() and path.stat().st_size == file.version.size
    if is_equal and read_whole(output, _HEAD) == file.read(0, _HEAD):
        cause = f"it has the size and the first bytes of the input {file.location.shown}"
        raise is_input(output, argument, cause)


def clean_up(path: Path) -> None:
    """Remove temporary folders of killed jobs, and restore an earlier result from them.

    Only the holder of the lock on this output may call this.
    """
    with explain_os_errors(path):
        for folder in path.parent.glob(f".{glob.escape(path.name)}.*"):
            if _TEMPORARY.fullmatch(folder.name.removeprefix(f".{path.name}.")):
                _remove_temporary(folder, path)


def write_result(
    path: Path,
    result: Result,
    *,
    origin: str,
    job: str,
    claim: Callable[[Path, Path], None],
) -> tuple[Note, ...]:
    """Write a result in the format of the suffix; return notes about what could not be stored.

    The file appears under its name, or replaces an existing one, once it is complete. `origin` is
    the redacted URL of the data, for formats that can store it; `job` is an ID of 12 hexadecimal
    digits, for the name of the temporary folder. `claim` is called with `path` and the complete
    file just before this is renamed.
    """
    folder = path.with_name(f".{path.name}.{job}.tmp")
    with explain_os_errors(path):
        _remove_temporary(folder, path)
        folder.mkdir()
        try:
            complete = folder / path.name
            write, *_ = _FORMATS[path.suffix]
            notes = write(complete, result, origin)
            claim(path, complete)
            replace_path(complete, path, folder / _PREVIOUS)
        finally:
            _remove_temporary(folder, path)
    return notes


def _remove_temporary(folder: Path, path: Path) -> None:
    """Remove a temporary folder; if it has the only copy of an earlier result, move that back."""
    restore_path(folder / _PREVIOUS, path)
    shutil.rmtree(folder, ignore_errors=True)


def _write_npy(path: Path, result: Result, _origin: str) -> tuple[Note, ...]:
    with path.open("xb") as file:
        np.save(file, result.values)
    return ()


def _write_png(path: Path, result: Result, _origin: str) -> tuple[Note, ...]:
    result_figure(result).savefig(path, format="png")
    return ()


def _write_zarr(path: Path, result: Result, origin: str) -> tuple[Note, ...]:
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
    return ()


def _write_mrc(path: Path, result: Result, origin: str) -> tuple[Note, ...]:
    """Write an image or a stack, with the pixel size in Å if the axes are in nm."""
    data, notes = _for_mrc(result.values)
    y, x = result.axes[-2:]
    labels = [f"mrcdist: {result.title}", origin.rsplit("/", 1)[-1]]
    labels += [
        f"{name}: {axis.scale:.6g} {axis.units} per pixel"
        for name, axis in (("y", y), ("x", x))
        if axis.units and in_angstrom(axis)[0] is None
    ]
    plan = plan_write(
        path,
        {**result.to_dict(), "data": data},
        kind="images",
        sidecar=False,
        labels=[label.encode("ascii", "replace").decode()[:80] for label in labels],
    )
    with dask.config.set(scheduler="threads"):  # workers may not see this folder
        plan.write()
    return notes


def _for_mrc(values: Array) -> tuple[Array, tuple[Note, ...]]:
    """Convert to the MRC2014 dtype that loses the least; note if values had to be rounded."""
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        for name in ("uint16", "int16"):
            limits = np.iinfo(name)
            if limits.min <= low and high <= limits.max:
                return values.astype(name), ()
    single = values.astype(np.float32)
    if values.dtype.kind in "iu" and not np.array_equal(single.astype(values.dtype), values):
        text = (
            "MRC cannot store integers this large: values are rounded to float32; .npy keeps them"
        )
        return single, (Note("numbers-rounded", text),)
    return single, ()


# Suffix → function and package that write it, the package's extra, allowed axes of one image,
# maximum axes in total.
_FORMATS = {
    ".npy": (_write_npy, "numpy", "", range(0, 65), 64),
    ".zarr": (_write_zarr, "zarr", "zarr", range(0, 65), 64),
    ".mrc": (_write_mrc, "numpy", "", range(2, 4), 3),
    ".png": (_write_png, "matplotlib", "plot", range(2, 3), 3),
}


def result_figure(result: Result) -> Any:
    """Draw a result as a matplotlib figure, with one panel for each of its names, if any.

    Diffraction patterns are drawn on a logarithmic scale. Positions are drawn as deflection from
    their median, with a diverging colour map centred at zero.
    """
    return draw_panels(list(_panels("", result)))


def _panels(name: str, result: Result) -> Iterator[Panel]:
    """Yield a panel for each image of a result, with the name of the result before its title."""
    images = result.values if result.names else result.values[None]
    if images.ndim != 3 or len(result.axes) != 2:
        return
    down, across = result.axes
    suffixes = [f", {each}" for each in result.names] or [""]
    units = result.units if len(result.units) == len(images) else result.units * len(images)
    for image, suffix, unit in zip(images, suffixes, units, strict=False):
        label = result.label or format_unit(unit)
        if result.contrast == "signed":
            image, median = deflection(image)
            label += f" from the median, {median:.4g} {label}"
        title = (f"{name}: " if name else "") + result.title + suffix
        yield Panel(name, title, image, down, across, result.contrast, quantity=label)


def picture_so_far(
    path: Path, interval: float = 20.0
) -> Callable[[Callable[[], Mapping[str, Result]]], None]:
    """Return a function that draws the images among the results of a running job.

    Call it often: it draws after `interval` seconds at the earliest, and at least as long after
    the previous picture, which it replaces. Drawing takes at most a twentieth of the time.
    """
    next_time = time.monotonic() + interval

    def draw(results: Callable[[], Mapping[str, Result]]) -> None:
        nonlocal next_time
        started = time.monotonic()
        if started < next_time or find_spec("matplotlib") is None:
            return
        try:
            if panels := [panel for named in results().items() for panel in _panels(*named)]:
                with atomic_write(path) as file:
                    draw_panels(panels).savefig(file, format="png")
        except Exception:  # noqa: BLE001 a job must not fail because of its picture
            next_time = math.inf
        else:
            now = time.monotonic()
            next_time = now + max(interval, 20 * (now - started))

    return draw


def deflection(image: Array) -> tuple[Array, float]:
    """Return the deviation of positions from their median, and the median; NaN stays NaN."""
    finite = image[np.isfinite(image)]
    median = float(np.median(finite)) if finite.size else 0.0
    return image - median, median
