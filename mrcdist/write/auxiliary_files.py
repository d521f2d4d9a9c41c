"""Small files beside a new file, for what its header has no place for: the scan and tilt angles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron import sidecar_keys as keys
from mrcdist.format.direct_electron.filenames import (
    MOVIE_ENDING,
    SIDECAR_ENDING,
    sidecar_candidates,
)
from mrcdist.format.direct_electron.sidecar import sidecar_text
from mrcdist.format.direct_electron.sidecar_keys import IN_HYPERSPY, Key
from mrcdist.warning_notes import Note
from mrcdist.write.contents import Contents, in_angstrom

__all__ = [
    "choose_auxiliary",
    "names_beside",
    "scan_axes",
    "sidecar_values",
    "stack_sidecar",
    "tilt_text",
    "unstored_metadata",
]

# Reciprocal lengths in nm^-1.
_PER_NM = {
    "nm^-1": 1.0, "1/nm": 1.0, "nm⁻¹": 1.0, "å^-1": 10.0, "a^-1": 10.0, "1/å": 10.0, "1/a": 10.0,
    "å⁻¹": 10.0, "1/angstrom": 10.0, "angstrom^-1": 10.0, "1/pm": 1000.0, "1/um": 0.001,
    "1/µm": 0.001, "µm^-1": 0.001,
}  # fmt: skip
_UNKNOWN = "-1"

# Of a microscope that diffracts: what its images show is in reciprocal space.
_STEM = 1

_STAGE = ("Acquisition_instrument", "TEM", "Stage")
_REPEAT, _POINT_REPEAT = "repeat", "point_repeat"


def names_beside(name: str) -> tuple[str, ...]:
    """Return the names of files that a reader takes for a file's own."""
    return (_tilts_name(name), *sidecar_candidates(name)[:1])


def _tilts_name(name: str) -> str:
    return f"{PurePosixPath(name).stem}.rawtlt"


def choose_auxiliary(
    name: str, contents: Contents, sidecar: Literal["auto"] | bool, notes: list[str]
) -> dict[str, bytes]:
    """Return the files beside a new one, by name.

    Parameters
    ----------
    name : str
        Of the new file.
    contents : Contents
    sidecar : "auto" or bool
        True: also one that is not found by its name.
    notes : list of str
        What has no place in them is added.
    """
    tilts = tilt_text(contents)
    if tilts is not None and sidecar is not False:
        return {_tilts_name(name): tilts}
    scan = scan_axes(contents.navigation)
    if scan is None or sidecar is False:
        return {}
    found = sidecar_candidates(name)
    if not found and sidecar == "auto":
        sentence = (
            f"a scan of {' × '.join(str(axis.size) for axis in contents.navigation)} points is "
            "written as a plain stack, without its shape and calibration: a name that ends in "
            f"{MOVIE_ENDING} has them in a sidecar"
        )
        notes.append(Note("scan-not-stored", sentence))
        return {}
    notes += _unstored_calibration(contents, scan)
    own = found[0] if found else PurePosixPath(name).stem.removesuffix("_movie") + SIDECAR_ENDING
    return {own: sidecar_text(sidecar_values(contents, scan))}


def scan_axes(navigation: tuple[Axis, ...]) -> tuple[Axis, Axis, Axis, Axis] | None:
    """Return (repeat, y, x, point repeat) where the navigation axes are those of a raster scan.

    Axes of length 1 stand for those that are not there. Two axes are y and x whatever their names;
    one is a line if its name is x or y. None for a stack, a tilt series or a movie.
    """
    named = {axis.name: axis for axis in navigation}
    grid = [axis for axis in navigation if axis.name not in (_REPEAT, _POINT_REPEAT)]
    if len(grid) == 3 and _REPEAT not in named and not _is_length(grid[0]):
        named[_REPEAT], grid = grid[0], grid[1:]  # any slower axis is a repeat of the scan
    if len(grid) == 1 and grid[0].name in ("x", "scan_x"):
        grid = [Axis("y", 1, navigate=True), *grid]
    elif len(grid) == 1 and grid[0].name in ("y", "scan_y"):
        grid = [*grid, Axis("x", 1, navigate=True)]
    if len(grid) != 2 or [axis.name for axis in grid] == ["volume", "z"]:
        return None
    none = Axis("", 1, navigate=True)
    return named.get(_REPEAT, none), grid[0], grid[1], named.get(_POINT_REPEAT, none)


