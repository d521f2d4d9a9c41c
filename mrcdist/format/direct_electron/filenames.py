"""The file names of one Direct Electron acquisition.

DE Server names the files of an acquisition after its stem, ``YYYYMMDD_number[_suffix]``::

    stem_movie.mrc                        the frames, or in parts stem_0_movie.mrc, stem_1_...
    stem_info.txt                         the sidecar
    stem_scan_coordinates.csv             the points of a scan that is not a raster
    stem_0_name_calculation.mrc           a virtual image, also stem_virt0_name_calculation.mrc
    stem_ext1_name.mrc                    an external detector's image, also stem_ext1.mrc

A suffix may be anything, so that one acquisition's names can look like another's: a suffix of
digits like a part's number, a suffix and a name like a longer name. Each function therefore takes
a listing of the directory, and a file belongs to the longest stem that is at home there.

In all functions, `movie_name` is the base name of a movie, and `listing` has the base names of the
files in its directory. A numbered movie takes the sidecar or the scan points without the number
only where those do not belong to a movie without number.
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

# A stem with a number after it, the number not being the acquisition's own.
_NUMBERED_STEM = re.compile(r"(?P<base>\d{8}_\d+(?:_.+)?)_(?P<number>\d+)", re.ASCII | re.DOTALL)
# The same of files that the caller picked: they can be called anything.
_ANY_NUMBERED_STEM = re.compile(
    r"(?!\d{8}_\d+\Z)(?P<base>.+)_(?P<number>\d+)", re.ASCII | re.DOTALL
)

# What follows the stem. A calculation is one word, but for "total_sum" and "centroid_amplitude".
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
    """An image that was saved beside a movie."""

    # What it is called in its file's name; the file's name after the stem where that is nothing, or
    # where another image of the acquisition is called the same.
    name: str
    file: str  # base name
    kind: Literal["virtual", "external"]  # computed from the frames, or by an external detector
    number: int  # of the detector


def find_sidecars(movie_names: Iterable[str], listing: Iterable[str]) -> dict[str, str | None]:
    """Return the name of the sidecar of each of some movies in one directory, or None."""
    folder = _Folder(listing)
    return {name: folder.beside(name, SIDECAR_ENDING) for name in movie_names}


def find_file(movie_name: str, listing: Iterable[str], *, ending: str) -> str | None:
    """Return the listed name of the file with this ending that belongs to a movie, or None."""
    return _Folder(listing).beside(movie_name, ending)


def candidate_names(movie_name: str, *, ending: str) -> tuple[str, ...]:
    """Return the possible names of the file with this ending, best first, for lack of a listing.

    They have the stem of the movie, or the stem without the number of a part, which is never
    shortened below ``YYYYMMDD_number``. There are none unless `movie_name` ends in ``_movie.mrc``,
    in upper or lower case.
    """
    numbered = _numbered(movie_name)
    stems = (_stem_of(movie_name, MOVIE_ENDING), numbered and numbered["base"])
    return tuple(stem + ending for stem in stems if stem)


def find_parts(movie_name: str, listing: Iterable[str]) -> tuple[str, ...]:
    """Return the movies that make up one acquisition, by number: in the order of their frames.

    `movie_name` alone where it is no part: where it has no number, has a sidecar of its own, or
    where there is a movie of the same name without number. `MissingFileError` is raised if the
    acquisition has a sidecar, and its parts are not numbered without gaps from 0 or 1; without one
    the numbers may as well be suffixes, and it is `movie_name` alone.
    """
    folder = _Folder(listing)
    base = folder.part_of(movie_name)
    if base is None:
        return (movie_name,)
    parts = [name for name in {*folder.names, movie_name} if folder.part_of(name) == base]
    parts.sort(key=lambda name: (_part_number(name), name))
    numbers = [_part_number(name) for name in parts]
    start = min(numbers[0], 1)
    if numbers == list(range(start, start + len(parts))):
        return tuple(parts)
    if base not in folder.sidecars:
        return (movie_name,)
    raise MissingFileError(
        f"the parts of {base}{MOVIE_ENDING} are numbered {', '.join(map(str, numbers))}",
        code="part-missing",
        cause="a part was not copied or is still being written, or the folder holds copies",
        remedy="copy the missing part to the folder, or pass the files to read as a list, in order",
    )


def is_numbered(movie_name: str) -> bool:
    """Whether a movie can be a numbered part of an acquisition, going by its name alone."""
    return _numbered(movie_name) is not None


def find_part_before(movie_names: Sequence[str], listing: Iterable[str] | None) -> str | None:
    """Return the part whose frames are missing at the start of some parts, or between them.

    None where nothing is missing before the last of them, or they are no parts. Parts are numbered
    from 0 or 1; from 0 where no listing is known.
    """
    folder = _Folder([*(listing or ()), *movie_names])
    base = folder.part_of(movie_names[0])
    if base is None:
        return None
    numbers = {_part_number(name) for name in movie_names}
    known = {_part_number(name) for name in folder.names if folder.part_of(name) == base}
    start = 0 if listing is None or 0 in known else 1
    missing = next((n for n in range(start, max(numbers)) if n not in numbers), None)
    return None if missing is None else f"{base}_{missing}{MOVIE_ENDING}"


def find_gap(names: Iterable[str]) -> str | None:
    """Return the first part that is missing between two others of one acquisition.

    For files that the caller picked: here any name that ends in a number and ``_movie.mrc`` is
    that of a part.
    """
    movies = [part for name in names if (part := _any_part(name))]
    parts = sorted((base, number) for base, number in movies if number is not None)
    for (base, number), (other, following) in pairwise(parts):
        if base == other and following > number + 1:
            return f"{base}_{number + 1}{MOVIE_ENDING}"
    return None


def acquisitions(names: Iterable[str]) -> list[str]:
    """Return the stems of the acquisitions whose movies, or parts of one, are among some files.

    A movie without number and the numbered ones of its stem are no parts of each other.
    """
    parts = {part for name in names if (part := _any_part(name))}
    whole = {base for base, number in parts if number is None}
    return sorted(
        {
            f"{base}_{number}" if base in whole and number is not None else base
            for base, number in parts
        }
    )


def find_companions(movie_name: str, listing: Iterable[str]) -> tuple[Companion, ...]:
    """Return the images of a movie's acquisition: virtual ones first, by number, then by name."""
    folder = _Folder(listing)
    stem = folder.acquisition(movie_name)
    if stem is None:
        return ()
    found = []
    for file in folder.names:
        companion = _companion(file, stem)
        longer = (other for other in folder.stems if len(other) > len(stem))
        if companion and not any(_companion(file, other) for other in longer):
            found.append(companion)
    names = Counter(companion.name for companion in found)
    found = [
        companion
        if companion.name and names[companion.name] == 1
        else replace(companion, name=companion.file[len(stem) + 1 : -len(".mrc")])
        for companion in found
    ]
    return tuple(sorted(found, key=lambda one: (one.kind != "virtual", one.number, one.file)))


