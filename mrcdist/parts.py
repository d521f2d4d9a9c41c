"""What the caller names → the files of one dataset, in the order of their frames."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mrcdist.errors import ArgumentError, MissingFileError
from mrcdist.format.acquisition_names import find_parts
from mrcdist.read.failures import explain_failure
from mrcdist.read.location import Location, here

__all__ = ["Filename", "find_files"]

Filename = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_FIRST_PART = re.compile(r"_0+_movie\.mrc$", re.IGNORECASE)


def find_files(filename: Filename, storage_options: Mapping[str, Any] | None) -> list[Location]:
    """Resolve a name, a list of names, a glob, or the first of numbered parts.

    Parameters
    ----------
    filename : str, PathLike or sequence of them
        A list is taken as it stands. A glob's matches come in the order of the numbers in their
        names. ``*_0_movie.mrc`` stands for all its parts; in a list of one, for itself.
    storage_options : mapping or None

    Raises
    ------
    MissingFileError
        A glob matches nothing.
    ArgumentError
        An empty list, or one that names a file twice.
    """
    if isinstance(filename, Sequence) and not isinstance(filename, str | bytes):
        if not filename:
            raise ArgumentError(
                "the list of files is empty",
                cause="a dataset has at least one file",
                remedy="name at least one",
            )
        files = [Location.of(name, storage_options) for name in filename]
        _check_once(files)
        return files
    location = Location.of(filename, storage_options)
    if "*" in location.name or ("?" in location.name and location.is_local):
        return _glob(location)
    if _FIRST_PART.search(location.name):
        listing = location.list_folder() or {}
        names = find_parts(location.name, listing)
        if len(names) > 1 and location.name in names:
            return [location.sibling(name) for name in names]
    return [location]


def _check_once(files: list[Location]) -> None:
    urls = [file.url for file in files]
    for file in files:
        if (times := urls.count(file.url)) > 1:
            raise ArgumentError(
                f"{file.shown} is listed {times} times",
                cause="its frames would be in the dataset more than once",
                remedy="name each file once",
            )


def _glob(pattern: Location) -> list[Location]:
    try:
        fs, path = pattern.filesystem()
        names = [str(found).rsplit("/", 1)[-1] for found in fs.glob(path)]
    except Exception as error:  # noqa: BLE001 each store has its own errors
        raise explain_failure(error, pattern.shown, pattern.scrub).located(here(pattern)) from None
    if not names:
        raise MissingFileError(
            f"no file matches {pattern.shown}",
            cause="the folder has no such file, or is not mounted here",
            remedy="check the pattern; only the file's name may hold wildcards",
        )
    return [pattern.sibling(name) for name in sorted(names, key=_numbers)]


def _numbers(name: str) -> list[tuple[int, str]]:
    """Sort key: part 10 comes behind part 9."""
    return [
        (int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)
    ]
