"""Small files beside a new file, for what its header has no place for: the scan and tilt angles."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, Literal

from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron import sidecar_keys as keys
from mrcdist.format.direct_electron.filenames import (
    MOVIE_ENDING,
    SIDECAR_ENDING,
    find_companions,
    find_sidecars,
    sidecar_candidates,
)
from mrcdist.format.direct_electron.sidecar import Sidecar, parse_sidecar, sidecar_text
from mrcdist.format.direct_electron.sidecar_keys import IN_HYPERSPY, Key
from mrcdist.storage.location import Location, StoreCalls
from mrcdist.warning_notes import Note
from mrcdist.write.contents import Contents, in_angstrom
from mrcdist.write.errors import exists
from mrcdist.write.place import is_there

# Reciprocal lengths in nm^-1.
_PER_NM = {
    "nm^-1": 1.0, "1/nm": 1.0, "nm⁻¹": 1.0, "å^-1": 10.0, "a^-1": 10.0, "1/å": 10.0, "1/a": 10.0,
    "å⁻¹": 10.0, "1/angstrom": 10.0, "angstrom^-1": 10.0, "1/pm": 1000.0, "1/um": 0.001,
    "1/µm": 0.001, "µm^-1": 0.001,
}  # fmt: skip
_UNKNOWN = "-1"

# Of a microscope that diffracts: what its images show is in reciprocal space.
_STEM = 1

_OF_SCANS = (
    *(keys.SCAN_TYPE, keys.ROI_ENABLE, keys.SCAN_SIZE_Y, keys.SCAN_SIZE_X, keys.SCAN_REPEATS),
    *(keys.POINT_REPEATS, keys.SCAN_POINTS, keys.SCAN_SUBSAMPLING),
)
_TEM = ("Acquisition_instrument", "TEM")
_TILTS = (*_TEM, "Stage", "tilt_alpha")
_REPEAT, _POINT_REPEAT = "repeat", "point_repeat"


def names_beside(name: str) -> tuple[str, ...]:
    """Return the names of files that a reader takes for a file's own."""
    return (_tilts_name(name), *sidecar_candidates(name)[:1])


def _tilts_name(name: str) -> str:
    return f"{PurePosixPath(name).stem}.rawtlt"


