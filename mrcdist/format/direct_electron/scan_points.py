"""The points of a custom scan: which frame was recorded where.

DE Server writes ``<acquisition>_scan_coordinates.csv`` for scans that are not rasters: one row per
frame, in the order of the frames, with column and row of the point in the grid of the scan (x, y).
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from mrcdist.errors import SidecarError
from mrcdist.printable import shorten
from mrcdist.warning_notes import Note

Points = npt.NDArray[np.int64]

# Beyond this, float64 cannot represent all integers.
_MAX_INTEGER = 2.0**53

# 16384 x 16384 frames, 2 GiB as int64. More is a sign of damage, or of few positions with very many
# visits.
MAX_POSITIONS = 2**28

# A small file must not take much memory: grids up to 2048 x 2048 are accepted, larger ones if at
# least every 64th position is recorded. Sparse scans record 1 to 20 % of them.
_ACCEPTED_POSITIONS = 2**22
_POSITIONS_PER_POINT = 64

# Some thousand lines, parsed before the rest of a long list.
_FIRST_BYTES = 2**15

POINTS_REMEDY = (
    "pass the right file as `scan_file`, or `navigation_shape` to read the frames in the order in"
    " which they were recorded"
)


def parse_scan_points(raw: bytes) -> tuple[Points, tuple[Note, ...]]:
    """Parse column and row (x, y) of each frame's point, shape (n, 2), in the order of the file.

    The file is CSV with the columns x and y and one row per frame. A first line without numbers is
    a header, which is noted if it does not say which column is x; blank lines are ignored. Integers
    may be written as floats (``3.0``). `SidecarError` is raised if a row is not two integers (it
    contains the number of the line, from 1), if y is the first column, or if there are no rows.
    """
    start = raw.rfind(b"\n", 0, _FIRST_BYTES)
    if len(raw) > _FIRST_BYTES and start > 0:
        parse_scan_points(raw[:start])  # rejects other files before all of it is split
    text = raw.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rows = [(number, line) for number, line in enumerate(lines, 1) if line and not line.isspace()]
    notes: tuple[Note, ...] = ()
    if rows and not any(map(_is_number, rows[0][1].split(","))):
        notes = _header_notes(rows[0][1])
        del rows[0]
    if not rows:
        cause = "the file is empty or incomplete"
        raise _invalid("the list of scan points has no points", cause)
    points = _parse_rows(rows)
    if points is None:
        while len(rows) > 1:  # bisect to find the first bad row
            half = len(rows) // 2
            rows = rows[:half] if _parse_rows(rows[:half]) is None else rows[half:]
        [(number, line)] = rows
        raise _invalid(
            f"line {number} of the list of scan points is {shorten(line.strip())!r}, "
            "not two whole numbers",
            "not a list of x,y points, one row per frame, or damaged",
        )
    return points, notes


def frame_table(points: Points, *, shape: tuple[int, int], n_frames: int) -> npt.NDArray[np.int64]:
    """Return the number of the frame at each place of the grid: shape (y, x[, repeat]).

    -1 is a place without a frame. If a point occurs more than once in `points`, recorded or not,
    there is a repeat axis with the largest number of visits; the frames of a place are in the order
    of recording. If the movie has fewer frames than there are points, the last points were not
    recorded. `SidecarError` is raised if a point (x, y) is outside the grid of `shape` (y, x), or
    if the table would take more than 2 GiB or far more than the number of points justifies.
    """
    rows, columns = shape
    n_points = len(points)
    x, y = points[:, 0], points[:, 1]
    outside = np.flatnonzero((x < 0) | (x >= columns) | (y < 0) | (y >= rows))
    if outside.size:
        first = int(outside[0])
        raise _invalid(
            f"scan point {first + 1} of {n_points} is x = {x[first]}, y = {y[first]}, outside the"
            f" grid of {columns} x {rows} (x, y) points, as are {outside.size} points in total",
            "the list of scan points belongs to another acquisition, or has rows and columns"
            " swapped, or the sidecar was edited",
        )
    _check_positions(rows * columns, shape, n_points, visits=1)
    place = y * columns + x
    visits = np.bincount(place, minlength=rows * columns)
    repeats = max(1, int(visits.max()))
    _check_positions(rows * columns * repeats, shape, n_points, visits=repeats)

    # A stable sort groups the frames by place, in the order of recording. The number of a visit is
    # the distance from the first frame of the group.
    frames = np.argsort(place, kind="stable")
    by_place = place[frames]
    visit = np.arange(n_points) - (np.cumsum(visits) - visits)[by_place]
    table = np.full((rows * columns, repeats), -1, dtype=np.int64)
    table[by_place, visit] = np.where(frames < n_frames, frames, -1)
    return table.reshape(shape if repeats == 1 else (*shape, repeats))


def _parse_rows(rows: list[tuple[int, str]]) -> Points | None:
    """Parse numbered lines; None if not all of them are two integers."""
    try:
        values = np.loadtxt([line for _, line in rows], delimiter=",", ndmin=2, comments=None)
    except ValueError:
        return None
    whole = (np.trunc(values) == values) & (np.abs(values) <= _MAX_INTEGER)
    return values.astype(np.int64) if values.shape[1] == 2 and whole.all() else None


def _invalid(problem: str, cause: str) -> SidecarError:
    return SidecarError(
        problem,
        code="scan-points-invalid",
        argument="scan_file",
        cause=cause,
        remedy=POINTS_REMEDY,
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _header_notes(line: str) -> tuple[Note, ...]:
    """Reject a header that puts y first; note one that does not say which column is x."""
    names = [_coordinate(word) for word in line.split(",")]
    if names == ["x", "y"]:
        return ()
    if len(names) == 2 and names[0] != names[1] and (names[0] == "y" or names[1] == "x"):
        raise SidecarError(
            f"the columns of the list of scan points are {shorten(line.strip())!r}",
            code="scan-points-columns",
            argument="scan_file",
            cause="scan points are x, y, one row per frame; here y comes first",
            remedy="swap the columns, or correct the header if the numbers are x, y",
        )
    text = f"the columns of the list of scan points, {shorten(line.strip())!r}, are read as x, y"
    return (Note("scan-points-columns-unclear", text),)


def _coordinate(column: str) -> str | None:
    """Return the coordinate that a column name stands for: "x", "y" or None if unclear.

    The lines of a scan follow each other along y, and the beam is fast along x.
    """
    name = re.sub(r"[(\[].*", "", column).lower()
    name = re.sub(r"axis|index", "", name)  # used for both, and contain an x
    slow = re.search(r"row|line|slow|vertical", name)
    fast = re.search(r"col|fast|horizontal", name)
    if slow or fast:
        return None if slow and fast else ("y" if slow else "x")
    if letters := set(re.findall("[xy]", name.replace("pixel", ""))):
        return letters.pop() if len(letters) == 1 else None
    return "x" if "pixel" in name else None  # line, pixel


def _check_positions(positions: int, shape: tuple[int, int], n_points: int, *, visits: int) -> None:
    max_positions = min(MAX_POSITIONS, _ACCEPTED_POSITIONS + _POSITIONS_PER_POINT * n_points)
    if positions > max_positions:
        raise SidecarError(
            f"a scan of {shape[1]} x {shape[0]} (x, y) points, visited up to {visits} times each,"
            f" has {positions} positions, more than the {max_positions} accepted for a list of"
            f" {n_points} points",
            code="scan-grid-too-large",
            cause="the sidecar was edited, or one point was visited very often",
            remedy=POINTS_REMEDY,
        )