def _is_length(axis: Axis) -> bool:
    return in_angstrom(axis)[0] is not None


def stack_sidecar(contents: Contents, replaced: Mapping[str, str]) -> bytes:
    """Return the sidecar that replaces one of a scan: it says that these images are none.

    Parameters
    ----------
    contents : Contents
    replaced : mapping of str to str
        The keys of that sidecar. Those of the acquisition stay, unless the data bring their own.
    """
    own = _of_images(contents)
    diffracting = _per_nanometre(contents.axes[-1]) != _UNKNOWN
    own[keys.TEM_OR_STEM] = _STEM if diffracting else None
    if not diffracting:
        own[keys.CAMERA_LENGTH] = None  # with it, readers take lengths for reciprocal ones
    # The frame rate is that of the frames which are replaced.
    of_others = {key: replaced[key] for key in replaced if key not in keys.FRAME_RATE.spellings}
    return sidecar_text(_with_known(contents, own, _read_with(contents) or of_others))


def sidecar_values(contents: Contents, scan: tuple[Axis, Axis, Axis, Axis]) -> dict[str, str]:
    """Return the keys of a Direct Electron sidecar for a scan."""
    repeat, y, x, point_repeat = scan
    own: dict[Key, object] = {
        **_of_images(contents),
        keys.SCAN_ENABLE: "Enable",
        keys.SCAN_TYPE: "Raster",
        keys.ROI_ENABLE: "Disable",
        keys.SCAN_SIZE_Y: y.size,
        keys.SCAN_SIZE_X: x.size,
        keys.SCAN_REPEATS: repeat.size,
        keys.POINT_REPEATS: point_repeat.size,
        keys.SCAN_POINTS: y.size * x.size,
        keys.SCAN_SUBSAMPLING: 1,
        keys.SPECIMEN_PIXEL_Y: _nanometres(y),
        keys.SPECIMEN_PIXEL_X: _nanometres(x),
        keys.TEM_OR_STEM: _STEM,
        **_repeat_time(repeat),
    }
    return _with_known(contents, own, _read_with(contents) or {})


def _of_images(contents: Contents) -> dict[Key, object]:
    """The keys of images that are no scan; None for one that only a scan has."""
    ky, kx = contents.axes[-2:]
    rows, columns = contents.array.shape[-2:]
    unsigned = {"uint8": "uint8", "int8": "int8"}.get(contents.array.dtype.name, "uint16")
    return {
        keys.SCAN_ENABLE: "Disable",
        keys.SCAN_TYPE: None,
        keys.ROI_ENABLE: None,
        keys.SCAN_SIZE_Y: None,
        keys.SCAN_SIZE_X: None,
        keys.SCAN_REPEATS: None,
        keys.POINT_REPEATS: None,
        keys.SCAN_POINTS: None,
        keys.SCAN_SUBSAMPLING: None,
        keys.FRAME_COUNT: contents.sections,
        keys.MOVIE_FRAMES_WRITTEN: contents.sections,
        keys.IMAGE_SIZE_Y: rows,
        keys.IMAGE_SIZE_X: columns,
        keys.SPECIMEN_PIXEL_Y: _nanometres(ky),
        keys.SPECIMEN_PIXEL_X: _nanometres(kx),
        keys.DIFFRACTION_PIXEL_Y: _per_nanometre(ky),
        keys.DIFFRACTION_PIXEL_X: _per_nanometre(kx),
        keys.INTEGRATED_FORMAT: unsigned,
        keys.COUNTED_FORMAT: unsigned,
    }


def _with_known(
    contents: Contents, own: Mapping[Key, object], known: Mapping[str, str]
) -> dict[str, str]:
    """Add the keys of an earlier sidecar, and the microscope's.

    Not those that describe the array: after a crop or binning they are the array's own.
    """
    values = {**_instrument(contents.metadata), **known}
    for key, value in own.items():
        for spelling in key.spellings:
            values.pop(spelling, None)
        if value is not None:
            values[key.name] = str(value)
    return values


def _read_with(contents: Contents) -> dict[str, str] | None:
    """The keys of the sidecar that the data were read with."""
    known = contents.original_metadata.get("de_metadata")
    if not isinstance(known, Mapping):
        return None
    return {str(key): str(value) for key, value in known.items()}


