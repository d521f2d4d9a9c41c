"""The file names of one Direct Electron acquisition.

DE Server names the files of an acquisition after its stem, ``YYYYMMDD_number[_suffix]``::

    stem_movie.mrc                        the frames, or in parts stem_0_movie.mrc, stem_1_...
    stem_info.txt                         the sidecar
    stem_scan_coordinates.csv             the points of a scan that is not a raster
    stem_0_name_calculation.mrc           a virtual image, also stem_virt0_name_calculation.mrc
    stem_ext1_name.mrc                    an external detector's image, also stem_ext1.mrc

A suffix may be any text, so names are ambiguous: a suffix of digits looks like the number of a
part, and a suffix followed by a name looks like a longer name. Each function therefore takes a
listing of the directory, and a file belongs to the longest stem that has a movie or a sidecar.

In all functions, `movie_name` is the base name of a movie, and `listing` contains the base names of
the files in its directory. A numbered movie uses the sidecar and the scan points without its number
unless they belong to a movie without a number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from mrcdist.errors import MissingFileError

MOVIE_ENDING = "_movie.mrc"
SIDECAR_ENDING = "_info.txt"
SCAN_POINTS_ENDING = "_scan_coordinates.csv"

# A stem followed by the number of a part; the number in ``YYYYMMDD_number`` does not count as one.
_NUMBERED_STEM = re.compile(r"(\d{8}_\d+(?:_.+)?)_(\d+)", re.ASCII | re.DOTALL)
# The same for files chosen by the user, which may have any names.
_ANY_NUMBERED_STEM = re.compile(r"(?!\d{8}_\d+\Z)(.+)_(\d+)", re.ASCII | re.DOTALL)

# The end of a name after its stem. A calculation is one word, except "total_sum" and
# "centroid_amplitude".
_VIRTUAL = re.compile(
    r"_(?:virt)?(?P<number>\d+)_(?P<name>.*?)_(?:total_|centroid_)?[^_]+\.mrc",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)
_EXTERNAL = re.compile(
    r"_ext(?P<number>\d+)(?:_(?P<name>.*))?\.mrc", re.ASCII | re.DOTALL | re.IGNORECASE
)
_NOT_IMAGES = (MOVIE_ENDING, "_final.mrc")


@dataclass(frozen=True)
class Companion:
    """An image that was saved with a movie."""

    # The name part of the file name; if that is empty or not unique in the acquisition, everything
    # after the stem.
    name: str
    file: str  # base name
    kind: Literal["virtual", "external"]  # computed from the frames, or from an external detector
    number: int  # of the detector


def find_sidecars(movie_names: Iterable[str], listing: Iterable[str]) -> dict[str, str | None]:
    """Return the name of the sidecar, or None, of each movie in one directory."""
    folder = _Folder(listing)
    return {name: folder.find(name, SIDECAR_ENDING) for name in movie_names}


def find_file(movie_name: str, listing: Iterable[str], *, ending: str) -> str | None:
    """Return the listed name of the file with this ending that belongs to a movie, or None."""
    return _Folder(listing).find(movie_name, ending)


def candidate_names(movie_name: str, *, ending: str) -> tuple[str, ...]:
    """Return the possible names of the file with this ending, best first, for lack of a listing.

    They have the stem of the movie, or the stem without the number of a part, which is never
    shortened below ``YYYYMMDD_number``. There are none unless `movie_name` ends in ``_movie.mrc``,
    in upper or lower case.
    """
    stems = dict.fromkeys((_stem_of(movie_name, MOVIE_ENDING), _split(movie_name)[0]))
    return tuple(stem + ending for stem in stems if stem)


def find_parts(movie_name: str, listing: Iterable[str]) -> tuple[str, ...]:
    """Return the movies of the same acquisition in the order of their numbers.

    Only `movie_name` if it is not a part: without a number, with its own sidecar, or next to a
    movie with the same name without number. If the numbers have gaps or do not start at 0 or 1,
    `MissingFileError` is raised if the acquisition has a sidecar. Without a sidecar, the numbers
    may be suffixes, and only `movie_name` is returned.
    """
    folder = _Folder(listing)
    base = folder.part_of(movie_name)
    if base is None:
        return (movie_name,)
    names = {*folder.names, movie_name}
    parts = sorted((_split(name)[1] or 0, name) for name in names if folder.part_of(name) == base)
    numbers = [number for number, _ in parts]
    start = min(numbers[0], 1)
    if numbers == list(range(start, start + len(parts))):
        return tuple(name for _, name in parts)
    if base not in folder.sidecars:
        return (movie_name,)
    raise MissingFileError(
        f"the parts of {base}{MOVIE_ENDING} are numbered {', '.join(map(str, numbers))}",
        code="part-missing",
        cause="a part was not copied or is still being written, or the folder contains copies",
        remedy="copy the missing part to the folder, or pass the files to read as a list, in order",
    )


def is_numbered(movie_name: str) -> bool:
    """Whether a movie may be a numbered part of an acquisition, judging by its name."""
    return _split(movie_name)[1] is not None


def find_part_before(movie_names: Sequence[str], listing: Iterable[str] | None) -> str | None:
    """Return the first part that is missing before the last of some parts; None if there is none.

    Parts are numbered from 0 or 1; from 0 if `listing` is None because it is unknown.
    """
    folder = _Folder([*(listing or ()), *movie_names])
    base = folder.part_of(movie_names[0])
    if base is None:
        return None
    numbers = {_split(name)[1] or 0 for name in movie_names}
    listed = {_split(name)[1] for name in folder.names if folder.part_of(name) == base}
    start = 0 if listing is None or 0 in listed else 1
    missing = next((n for n in range(start, max(numbers)) if n not in numbers), None)
    return None if missing is None else f"{base}_{missing}{MOVIE_ENDING}"


def find_gap(names: Iterable[str]) -> str | None:
    """Return the first part that is missing between two others of the same acquisition.

    For files chosen by the user: any name that ends in a number and ``_movie.mrc`` is a part.
    """
    movies = (_split(name, _ANY_NUMBERED_STEM) for name in names)
    parts = sorted((base, number) for base, number in movies if number is not None)
    for (base, number), (next_base, next_number) in pairwise(parts):
        if base == next_base and next_number > number + 1:
            return f"{base}_{number + 1}{MOVIE_ENDING}"
    return None


def acquisitions(names: Iterable[str]) -> list[str]:
    """Return the stems of the acquisitions to which the movies among some files belong.

    If there is a movie without number, numbered ones with its stem are acquisitions of their own.
    """
    movies = {_split(name, _ANY_NUMBERED_STEM) for name in names} - {("", None)}
    whole = {base for base, number in movies if number is None}
    return sorted(
        {
            f"{base}_{number}" if base in whole and number is not None else base
            for base, number in movies
        }
    )


def find_companions(movie_name: str, listing: Iterable[str]) -> tuple[Companion, ...]:
    """Return the images of a movie's acquisition: virtual ones first, by number, then by name."""
    folder = _Folder(listing)
    stem = folder.acquisition(movie_name)
    if stem is None:
        return ()
    longer_stems = [other for other in folder.stems if len(other) > len(stem)]
    companions = [
        companion
        for file in folder.names
        if (companion := _companion(file, stem))
        and not any(_companion(file, other) for other in longer_stems)
    ]
    names = Counter(companion.name for companion in companions)
    companions = [
        companion
        if companion.name and names[companion.name] == 1
        else replace(companion, name=companion.file[len(stem) + 1 : -len(".mrc")])
        for companion in companions
    ]
    return tuple(sorted(companions, key=lambda one: (one.kind != "virtual", one.number, one.file)))


