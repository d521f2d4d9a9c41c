"""The file names of one Direct Electron acquisition.

DE Server names the files of an acquisition after its stem, ``YYYYMMDD_number[_suffix]``::

    stem_movie.mrc                        the frames, or in parts stem_0_movie.mrc, stem_1_...
    stem_info.txt                         the sidecar
    stem_scan_coordinates.csv             the points of a scan that is not a raster
    stem_0_name_calculation.mrc           a virtual image, also stem_virt0_name_calculation.mrc
    stem_ext1_name.mrc                    an external detector's image, also stem_ext1.mrc

A suffix may be anything, so that one acquisition's names can look like another's: a suffix of
digits like a part's number, a suffix and a name like a longer name. Each function therefore takes
a listing of the folder, and a file belongs to the longest stem that is at home there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from mrcdist.errors import MissingFileError

__all__ = [
    "Companion",
    "find_companions",
    "find_parts",
    "find_scan_points",
    "find_sidecar",
    "sidecar_candidates",
]

_MOVIE = "_movie.mrc"
_INFO = "_info.txt"
_POINTS = "_scan_coordinates.csv"

# A stem with a number after it, the number not being the acquisition's own.
_NUMBERED = re.compile(r"(?P<base>\d{8}_\d+(?:_.+)?)_(?P<number>\d+)", re.ASCII | re.DOTALL)

# What follows the stem. A calculation is one word, but for "total_sum".
_VIRTUAL = re.compile(
    r"_(?:virt)?(?P<number>\d+)_(?P<name>.*?)_(?:total_)?[^_]+\.mrc",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)
_EXTERNAL = re.compile(
    r"_ext(?P<number>\d+)(?:_(?P<name>.*))?\.mrc", re.ASCII | re.DOTALL | re.IGNORECASE
)
_NOT_IMAGES = (_MOVIE, "_final.mrc")


@dataclass(frozen=True)
class Companion:
    """An image that was saved beside a movie.

    Parameters
    ----------
    name : str
        What the image is called in its file's name; the file's name after the stem where that is
        nothing, or where another image of the acquisition is called the same.
    file : str
        Base name of its file.
    kind : {"virtual", "external"}
        Computed from the frames by a virtual detector, or recorded by an external one.
    number : int
        The detector's number.
    """

    name: str
    file: str
    kind: Literal["virtual", "external"]
    number: int


def sidecar_candidates(movie_name: str) -> tuple[str, ...]:
    """Return the names that a movie's sidecar can have, best first.

    For stores that cannot list a folder; `find_sidecar` knows better where there is a listing.

    Parameters
    ----------
    movie_name : str
        Base name of the movie.

    Returns
    -------
    tuple of str
        The movie's own stem, then that without the number of a part, each with ``_info.txt``. A
        stem is never shortened below ``YYYYMMDD_number``, and only if it begins so. Empty unless
        `movie_name` ends in ``_movie.mrc``, in capitals or not.
    """
    stem = _stem(movie_name, _MOVIE)
    if stem is None:
        return ()
    numbered = _NUMBERED.fullmatch(stem)
    stems = (stem, numbered["base"]) if numbered else (stem,)
    return tuple(stem + _INFO for stem in stems)


def find_sidecar(movie_name: str, listing: Iterable[str]) -> str | None:
    """Return the name of a movie's sidecar.

    Parameters
    ----------
    movie_name : str
        Base name of the movie.
    listing : iterable of str
        Base names of the files in its folder.

    Returns
    -------
    str or None
        As listed. A numbered movie takes the sidecar without the number only where that does not
        belong to a movie without number.
    """
    return _Folder(listing).beside(movie_name, _INFO)


def find_scan_points(movie_name: str, listing: Iterable[str]) -> str | None:
    """Return the name of the list of a movie's scan points.

    Parameters
    ----------
    movie_name : str
        Base name of the movie.
    listing : iterable of str
        Base names of the files in its folder.

    Returns
    -------
    str or None
        As listed; found as `find_sidecar` does.
    """
    return _Folder(listing).beside(movie_name, _POINTS)


def find_parts(movie_name: str, listing: Iterable[str]) -> tuple[str, ...]:
    """Return the movies that make up one acquisition, in the order of their frames.

    Parameters
    ----------
    movie_name : str
        Base name of the movie, or of any of its parts.
    listing : iterable of str
        Base names of the files in its folder.

    Returns
    -------
    tuple of str
        The parts by number, or `movie_name` alone where it is no part: where it has no number,
        has a sidecar of its own, or where there is a movie of the same name without number.

    Raises
    ------
    MissingFileError
        The acquisition has a sidecar, and its parts are not numbered without gaps from 0 or 1.
        (Without a sidecar the numbers may as well be suffixes: then `movie_name` alone.)
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
        f"The parts of {base}{_MOVIE} are numbered {', '.join(map(str, numbers))}",
        cause="A part was not copied or is still being written, or the folder holds copies.",
        remedy="Bring the missing part here, or pass the files to read as a list, in order.",
    )


def find_companions(movie_name: str, listing: Iterable[str]) -> tuple[Companion, ...]:
    """Return the virtual and external images of a movie's acquisition.

    Parameters
    ----------
    movie_name : str
        Base name of the movie.
    listing : iterable of str
        Base names of the files in its folder.

    Returns
    -------
    tuple of Companion
        Virtual images first, each kind by number and then by name.
    """
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
    """What a listing says about the acquisitions in it."""

    def __init__(self, listing: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(listing))
        self.sidecars = self._stems(_INFO)
        self.movies = self._stems(_MOVIE)
        homes = (self.acquisition(name) for name in self.names)
        self.stems = {*self.sidecars, *(home for home in homes if home)}

    def _stems(self, ending: str) -> set[str]:
        return {stem for name in self.names if (stem := _stem(name, ending)) is not None}

    def part_of(self, movie_name: str) -> str | None:
        """Return the stem of the acquisition of which a movie is a numbered part, if it is one."""
        stem = _stem(movie_name, _MOVIE)
        numbered = _NUMBERED.fullmatch(stem or "")
        if stem in self.sidecars or numbered is None or numbered["base"] in self.movies:
            return None
        return numbered["base"]

    def acquisition(self, movie_name: str) -> str | None:
        """Return the stem of a movie's acquisition; None for a file that is not a movie."""
        return self.part_of(movie_name) or _stem(movie_name, _MOVIE)

    def beside(self, movie_name: str, ending: str) -> str | None:
        """Return the listed file with that ending and the movie's stem, or its acquisition's."""
        for stem in (_stem(movie_name, _MOVIE), self.part_of(movie_name)):
            found = [name for name in self.names if stem and _stem(name, ending) == stem]
            if found:
                return max(found)  # where the ending comes in both cases, the lower one
        return None


def _stem(name: str, ending: str) -> str | None:
    """Return `name` without `ending`, which may be in capitals; None if it ends otherwise."""
    stem = name[: -len(ending)]
    return stem if stem and name.lower().endswith(ending) else None


def _part_number(movie_name: str) -> int:
    numbered = _NUMBERED.fullmatch(_stem(movie_name, _MOVIE) or "")
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
