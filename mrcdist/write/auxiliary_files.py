"""Auxiliary files of a new file, for what its header cannot store: sidecar and tilt angles."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any, Literal

from mrcdist.discover.auxiliary_files import SIDECAR
from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron import sidecar_keys as keys
from mrcdist.format.direct_electron.filenames import (
    MOVIE_ENDING,
    SIDECAR_ENDING,
    Companion,
    candidate_names,
    find_companions,
    find_sidecars,
)
from mrcdist.format.direct_electron.sidecar import Sidecar, parse_sidecar, sidecar_text
from mrcdist.format.direct_electron.sidecar_keys import IN_HYPERSPY, Key
from mrcdist.format.tilt_angles import tilt_file_candidates
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import read_whole
from mrcdist.warning_notes import Note, Notes
from mrcdist.write.checks import file_exists
from mrcdist.write.contents import Contents, angstrom_per, in_angstrom, metadata_items
from mrcdist.write.errors import exists

_UNKNOWN = "-1"

# Value of TEM_OR_STEM: readers then take the frames for diffraction patterns.
_STEM = 1

_SCAN_KEYS = (
    *(keys.SCAN_TYPE, keys.ROI_ENABLE, keys.SCAN_SIZE_Y, keys.SCAN_SIZE_X, keys.SCAN_REPEATS),
    *(keys.POINT_REPEATS, keys.SCAN_POINTS, keys.SCAN_SUBSAMPLING),
)
_TEM = ("Acquisition_instrument", "TEM")
_TILTS = (*_TEM, "Stage", "tilt_alpha")
_REPEAT, _POINT_REPEAT = "repeat", "point_repeat"


def choose_auxiliary(
    name: str, contents: Contents, kind: str, sidecar: Literal["auto"] | bool, notes: Notes
) -> dict[str, bytes]:
    """Return the contents of the auxiliary files to write, by file name.

    With `sidecar` True, the sidecar of a scan is written even if readers do not find it under the
    name of the new file. Adds notes about information that cannot be stored.
    """
    if sidecar is False or kind != "images":
        return {}
    tilts = tilt_text(contents)
    if tilts is not None:
        return {_tilt_file_name(name): tilts}
    scan = scan_axes(contents.navigation)
    if scan is None:
        return {}
    sidecar_names = candidate_names(name, ending=SIDECAR_ENDING)
    if not sidecar_names and sidecar == "auto":
        shape = " × ".join(str(axis.size) for axis in contents.navigation)
        sentence = (
            f"a scan of {shape} points is written as a plain stack, without its shape and "
            f"calibration: choose a name that ends in {MOVIE_ENDING} to store them in a sidecar"
        )
        notes.add(Note("scan-not-stored", sentence))
        return {}
    notes.add(*_unstored_calibration(contents, scan))
    default = PurePosixPath(name).stem.removesuffix("_movie") + SIDECAR_ENDING
    return {next(iter(sidecar_names), default): _scan_sidecar(contents, scan)}


def auxiliary_names(name: str, written: Container[str] = ()) -> tuple[str, ...]:
    """Return the names of earlier files that readers may take for auxiliary files of the new file.

    If one of the `written` files has tilt angles, these are also the names that readers prefer to
    it.
    """
    tilts: tuple[str, ...] = (_tilt_file_name(name),)
    if tilts[0] in written:
        tilts = (*takewhile(lambda other: other not in tilts, tilt_file_candidates(name)), *tilts)
    return (*tilts, *candidate_names(name, ending=SIDECAR_ENDING)[:1])


def _tilt_file_name(name: str) -> str:
    return f"{PurePosixPath(name).stem}.rawtlt"


def check_existing_auxiliary(
    location: Location,
    contents: Contents,
    auxiliary: dict[str, bytes],
    sidecar: Literal["auto"] | bool,
    notes: Notes,
    *,
    overwrite: bool,
) -> None:
    """Check which auxiliary files exist: raise if one may not be replaced, note those that stay.

    If data that are not a scan replace a scan, a sidecar that says so is added to `auxiliary`.
    """
    for name in sorted({*auxiliary, *auxiliary_names(location.name, auxiliary)}):
        existing, is_sidecar = location.sibling(name), name.endswith(SIDECAR_ENDING)
        if (name in auxiliary and overwrite and not is_sidecar) or not file_exists(existing):
            continue
        if name in auxiliary and not overwrite:
            raise exists(existing.shown)
        replaceable = is_sidecar and overwrite and sidecar is not False
        previous, movies, images = _sidecar_users(location, existing) if replaceable else _NO_USERS
        if name in auxiliary:
            if movies and previous.values != parse_sidecar(auxiliary[name]).values:
                raise _shared_sidecar(existing, movies)
        elif previous.flag(keys.SCAN_ENABLE) and not (movies or images) and file_exists(location):
            # Otherwise, readers would apply the shape of the replaced scan to the new file.
            auxiliary[name] = _stack_sidecar(contents, previous.values)
        else:
            sentence = (
                f"{name} next to it is kept, and readers may apply it to the new file: delete it, "
                "or pass another file or None for it when you read the new file"
            )
            notes.add(Note("auxiliary-file-stays", sentence))


_NO_USERS = Sidecar({}), (), ()


def _sidecar_users(
    location: Location, sidecar_file: Location
) -> tuple[Sidecar, Sequence[str], Sequence[Companion]]:
    """Return a sidecar, and the other movies or parts and the images to which it belongs.

    The sidecar is empty if any of this is unknown.
    """
    with suppress(MrcdistError):  # unreadable, not a sidecar, or the folder cannot be listed
        sidecar = parse_sidecar(read_whole(sidecar_file, SIDECAR.max_bytes))
        names = location.list_files()
        # Leave out the new file: next to a movie without a number, numbered ones are not parts.
        others = [name for name in names if name != location.name]
        sidecars = find_sidecars(others, others)
        movies = [
            movie for movie, sidecar_name in sidecars.items() if sidecar_name == sidecar_file.name
        ]
        return sidecar, movies, find_companions(location.name, names)
    return _NO_USERS


def _shared_sidecar(sidecar_file: Location, movies: Sequence[str]) -> ArgumentError:
    return ArgumentError(
        f"{sidecar_file.shown} exists",
        code="destination-exists",
        argument="url",
        cause=f"it also belongs to {', '.join(movies[:3])}{' …' * (len(movies) > 3)}, and "
        "describes another scan",
        remedy="choose a name that begins differently, or another folder",
    )


def scan_axes(navigation: tuple[Axis, ...]) -> tuple[Axis, Axis, Axis, Axis] | None:
    """Return (repeat, y, x, point repeat) if the navigation axes are those of a raster scan.

    Missing axes have length 1. Two axes are y and x whatever their names; one axis is a line if its
    name is x or y. Return None for a stack, a tilt series or a movie.
    """
    by_name = {axis.name: axis for axis in navigation}
    grid = [axis for axis in navigation if axis.name not in (_REPEAT, _POINT_REPEAT)]
    if len(grid) == 3 and _REPEAT not in by_name and in_angstrom(grid[0])[0] is None:
        by_name[_REPEAT], grid = grid[0], grid[1:]  # any slower axis counts as a repeat of the scan
    if len(grid) == 1 and grid[0].name in ("x", "scan_x"):
        grid = [Axis("y", 1, navigate=True), *grid]
    elif len(grid) == 1 and grid[0].name in ("y", "scan_y"):
        grid = [*grid, Axis("x", 1, navigate=True)]
    if len(grid) != 2 or [axis.name for axis in grid] == ["volume", "z"]:
        return None
    missing = Axis("", 1, navigate=True)
    return by_name.get(_REPEAT, missing), grid[0], grid[1], by_name.get(_POINT_REPEAT, missing)


def _scan_sidecar(contents: Contents, scan: tuple[Axis, Axis, Axis, Axis]) -> bytes:
    repeat, y, x, point_repeat = scan
    values: dict[Key, object] = {
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
        keys.SCAN_TIME: None,
        keys.REPEAT_DELAY: None,
        keys.TIME_PER_SCAN: None,
    }
    if _has_repeat_time(repeat):
        # All of the repeat time is assigned to the scan, none to the delay. RosettaSciIO
        # concatenates the texts of both and converts the result to a number, which is correct if
        # the delay is "0".
        values |= {keys.SCAN_TIME: f"{repeat.scale:.9f}", keys.REPEAT_DELAY: "0"}
    return _sidecar(contents, values, {})


def _has_repeat_time(repeat: Axis) -> bool:
    return repeat.size > 1 and repeat.units == "s" and repeat.scale > 0


def _stack_sidecar(contents: Contents, replaced: Mapping[str, str]) -> bytes:
    """Return the sidecar that replaces the one of a scan, and says that the images are not a scan.

    Keys of the acquisition are kept unless the data have their own, except the frame rate.
    """
    diffraction = _per_nanometre(contents.axes[-1]) != _UNKNOWN
    values: dict[Key, object] = {
        keys.SCAN_ENABLE: "Disable",
        **dict.fromkeys(_SCAN_KEYS),
        keys.TEM_OR_STEM: _STEM if diffraction else None,
    }
    if not diffraction:  # with a camera length, readers take lengths for reciprocal ones
        values[keys.CAMERA_LENGTH] = None
    rate = keys.FRAME_RATE.spellings
    acquisition = {key: value for key, value in replaced.items() if key not in rate}
    return _sidecar(contents, values, acquisition)


def _sidecar(contents: Contents, values: Mapping[Key, object], default: Mapping[str, str]) -> bytes:
    """Return a sidecar with the keys of these images, updated with `values`; None removes a key.

    Other keys are those of the sidecar of the source file, or else `default`, and HyperSpy's
    metadata of the microscope. Keys that describe the array are always its own, because it may have
    been cropped or binned.
    """
    ky, kx = contents.axes[-2:]
    rows, columns = contents.array.shape[-2:]
    dtype = contents.array.dtype.name
    pixels = dtype if dtype in ("uint8", "int8") else "uint16"
    new_values: dict[Key, object] = {
        keys.SCAN_ENABLE: None,
        **dict.fromkeys(_SCAN_KEYS),
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
        **values,
    }
    metadata = dict(metadata_items(contents.metadata))
    lines = {}
    for key, name, factor, divisor in IN_HYPERSPY:
        value = metadata.get((*_TEM, name))
        if isinstance(value, int | float) and math.isfinite(value):
            lines[key.name] = f"{value * divisor / factor:.12g}"
    source = contents.original_metadata.get("de_metadata")
    previous = source if isinstance(source, Mapping) else default
    lines |= {str(key): str(value) for key, value in previous.items()}
    for key, value in new_values.items():
        for spelling in key.spellings:
            lines.pop(spelling, None)
        if value is not None:
            lines[key.name] = str(value)
    return sidecar_text(lines)


def _unstored_calibration(
    contents: Contents, scan: tuple[Axis, Axis, Axis, Axis]
) -> Iterator[Note]:
    """Yield notes about units and offsets that the sidecar of a scan cannot store."""
    repeat, y, x, _ = scan
    lost = [axis for axis in (y, x) if _nanometres(axis) == _UNKNOWN]
    lost += [axis for axis in contents.axes[-2:] if _per_nanometre(axis) == _UNKNOWN]
    lost += [repeat] * (not _has_repeat_time(repeat))
    for axis in lost:
        if axis.units:
            sentence = f"the unit {axis.units} of axis {axis.name} cannot be stored in the sidecar"
            yield Note("unit-not-stored", sentence)
    offsets = [
        f"{axis.offset:.6g} {axis.units} of axis {axis.name}"
        for axis in (y, x, *contents.axes[-2:])
        if axis.units and axis.offset != 0 and axis not in lost
    ]
    if offsets:
        sentence = f"a sidecar cannot store offsets ({', '.join(offsets)}): the axes begin at 0"
        yield Note("offset-not-stored", sentence)


def _nanometres(axis: Axis) -> str:
    size, _ = in_angstrom(axis)
    return _UNKNOWN if size is None else f"{size / 10:.12g}"


def _per_nanometre(axis: Axis) -> str:
    # HyperSpy also writes units for LaTeX: "$nm^{-1}$".
    units = re.sub("[${}]", "", (axis.units or "").strip())
    reciprocal = re.fullmatch(r"1/(.+)|(.+?)(?:\^-1|⁻¹)", units)
    angstrom = angstrom_per(reciprocal[1] or reciprocal[2]) if reciprocal else None
    if angstrom is None or axis.scale <= 0 or axis.values is not None:
        return _UNKNOWN
    return f"{axis.scale * 10 / angstrom:.12g}"


def tilt_text(contents: Contents) -> bytes | None:
    """Return one tilt angle in degrees per line, as in ``.rawtlt`` files; None without a tilt axis.

    Angles that are not monotonic come from the metadata, because HyperSpy has no such axes.
    """
    if len(contents.navigation) != 1:
        return None
    [axis] = contents.navigation
    angles: Any = dict(metadata_items(contents.metadata)).get(_TILTS)
    if axis.units in ("deg", "°", "degree", "degrees"):
        angles = axis.positions
    elif not isinstance(angles, list | tuple) or len(angles) != axis.size:
        return None
    return "".join(f"{angle:.10g}\n" for angle in angles).encode("ascii")


def unstored_metadata(contents: Contents, auxiliary: Mapping[str, bytes]) -> Iterator[Note]:
    """Yield a note with the metadata that neither the header nor the auxiliary files store.

    HyperSpy's names and comments (General, Signal and private entries) are not mentioned.
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
        for path, _ in metadata_items(contents.metadata)
        if path not in stored
        and path[0] not in ("General", "Signal")
        and not path[0].startswith("_")
    )
    if lost:
        sentence = f"metadata that cannot be stored in the file: {', '.join(lost)}"
        yield Note("metadata-not-stored", sentence)