class _Folder:
    """The acquisitions in a listing."""

    def __init__(self, listing: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(listing))
        self._files: dict[str, dict[str, str]] = {}
        self.sidecars = self.files(SIDECAR_ENDING).keys()
        self.movies = self.files(MOVIE_ENDING).keys()
        stems = (self.acquisition(name) for name in self.names)
        self.stems = {*self.sidecars, *(stem for stem in stems if stem)}

    def files(self, ending: str) -> dict[str, str]:
        """Return the files with an ending by stem; in lower case if present in both cases."""
        if ending not in self._files:
            self._files[ending] = {
                stem: name
                for name in sorted(self.names)
                if (stem := _stem_of(name, ending)) is not None
            }
        return self._files[ending]

    def part_of(self, movie_name: str) -> str | None:
        """Return the stem of the acquisition of which a movie is a numbered part, if any."""
        base, number = _split(movie_name)
        own_sidecar = _stem_of(movie_name, MOVIE_ENDING) in self.sidecars
        return None if number is None or own_sidecar or base in self.movies else base

    def acquisition(self, movie_name: str) -> str | None:
        """Return the stem of a movie's acquisition; None for a file that is not a movie."""
        return self.part_of(movie_name) or _stem_of(movie_name, MOVIE_ENDING)

    def find(self, movie_name: str, ending: str) -> str | None:
        """Return the file with that ending and the stem of the movie, or of its acquisition."""
        files = self.files(ending)
        stems = (_stem_of(movie_name, MOVIE_ENDING), self.part_of(movie_name))
        return next((files[stem] for stem in stems if stem in files), None)


def _stem_of(name: str, ending: str) -> str | None:
    """Return `name` without `ending`, which may be in either case; None if it ends otherwise."""
    stem = name[: -len(ending)]
    return stem if stem and name.lower().endswith(ending) else None


def _split(name: str, numbered: re.Pattern[str] = _NUMBERED_STEM) -> tuple[str, int | None]:
    """Split a movie's stem into that of its acquisition and the number of a part, if any.

    The stem is empty if the file is not a movie.
    """
    stem = _stem_of(name, MOVIE_ENDING) or ""
    match = numbered.fullmatch(stem)
    return (match[1], int(match[2])) if match else (stem, None)


def _companion(file: str, stem: str) -> Companion | None:
    end = file.removeprefix(stem)
    if end == file or end.lower().endswith(_NOT_IMAGES):
        return None
    if match := _EXTERNAL.fullmatch(end):
        return Companion(match["name"] or "", file, "external", int(match["number"]))
    if match := _VIRTUAL.fullmatch(end):
        return Companion(match["name"], file, "virtual", int(match["number"]))
    return None
