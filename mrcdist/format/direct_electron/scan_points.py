"""The points of a custom scan: which frame was recorded where.

DE Server writes ``<acquisition>_scan_coordinates.csv`` for scans that are not rasters: a row per
frame, in the order of the frames, with the point's column and row in the scan's grid (x, y).
"""

from __future__ import annotations

import re
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from mrcdist.errors import SidecarError

Points = npt.NDArray[np.int64]

# Beyond this, float64 skips whole numbers.
_LARGEST = 2.0**53

# 16384 x 16384 places, 2 GiB as int64; a scan that needs more is damaged, or one of few places and
# very many visits.
MAX_PLACES = 2**28

# Nor may a small file take large memory: 2048 x 2048 places always, larger grids where at least
# every 64th place is recorded. Sparse scans record 1 to 20 % of theirs.
_PLACES_OF_ANY_GRID = 2**22
_PLACES_OF_A_POINT = 64

# What is read of a long list before all of it: some thousand lines.
_START = 2**15

POINTS_REMEDY = (
    "pass the right file as {scan_file}, or {navigation_shape} to read the frames in the order in"
    " which they were recorded"
)


def parse_scan_points(raw: bytes) -> tuple[Points, tuple[str, ...]]:
    """Read column and row (x, y) of each frame's point, shape (n, 2), in the order of the file.

    It is a CSV file of two columns, x and y, one row per frame. A first line of words is a header,
    noted if it does not say which column is x; blank lines mean nothing. Whole numbers may be
    written as floats (``3.0``). `SidecarError` is raised if a row is not two whole numbers (it is
    named by its line in the file, from 1), the header says that y comes first, or there are no
    rows.
    """
    start = raw.rfind(b"\n", 0, _START)
    if len(raw) > _START and start > 0:
        parse_scan_points(raw[:start])  # of another file, this is enough to tell
    text = raw.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rows = [(number, line) for number, line in enumerate(lines, 1) if line and not line.isspace()]
    notes: tuple[str, ...] = ()
    if rows and _is_header(rows[0][1]):
        notes = _header_notes(rows[0][1])
        del rows[0]
    if not rows:
        cause = "the file is empty or was not written to its end"
        raise _invalid("the list of scan points has no points", cause)
    points = _read_rows(rows)
    if points is None:
        while len(rows) > 1:  # halve them until only the first bad one is left
            half = len(rows) // 2
            rows = rows[:half] if _read_rows(rows[:half]) is None else rows[half:]
        [(number, line)] = rows
        raise _invalid(
            f"line {number} of the list of scan points is {line.strip()[:60]!r}, "
            "not two whole numbers",
            "not a list of x,y points, one row per frame, or damaged",
        )
    return points, notes


def frame_table(points: Points, *, shape: tuple[int, int], n_frames: int) -> npt.NDArray[np.int64]:
    """Return which frame belongs to each place of the scan's grid: shape (y, x[, repeat]).

    -1 is a place without a frame. There is a repeat axis, as long as the largest number of visits,
    if a point occurs more than once in `points`, recorded or not; a place's frames are in the order
    in which they were recorded. Where the movie has fewer frames than there are points, the last
    points were not recorded. `SidecarError` is raised if a point (x, y) lies outside the grid of
    `shape` (y, x), or the table would take more than 2 GiB, or far more than so many points account
    for.
    """
    rows, columns = shape
    n_points = len(points)
    x, y = points[:, 0], points[:, 1]
    outside = np.flatnonzero((x < 0) | (x >= columns) | (y < 0) | (y >= rows))
    if outside.size:
        first = int(outside[0])
        raise _invalid(
            f"scan point {first + 1} of {n_points} is x = {x[first]}, y = {y[first]}, outside the"
            f" grid of {columns} x {rows} (x, y) points; {outside.size} points are",
            "the list of scan points belongs to another acquisition, or has rows and columns"
            " swapped, or the sidecar was edited",
        )
    _check_places(rows * columns, shape, n_points, visits=1)
    place = y * columns + x
    visits = np.bincount(place, minlength=rows * columns)
    repeats = max(1, int(visits.max()))
    _check_places(rows * columns * repeats, shape, n_points, visits=repeats)

    # A stable sort puts the frames of one place side by side in the order of recording, so that
    # the distance from the first of them is the number of the visit.
    frames = np.argsort(place, kind="stable")
    by_place = place[frames]
    visit = np.arange(n_points) - (np.cumsum(visits) - visits)[by_place]
    table = np.full((rows * columns, repeats), -1, dtype=np.int64)
    table[by_place, visit] = np.where(frames < n_frames, frames, -1)
    return table.reshape(shape if repeats == 1 else (*shape, repeats))


def _read_rows(rows: list[tuple[int, str]]) -> Points | None:
    """Points of numbered lines; None if not all of them are two whole numbers."""
    try:
        values = np.loadtxt([line for _, line in rows], delimiter=",", ndmin=2, comments=None)
    except ValueError:
        return None
    whole = (np.trunc(values) == values) & (np.abs(values) <= _LARGEST)
    return values.astype(np.int64) if values.shape[1] == 2 and whole.all() else None


def _invalid(problem: str, cause: str) -> SidecarError:
    return SidecarError(
        problem,
        code="scan-points-invalid",
        argument="scan_file",
        cause=cause,
        remedy=POINTS_REMEDY,
    )


def _is_header(line: str) -> bool:
    """Whether none of a line's words is a number."""
    for word in line.split(","):
        with suppress(ValueError):
            float(word)
            return False
    return True


def _header_notes(line: str) -> tuple[str, ...]:
    """Refuse a header that puts y first; note one that says neither that nor the reverse."""
    meant = [_coordinate(word) for word in line.split(",")]
    if meant == ["x", "y"]:
        return ()
    if len(meant) == 2 and meant[0] != meant[1] and (meant[0] == "y" or meant[1] == "x"):
        raise SidecarError(
            f"the columns of the list of scan points are {line.strip()[:60]!r}",
            code="scan-points-columns",
            argument="scan_file",
            cause="scan points are x, y, one row per frame; here y comes first",
            remedy="swap the columns, or correct the header if the numbers are x, y",
        )
    return (f"the columns of the list of scan points, {line.strip()[:60]!r}, are taken for x, y",)


def _coordinate(column: str) -> str | None:
    """Coordinate that a column's name stands for: "x", "y" or, if it is not clear, None.

    A scan's lines follow each other along y, and the beam is fast along x.
    """
    name = re.sub(r"[(\[].*", "", column).lower()
    name = re.sub(r"axis|index", "", name)  # has an x, and means either
    slow = re.search(r"row|line|slow|vertical", name)
    fast = re.search(r"col|fast|horizontal", name)
    if slow or fast:
        return None if slow and fast else ("y" if slow else "x")
    if letters := set(re.findall("[xy]", name.replace("pixel", ""))):
        return letters.pop() if len(letters) == 1 else None
    return "x" if "pixel" in name else None  # line, pixel


def _check_places(places: int, shape: tuple[int, int], n_points: int, *, visits: int) -> None:
    most = min(MAX_PLACES, _PLACES_OF_ANY_GRID + _PLACES_OF_A_POINT * n_points)
    if places > most:
        raise SidecarError(
            f"a scan of {shape[1]} x {shape[0]} (x, y) points, visited up to {visits} times each,"
            f" has {places} places for a frame, more than {most} for a list of {n_points} points",
            code="scan-grid-too-large",
            cause="the sidecar was edited, or one point was visited very often",
            remedy=POINTS_REMEDY,
        )
