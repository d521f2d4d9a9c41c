"""The small files beside the data: sidecar, scan points, tilt angles. The folder is listed once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import PurePath
from typing import IO, Any

import numpy as np

from mrcdist.errors import (
    AccessDeniedError,
    ArgumentError,
    MissingFileError,
    MrcdistError,
    SidecarError,
)
from mrcdist.format.acquisition_names import find_scan_points, find_sidecar, sidecar_candidates
from mrcdist.format.direct_electron import Scan
from mrcdist.format.scan_points import frame_table, parse_scan_points
from mrcdist.format.sidecar import Sidecar, parse_sidecar
from mrcdist.format.tilt_files import parse_tilts
from mrcdist.plan.geometry import missing_frames
from mrcdist.plan.layout import FrameTable
from mrcdist.read.identity import Identity
from mrcdist.read.location import Location

__all__ = ["Folder", "NamedFile", "read_scan_table", "read_sidecar", "read_tilts"]

NamedFile = str | os.PathLike[str] | IO[bytes] | IO[str] | None

# Sidecars are some 40 KiB, lists of a million scan points some 10 MB; far larger files are
# something else.
_SMALL_FILE = 256 * 2**20


class Folder:
    """The folder of a file, listed when it is first needed.

    Parameters
    ----------
    location : Location
        The file whose folder it is.

    Attributes
    ----------
    notes : list of str
        What could not be found out.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.notes: list[str] = []

    @cached_property
    def listing(self) -> Mapping[str, Identity | None] | None:
        """Names of the files, and their identity where the listing tells; None if there is none."""
        return self.location.list_folder()

    def find(
        self, find: Callable[[str, Iterable[str]], str | None], candidates: Iterable[str] = ()
    ) -> bytes | None:
        """Read the file that `find` picks from the listing, or the first candidate that exists."""
        if self.listing is not None:
            name = find(self.location.name, self.listing)
            if name is None:
                return None
            return self.location.sibling(name).read_head(
                _SMALL_FILE, identity=self.listing.get(name)
            )
        for name in candidates:  # a store that cannot list, such as plain HTTP
            try:
                return self.location.sibling(name).read_head(_SMALL_FILE)
            except MissingFileError:
                continue
            except AccessDeniedError as error:  # S3's answer to who may not list, too
                self.notes.append(
                    f"whether there is a {name} beside it cannot be told ({error.cause}); "
                    "name it with metadata_file=..., or say metadata_file=None"
                )
        return None


def read_sidecar(folder: Folder, wanted: NamedFile) -> Sidecar | None:
    """Read the sidecar that the caller names, or look for one beside a Direct Electron movie."""
    if wanted is None:
        return None
    if isinstance(wanted, str) and wanted == "auto":
        candidates = sidecar_candidates(folder.location.name)
        found = folder.find(find_sidecar, candidates) if candidates else None
        return None if found is None else parse_sidecar(found)
    content = _read_named(folder.location, wanted, "metadata_file")
    try:
        return parse_sidecar(content)
    except MrcdistError as error:  # in that file, not in the movie beside which it is read
        if not isinstance(wanted, str | os.PathLike):
            raise
        raise error.located(Location.of(wanted).shown) from None


def read_scan_table(
    folder: Folder, wanted: NamedFile, scan: Scan, *, n_frames: int, allow_truncated: bool
) -> tuple[FrameTable, list[str]]:
    """Read where the frames of a custom scan belong.

    Returns
    -------
    table : ndarray of int32 or int64, shape (y, x) or (y, x, repeat)
        The frame at each point, -1 where there is none.
    notes : list of str
        How many of the points' frames are missing, if any.

    Raises
    ------
    SidecarError
        There is no list of scan points, or it does not fit the scan.
    """
    raw: bytes | None
    if isinstance(wanted, str) and wanted == "auto":
        raw = folder.find(find_scan_points, ())
    else:
        raw = None if wanted is None else _read_named(folder.location, wanted, "scan_file")
    if raw is None:
        name = folder.location.name.replace("_movie.mrc", "_scan_coordinates.csv")
        raise SidecarError(
            "the sidecar describes a scan that is no raster, and there is no list of its points",
            cause=f"{name} was looked for beside the movie"
            if wanted is not None
            else "scan_file=None says to use none",
            remedy="pass scan_file=..., or navigation_shape=(frames,) for the frames in the "
            "order of the file",
        )
    rows, columns = (axis.size for axis in scan.navigation[:2])
    points = parse_scan_points(raw)
    table = frame_table(
        points, shape=(rows, columns), n_frames=n_frames, allow_missing=allow_truncated
    )
    missing = len(points) - n_frames
    notes = [missing_frames(missing, len(points))] if missing else []
    return table.astype(np.int32) if n_frames < 2**31 else table, notes


def read_tilts(location: Location, wanted: str | os.PathLike[str]) -> tuple[float, ...]:
    """Read the tilt angles in a ``.tlt``, ``.rawtlt`` or ``.mdoc`` file that the caller names."""
    raw = _read_named(location, wanted, "tilt_file")
    return tuple(parse_tilts(PurePath(os.fspath(wanted)).name, raw).tolist())


def _read_named(location: Location, wanted: Any, argument: str) -> bytes:
    """Read a file or stream that the caller names.

    The storage options serve it too where it is in the same kind of store as the data.
    """
    if isinstance(wanted, str | os.PathLike):
        named = Location.of(wanted)
        same = named.url.split(":", 1)[0] == location.url.split(":", 1)[0] and not named.is_local
        return Location.of(wanted, location.storage_options if same else {}).read_head(_SMALL_FILE)
    if not hasattr(wanted, "read"):
        raise ArgumentError(
            f"{argument} is a {type(wanted).__name__}",
            cause="a file is needed",
            remedy='pass "auto", None, a path, a URL, or an open file or text stream',
        )
    content = wanted.read(_SMALL_FILE)
    return content.encode() if isinstance(content, str) else bytes(content)
