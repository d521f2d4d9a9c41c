"""Results as .npy, .zarr, .mrc or .png, and as a picture while they are computed."""

from __future__ import annotations

import glob
import importlib
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt

from mrcdist.compute.results import Result
from mrcdist.compute.whole_file import write_whole, written
from mrcdist.errors import ArgumentError, MissingExtraError
from mrcdist.extras import install_command
from mrcdist.formatting import format_unit
from mrcdist.interop.rosettasciio import axes_attribute, axes_dicts
from mrcdist.plotting import colour_bar, draw_image, new_figure
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from mrcdist.warning_notes import Note
from mrcdist.write.contents import in_angstrom
from mrcdist.write.errors import exists, is_input, require_other
from mrcdist.write.place import give_name
from mrcdist.write_api import plan_write

Array = npt.NDArray[Any]

# Suffix → package that writes it, extra that has it, numbers of axes of one map, most axes of all.
_FORMATS = {
    ".npy": ("numpy", "", range(0, 65), 64),
    ".zarr": ("zarr", "zarr", range(0, 65), 64),
    ".mrc": ("numpy", "", range(2, 4), 3),
    ".png": ("matplotlib", "plot", range(2, 3), 3),
}

# A file of this length whose first bytes are the input's too is the input, or a copy.
_HEAD = 1024

_PANEL_INCHES = 5.0

_REPLACED = ".replaced"
# What follows a result's name in those of an unfinished one and of one that is put aside.
_LEFT = re.compile(rf"(?:[0-9a-f]{{12}}|[0-9a-f]{{32}})(?:{re.escape(_REPLACED)})?")


def check_outputs(
    paths: Sequence[Path], ndim: int, *, panels: bool, inputs: Sequence[StoredFile] = ()
) -> None:
    """Find out before anything is computed whether a result of so many axes can be written.

    With `panels`, the first axis counts images. The `inputs` are never replaced, nor is what stands
    in the way and is no earlier result.

    Raises
    ------
    ArgumentError, MissingExtraError
    """
    for path in paths:
        _require_format(path, ndim, panels)
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise _invalid(
                f"out={path}",
                f"the folder {path.parent} does not exist or is not writable",
                "create it, or choose another one",
            )
        for file in inputs:
            require_no_input(path, file)
        if what := _in_the_way(path):
            raise _invalid(
                f"out={path} is in the way",
                f"it is {what}, and is not replaced",
                "delete or rename it, or choose another name",
            )


def _require_format(path: Path, ndim: int, panels: bool) -> None:
    """Raise unless the format of this suffix can be written, and holds such a result."""
    if path.suffix not in _FORMATS:
        raise _invalid(
            f"out={path}",
            f"no output format for the suffix {path.suffix!r}",
            f"end the name in {', '.join(_FORMATS)}",
        )
    package, extra, of_one, most = _FORMATS[path.suffix]
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
    if ndim - panels not in of_one or ndim > most:
        raise ArgumentError(
            f"out={path}: the result has {ndim} axes",
            code="destination-unsuited",
            argument="out",
            cause=f"{path.suffix} holds images",
            remedy="write .npy or .zarr, or give {navigation_shape=(X, Y)}",
        )


def _invalid(problem: str, cause: str, remedy: str) -> ArgumentError:
    return ArgumentError(
        problem, code="destination-invalid", argument="out", cause=cause, remedy=remedy
    )


def _in_the_way(path: Path) -> str:
    """What has the name of a result and cannot be an earlier one, in words."""
    if path.suffix == ".zarr":
        if path.is_dir():
            names = {file.name for file in path.iterdir()}
            if names and not names & {".zarray", "zarr.json"}:
                return f"a folder with other files, such as {min(names)}"
            return ""
        return "no folder" if os.path.lexists(path) else ""
    if path.is_dir():
        return "a folder"
    there = os.path.lexists(path) and not path.is_file()
    return "no file, or a link that leads nowhere" if there else ""


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

    The suffix of `path` says in which format; what is there is replaced. `origin` is the redacted
    URL of the data, for the formats that have a place for it; `job` is a name for the unfinished
    file that no other process uses. `claim` is called with the path and the complete file that is
    about to get this name. Returned is what got lost, in words.
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


def result_figure(result: Result) -> Any:
    """Draw one panel, or one for each of the result's names, in a figure of matplotlib's.

    Diffraction patterns are on a logarithmic scale. Of positions the deflection from their median
    is shown, in colours that part at zero.
    """
    return _figure({"": result})


def _figure(results: Mapping[str, Result]) -> Any:
    """Draw a row of panels for each result, with its name before its title."""
    panels = {
        name: result.values if result.names else result.values[None]
        for name, result in results.items()
    }
    most = max(map(len, panels.values()))
    figure = new_figure(_PANEL_INCHES * most * 1.2, _PANEL_INCHES * len(panels))
    rows = figure.subplots(len(panels), most, squeeze=False)
    for places, (name, images) in zip(rows, panels.items(), strict=True):
        for place in places[len(images) :]:
            place.remove()
        result = results[name]
        of_what = [f", {each}" for each in result.names] or [""]
        units = result.units if len(result.units) == len(images) else result.units * len(images)
        for place, image, which, unit in zip(places, images, of_what, units, strict=False):
            label = result.label or format_unit(unit)
            if result.contrast == "signed":
                image, middle = deflection(image)
                label += f" from the median, {middle:.4g} {label}"
            title = (f"{name}: " if name else "") + result.title + which
            drawn = draw_image(
                place, image, *result.axes[-2:], title=title, contrast=result.contrast, fontsize=11
            )
            colour_bar(place, drawn, label)
    return figure


def picture_so_far(
    path: Path, interval: float = 20.0
) -> Callable[[Callable[[], Mapping[str, Result]]], None]:
    """Return what draws a picture of a job while it runs, of the images among the results so far.

    To be called often: the first is drawn after `interval` seconds, and the next, which replaces
    it, as much later, at least. Drawing takes at most a twentieth of the time.
    """
    due = time.monotonic() + interval

    def draw(results: Callable[[], Mapping[str, Result]]) -> None:
        nonlocal due
        begun = time.monotonic()
        if begun < due or find_spec("matplotlib") is None:
            return
        try:
            images = {
                name: each
                for name, each in results().items()
                if each.values.ndim - bool(each.names) == len(each.axes) == 2
            }
            if images:
                with write_whole(path) as file:
                    _figure(images).savefig(file, format="png")
        except Exception:  # noqa: BLE001 no job fails for its picture
            due = math.inf
        else:
            now = time.monotonic()
            due = now + max(interval, 20 * (now - begun))

    return draw


def deflection(image: Array) -> tuple[Array, float]:
    """Return how far positions are from their median, and the median; NaN stays NaN."""
    finite = image[np.isfinite(image)]
    middle = float(np.median(finite)) if finite.size else 0.0
    return image - middle, middle