def _unstored_calibration(
    contents: Contents, scan: tuple[Axis, Axis, Axis, Axis]
) -> Iterator[Note]:
    """Yield the units and offsets that the sidecar of a scan has no place for."""
    repeat, y, x, _ = scan
    lost = [axis for axis in (y, x) if _nanometres(axis) == _UNKNOWN]
    lost += [axis for axis in contents.axes[-2:] if _per_nanometre(axis) == _UNKNOWN]
    lost += [repeat] * (_repeat_time(repeat)[keys.SCAN_TIME] is None)
    for axis in lost:
        if axis.units:
            sentence = f"the unit {axis.units} of axis {axis.name} cannot be stored in the sidecar"
            yield Note("unit-not-stored", sentence)
    moved = [
        f"{axis.offset:.6g} {axis.units} of axis {axis.name}"
        for axis in (y, x, *contents.axes[-2:])
        if axis.units and axis.offset != 0 and axis not in lost
    ]
    if moved:
        sentence = f"a sidecar cannot store offsets ({', '.join(moved)}): the axes begin at 0"
        yield Note("offset-not-stored", sentence)


def _repeat_time(repeat: Axis) -> dict[Key, str | None]:
    """The time from one scan to the next, all of it as the scan's own.

    RosettaSciIO joins the two texts before it reads them as a number: with a delay of 0, that is a
    number still.
    """
    known = repeat.size > 1 and repeat.units == "s" and repeat.scale > 0
    return {
        keys.SCAN_TIME: f"{repeat.scale:.9f}" if known else None,
        keys.REPEAT_DELAY: "0" if known else None,
        keys.TIME_PER_SCAN: None,
    }


def _instrument(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The microscope, by HyperSpy's names and units."""
    tem = _below(metadata, "Acquisition_instrument", "TEM")
    return {
        key.name: f"{tem[name] * over / times:.12g}"
        for key, name, times, over in IN_HYPERSPY
        if isinstance(tem.get(name), int | float) and math.isfinite(tem[name])
    }


def _below(metadata: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        found = metadata.get(name)
        if not isinstance(found, Mapping):
            return {}
        metadata = found
    return metadata


def _nanometres(axis: Axis) -> str:
    size, _ = in_angstrom(axis)
    return _UNKNOWN if size is None else f"{size / 10:.12g}"


def _per_nanometre(axis: Axis) -> str:
    factor = _PER_NM.get(
        (axis.units or "").strip().lower().replace("$", "").replace("{", "").replace("}", "")
    )
    known = factor is not None and axis.scale > 0 and axis.values is None
    return f"{axis.scale * factor:.12g}" if known and factor is not None else _UNKNOWN


def tilt_text(contents: Contents) -> bytes | None:
    """Return one angle in degrees a line, as ``.rawtlt`` has them; None without a tilt axis.

    Angles that are not monotonic are in the metadata, as HyperSpy has no axes of such values.
    """
    if len(contents.navigation) != 1:
        return None
    [axis] = contents.navigation
    angles: Any = _below(contents.metadata, *_STAGE).get("tilt_alpha")
    if axis.units in ("deg", "°", "degree", "degrees"):
        angles = axis.values or tuple(axis.offset + axis.scale * i for i in range(axis.size))
    elif not isinstance(angles, list | tuple) or len(angles) != axis.size:
        return None
    return "".join(f"{angle:.10g}\n" for angle in angles).encode("ascii")


def unstored_metadata(contents: Contents, auxiliary: Mapping[str, bytes]) -> list[str]:
    """Return the names of metadata that neither the header nor these auxiliary files have.

    Names and comments of HyperSpy's (General, Signal and its own) do not count.
    """
    stored: set[tuple[str, ...]] = set()
    if any(name.endswith(SIDECAR_ENDING) for name in auxiliary):
        if isinstance(contents.original_metadata.get("de_metadata"), Mapping):
            return []  # all of that sidecar is written again
        stored = {("Acquisition_instrument", "TEM", name) for _, name, *_ in IN_HYPERSPY}
    elif auxiliary:
        stored = {(*_STAGE, "tilt_alpha")}
    return sorted(".".join(path) for path in _leaves(contents.metadata) if path not in stored)


def _leaves(metadata: Mapping[str, Any], *path: str) -> Iterator[tuple[str, ...]]:
    for name, value in metadata.items():
        if not path and (name in ("General", "Signal") or str(name).startswith("_")):
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, *path, str(name))
        elif value is not None and not (isinstance(value, str) and not value):
            yield (*path, str(name))