def choose_auxiliary(
    name: str, contents: Contents, sidecar: Literal["auto"] | bool, notes: list[str]
) -> dict[str, bytes]:
    """Return the files beside a new one, by name; `notes` get what has no place in them.

    With True for `sidecar`, that of a scan is written though it is not found by its name.
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
    return {own: sidecar_text(_sidecar_values(contents, scan))}


def look_beside(
    location: Location,
    contents: Contents,
    auxiliary: dict[str, bytes],
    sidecar: Literal["auto"] | bool,
    notes: list[str],
    *,
    overwrite: bool,
) -> None:
    """Look at the auxiliary files that are there: refuse to replace them, or name those that stay.

    To those of the new file, by name, a sidecar is added in the place of that of a scan which the
    new file replaces.
    """
    for name in {*auxiliary, *names_beside(location.name)}:
        beside, is_sidecar = location.sibling(name), name.endswith(SIDECAR_ENDING)
        if (name in auxiliary and overwrite and not is_sidecar) or not is_there(beside):
            continue
        if name in auxiliary:
            if not overwrite:
                raise exists(beside.shown)
            _check_unshared(location, beside, auxiliary[name])
            continue
        if overwrite and sidecar is not False and is_sidecar:
            replaced = _of_replaced_scan(location, beside)
            if replaced is not None:  # else readers would still see a scan
                auxiliary[name] = _stack_sidecar(contents, replaced.values)
                continue
        sentence = (
            f"{name} next to it is kept, although it describes other data: delete it, or pass None "
            "for it when you read the file"
        )
        notes.append(Note("auxiliary-file-stays", sentence))


def _of_replaced_scan(location: Location, beside: Location) -> Sidecar | None:
    """Return a sidecar that describes a scan, which the new file replaces, and no other file.

    None for one that other files need, or of which that is not known.
    """
    with suppress(MrcdistError):  # it cannot be read or listed, or is none
        if not is_there(location):
            return None
        sidecar = parse_sidecar(StoreCalls(beside).read())
        shared = _movies_with(beside.name, location) or find_companions(
            location.name, location.list_files()
        )
        if sidecar.flag(keys.SCAN_ENABLE) and not shared:
            return sidecar
    return None


def _movies_with(sidecar: str, location: Location) -> list[str]:
    """Return the other movies, and parts of one, that have a sidecar.

    As they are without the new file: beside a movie without a number, numbered ones are no parts.
    """
    others = [name for name in location.list_files() if name != location.name]
    return [name for name, found in find_sidecars(others, others).items() if found == sidecar]


def _check_unshared(location: Location, beside: Location, new: bytes) -> None:
    """Raise `ArgumentError` if other movies would have the sidecar of a scan that is not theirs."""
    movies: list[str] = []
    with suppress(MrcdistError):  # it cannot be read or listed, or is none
        if parse_sidecar(StoreCalls(beside).read()).values != parse_sidecar(new).values:
            movies = _movies_with(beside.name, location)
    if movies:
        raise ArgumentError(
            f"{beside.shown} exists",
            code="destination-exists",
            argument="url",
            cause=f"it is that of {', '.join(movies[:3])}{' …' * (len(movies) > 3)}, too, and "
            "describes another scan",
            remedy="choose a name that begins otherwise, or another folder",
        )


def scan_axes(navigation: tuple[Axis, ...]) -> tuple[Axis, Axis, Axis, Axis] | None:
    """Return (repeat, y, x, point repeat) where the navigation axes are those of a raster scan.

    Axes of length 1 stand for those that are not there. Two axes are y and x whatever their names;
    one is a line if its name is x or y. None for a stack, a tilt series or a movie.
    """
    named = {axis.name: axis for axis in navigation}
    grid = [axis for axis in navigation if axis.name not in (_REPEAT, _POINT_REPEAT)]
    if len(grid) == 3 and _REPEAT not in named and in_angstrom(grid[0])[0] is None:
        named[_REPEAT], grid = grid[0], grid[1:]  # any slower axis is a repeat of the scan
    if len(grid) == 1 and grid[0].name in ("x", "scan_x"):
        grid = [Axis("y", 1, navigate=True), *grid]
    elif len(grid) == 1 and grid[0].name in ("y", "scan_y"):
        grid = [*grid, Axis("x", 1, navigate=True)]
    if len(grid) != 2 or [axis.name for axis in grid] == ["volume", "z"]:
        return None
    none = Axis("", 1, navigate=True)
    return named.get(_REPEAT, none), grid[0], grid[1], named.get(_POINT_REPEAT, none)


def _stack_sidecar(contents: Contents, replaced: Mapping[str, str]) -> bytes:
    """Return the sidecar that replaces one of a scan: it says that these images are none.

    Of the keys of that one, those of the acquisition stay, unless the data bring their own.
    """
    own = _of_images(contents)
    diffracting = _per_nanometre(contents.axes[-1]) != _UNKNOWN
    own[keys.TEM_OR_STEM] = _STEM if diffracting else None
    if not diffracting:
        own[keys.CAMERA_LENGTH] = None  # with it, readers take lengths for reciprocal ones
    # The frame rate is that of the frames which are replaced.
    of_others = {key: replaced[key] for key in replaced if key not in keys.FRAME_RATE.spellings}
    return sidecar_text(_with_known(contents, own, _read_with(contents) or of_others))


def _sidecar_values(contents: Contents, scan: tuple[Axis, Axis, Axis, Axis]) -> dict[str, str]:
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
    dtype = contents.array.dtype.name
    pixels = dtype if dtype in ("uint8", "int8") else "uint16"
    return {
        keys.SCAN_ENABLE: "Disable",
        **dict.fromkeys(_OF_SCANS),
        keys.FRAME_COUNT: contents.sections,
        keys.MOVIE_FRAMES_WRITTEN: contents.sections,
        keys.IMAGE_SIZE_Y: rows,
        keys.IMAGE_SIZE_X: columns,
        keys.SPECIMEN_PIXEL_Y: _nanometres(ky),
        keys.SPECIMEN_PIXEL_X: _nanometres(kx),
        keys.DIFFRACTION_PIXEL_Y: _per_nanometre(ky),
        keys.DIFFRACTION_PIXEL_X: _per_nanometre(kx),
        keys.INTEGRATED_FORMAT: pixels,
        keys.COUNTED_FORMAT: pixels,
    }


def _with_known(
    contents: Contents, own: Mapping[Key, object], known: Mapping[str, str]
) -> dict[str, str]:
    """Add the keys of an earlier sidecar, and the microscope's, by HyperSpy's names and units.

    Not those that describe the array: after a crop or binning they are the array's own.
    """
    metadata = _flat(contents.metadata)
    microscope = ((*each, metadata.get((*_TEM, each[1]))) for each in IN_HYPERSPY)
    values = {
        key.name: f"{value * over / times:.12g}"
        for key, _, times, over, value in microscope
        if isinstance(value, int | float) and math.isfinite(value)
    }
    values.update(known)
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


def _nanometres(axis: Axis) -> str:
    size, _ = in_angstrom(axis)
    return _UNKNOWN if size is None else f"{size / 10:.12g}"


def _per_nanometre(axis: Axis) -> str:
    # HyperSpy writes units for LaTeX, too.
    factor = _PER_NM.get(re.sub("[${}]", "", (axis.units or "").strip().lower()))
    if factor is None or axis.scale <= 0 or axis.values is not None:
        return _UNKNOWN
    return f"{axis.scale * factor:.12g}"


def tilt_text(contents: Contents) -> bytes | None:
    """Return one angle in degrees a line, as ``.rawtlt`` has them; None without a tilt axis.

    Angles that are not monotonic are in the metadata, as HyperSpy has no axes of such values.
    """
    if len(contents.navigation) != 1:
        return None
    [axis] = contents.navigation
    angles: Any = _flat(contents.metadata).get(_TILTS)
    if axis.units in ("deg", "°", "degree", "degrees"):
        angles = axis.values or tuple(axis.offset + axis.scale * i for i in range(axis.size))
    elif not isinstance(angles, list | tuple) or len(angles) != axis.size:
        return None
    return "".join(f"{angle:.10g}\n" for angle in angles).encode("ascii")


def unstored_metadata(contents: Contents, auxiliary: Mapping[str, bytes]) -> Iterator[Note]:
    """Name metadata that neither the header nor these auxiliary files have.

    Names and comments of HyperSpy's (General, Signal and its own) do not count.
    """
    stored: set[tuple[str, ...]] = set()
    if any(name.endswith(SIDECAR_ENDING) for name in auxiliary):
        if isinstance(contents.original_metadata.get("de_metadata"), Mapping):
            return  # all of that sidecar is written again
        stored = {(*_TEM, name) for _, name, *_ in IN_HYPERSPY}
    elif auxiliary:
        stored = {_TILTS}
    lost = sorted(
        ".".join(path)
        for path, value in _flat(contents.metadata).items()
        if path not in stored
        and path[0] not in ("General", "Signal")
        and not path[0].startswith("_")
        and value is not None
        and not (isinstance(value, str) and not value)
    )
    if lost:
        sentence = f"metadata that cannot be stored in the file: {', '.join(lost)}"
        yield Note("metadata-not-stored", sentence)


def _flat(metadata: Mapping[str, Any], *path: str) -> dict[tuple[str, ...], Any]:
    """Return the leaves of nested metadata by their paths."""
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in metadata.items():
        at = (*path, str(name))
        flat |= _flat(value, *at) if isinstance(value, Mapping) else {at: value}
    return flat
