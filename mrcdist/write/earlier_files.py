"""Auxiliary files that are beside a new file already: replaced, refused or named."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.format.direct_electron import sidecar_keys as keys
from mrcdist.format.direct_electron.filenames import (
    SIDECAR_ENDING,
    find_companions,
    find_sidecars,
)
from mrcdist.format.direct_electron.sidecar import Sidecar, parse_sidecar
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Note
from mrcdist.write.auxiliary_files import names_beside, stack_sidecar
from mrcdist.write.contents import Contents
from mrcdist.write.errors import exists
from mrcdist.write.place import is_there

__all__ = ["look_beside"]


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

    Parameters
    ----------
    location : Location
        Of the new file.
    contents : Contents
    auxiliary : dict
        Names and contents of its auxiliary files; a sidecar is added in the place of that of a scan
        which the new file replaces.
    sidecar : "auto" or bool
    notes : list of str
        What is odd is added.
    overwrite : bool

    Raises
    ------
    ArgumentError
        One is there and may not be replaced.
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
                auxiliary[name] = stack_sidecar(contents, replaced.values)
                continue
        sentence = (
            f"{name} beside it stays, though it describes other data: delete it, or pass None for "
            "it when you read the file"
        )
        notes.append(Note("auxiliary-file-stays", sentence))


def _of_replaced_scan(location: Location, beside: Location) -> Sidecar | None:
    """Return a sidecar that describes a scan, which the new file replaces, and no other file.

    None for one that other files need, or of which that is not known.
    """
    with suppress(MrcdistError):  # it cannot be read or listed, or is none
        if not is_there(location):
            return None
        sidecar = _read(beside)
        shared = _movies_with(beside.name, location) or find_companions(
            location.name, location.list_files()
        )
        if sidecar.flag(keys.SCAN_ENABLE) and not shared:
            return sidecar
    return None


def _read(sidecar: Location) -> Sidecar:
    fs, path = sidecar.filesystem()
    return parse_sidecar(sidecar.retried(lambda: bytes(fs.cat_file(path))))


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
        if _read(beside).values != parse_sidecar(new).values:
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