class _Folder:
    """Acquisitions found in a listing."""

    def __init__(self, listing: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(listing))
        endings = (SIDECAR_ENDING, MOVIE_ENDING, SCAN_POINTS_ENDING)
        # Files by stem; where an ending comes in both cases, the one in lower case.
        self._files = {
            ending: {
                stem: name
                for name in sorted(self.names)
                if (stem := _stem_of(name, ending)) is not None
            }
            for ending in endings
        }
        self.sidecars = self._files[SIDECAR_ENDING].keys()
        self.movies = self._files[MOVIE_ENDING].keys()
        homes = (self.acquisition(name) for name in self.names)
        self.stems = {*self.sidecars, *(home for home in homes if home)}

    def part_of(self, movie_name: str) -> str | None:
        """Return the stem of the acquisition of which a movie is a numbered part, if it is one."""
        numbered = _numbered(movie_name)
        if numbered is None or numbered[0] in self.sidecars or numbered["base"] in self.movies:
            return None
        return numbered["base"]

    def acquisition(self, movie_name: str) -> str | None:
        """Return the stem of a movie's acquisition; None for a file that is not a movie."""
        return self.part_of(movie_name) or _stem_of(movie_name, MOVIE_ENDING)

    def beside(self, movie_name: str, ending: str) -> str | None:
        """Return the listed file with that ending and the movie's stem, or its acquisition's."""
        files = self._files[ending]
        stems = (_stem_of(movie_name, MOVIE_ENDING), self.part_of(movie_name))
        return next((files[stem] for stem in stems if stem in files), None)


def _stem_of(name: str, ending: str) -> str | None:
    """Return `name` without `ending`, which may be in capitals; None if it ends otherwise."""
    stem = name[: -len(ending)]
    return stem if stem and name.lower().endswith(ending) else None


def _any_part(name: str) -> tuple[str, int | None] | None:
    """Cut a movie's stem in that of its acquisition and its number, which may be missing."""
    stem = _stem_of(name, MOVIE_ENDING)
    if stem is None:
        return None
    numbered = _ANY_NUMBERED_STEM.fullmatch(stem)
    return (numbered["base"], int(numbered["number"])) if numbered else (stem, None)


def _numbered(movie_name: str) -> re.Match[str] | None:
    """Match a movie's stem with a number that may be that of a part."""
    return _NUMBERED_STEM.fullmatch(_stem_of(movie_name, MOVIE_ENDING) or "")


def _part_number(movie_name: str) -> int:
    numbered = _numbered(movie_name)
    return int(numbered["number"]) if numbered else 0


def _companion(file: str, stem: str) -> Companion | None:
    tail = file.removeprefix(stem)
    if tail == file or tail.lower().endswith(_NOT_IMAGES):
        return None
    if match := _EXTERNAL.fullmatch(tail):
        return Companion(match["name"] or "", file, "external", int(match["number"]))
    if match := _VIRTUAL.fullmatch(tail):
        return Companion(match["name"], file, "virtual", int(match["number"]))
    return None
