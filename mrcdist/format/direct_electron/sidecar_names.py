"""The names under which a movie's sidecar, and its list of scan points, are looked for.

`mrcdist.format.direct_electron.filenames` has the names of all files of an acquisition.
"""

from __future__ import annotations

import re

__all__ = [
    "MOVIE_ENDING",
    "NUMBERED_STEM",
    "SCAN_POINTS_ENDING",
    "SIDECAR_ENDING",
    "scan_points_candidates",
    "sidecar_candidates",
    "stem_of",
]

MOVIE_ENDING = "_movie.mrc"
SIDECAR_ENDING = "_info.txt"
SCAN_POINTS_ENDING = "_scan_coordinates.csv"

# A stem with a number after it, the number not being the acquisition's own.
NUMBERED_STEM = re.compile(r"(?P<base>\d{8}_\d+(?:_.+)?)_(?P<number>\d+)", re.ASCII | re.DOTALL)


def sidecar_candidates(movie_name: str) -> tuple[str, ...]:
    """Return the names that a movie's sidecar can have, best first.

    For stores that cannot list a directory; where there is a listing, `filenames.find_sidecar`
    knows better. The names are those of the movie's own stem, then of that without the number of a
    part. A stem is never shortened below ``YYYYMMDD_number``, and only if it begins so. There are
    none unless `movie_name` ends in ``_movie.mrc``, in capitals or not.
    """
    return _candidates(movie_name, SIDECAR_ENDING)


def scan_points_candidates(movie_name: str) -> tuple[str, ...]:
    """Return the names that a list of scan points can have, as `sidecar_candidates` does."""
    return _candidates(movie_name, SCAN_POINTS_ENDING)


def stem_of(name: str, ending: str) -> str | None:
    """Return `name` without `ending`, which may be in capitals; None if it ends otherwise."""
    stem = name[: -len(ending)]
    return stem if stem and name.lower().endswith(ending) else None


def _candidates(movie_name: str, ending: str) -> tuple[str, ...]:
    stem = stem_of(movie_name, MOVIE_ENDING)
    if stem is None:
        return ()
    numbered = NUMBERED_STEM.fullmatch(stem)
    stems = (stem, numbered["base"]) if numbered else (stem,)
    return tuple(stem + ending for stem in stems)
