"""The small files beside the data: sidecar, scan points, tilt angles. The folder is listed once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import PurePath
from typing import IO, Any

from mrcdist.errors import (
    AccessDeniedError,
    ArgumentError,
    MissingFileError,
    MrcdistError,
    SidecarError,
)
from mrcdist.format.direct_electron.filenames import (
    find_scan_points,
    find_sidecar,
    scan_points_candidates,
    sidecar_candidates,
)
from mrcdist.format.direct_electron.scan_points import Points, parse_scan_points
from mrcdist.format.direct_electron.sidecar import Sidecar, parse_sidecar
from mrcdist.format.tilt_angles import parse_tilts
from mrcdist.storage.file import read_whole
from mrcdist.storage.location import Location

__all__ = ["Folder", "NamedFile", "read_scan_points", "read_sidecar", "read_tilts"]

NamedFile = str | os.PathLike[str] | IO[bytes] | IO[str] | None

# Sidecars are some 40 KiB, lists of a million scan points some 10 MB; far larger files are
# something else.
_SMALL_FILE = 256 * 2**20

# What is asked of a stream at a time.
_PIECE = 2**20


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
    def listing(self) -> tuple[str, ...] | None:
        """Names of the files; None if they cannot be listed."""
        return self.location.list_folder()

    def find(
        self,
        find: Callable[[str, Iterable[str]], str | None],
        candidates: Iterable[str],
        argument: str,
    ) -> bytes | None:
        """Read the file that `find` picks from the listing, or the first candidate that exists.

        `argument` is what names it where neither works.
        """
        if self.listing is not None:
            name = find(self.location.name, self.listing)
            if name is None:
                return None
            return read_whole(self.location.sibling(name), _SMALL_FILE)
        for name in candidates:  # a store that cannot list, such as plain HTTP
            try:
                return read_whole(self.location.sibling(name), _SMALL_FILE)
            except MissingFileError:
                continue
            except AccessDeniedError as error:  # S3's answer to who may not list, too
                self.notes.append(
                    f"whether there is a {name} beside it cannot be told ({error.cause}); "
                    f"name it with {argument}=..., or say {argument}=None"
                )
        return None


def read_sidecar(folder: Folder, wanted: NamedFile) -> Sidecar | None:
    """Read the sidecar that the caller names, or look for one beside a Direct Electron movie."""
    if wanted is None:
        return None
    if isinstance(wanted, str) and wanted == "auto":
        candidates = sidecar_candidates(folder.location.name)
        found = folder.find(find_sidecar, candidates, "metadata_file") if candidates else None
        return None if found is None else parse_sidecar(found)
    content = _read_named(folder.location, wanted, "metadata_file")
    try:
        return parse_sidecar(content)
    except MrcdistError as error:  # in that file, not in the movie beside which it is read
        if not isinstance(wanted, str | os.PathLike):
            raise
        raise error.located(Location.of(wanted).shown) from None


def read_scan_points(folder: Folder, wanted: NamedFile) -> tuple[Points, tuple[str, ...]]:
    """Read the points of a custom scan, in the order of the frames.

    Returns
    -------
    points : ndarray of int64, shape (n, 2)
    notes : tuple of str

    Raises
    ------
    SidecarError
        There is no list of scan points, or it cannot be read.
    """
    if wanted is None:
        cause = "scan_file=None says to use none"
    elif isinstance(wanted, str) and wanted == "auto":
        candidates = scan_points_candidates(folder.location.name)
        raw = folder.find(find_scan_points, candidates, "scan_file") if candidates else None
        if raw is not None:
            return parse_scan_points(raw)
        cause = (
            f"looked for beside the movie: {', '.join(candidates)}"
            if candidates
            else "it is looked for beside a file called *_movie.mrc only"
        )
    else:
        return parse_scan_points(_read_named(folder.location, wanted, "scan_file"))
    raise SidecarError(
        "the sidecar describes a scan that is no raster, and there is no list of its points",
        code="scan-points-missing",
        argument="scan_file",
        cause=cause,
        remedy="pass {scan_file=...}, or {navigation_shape=(frames,)} for the frames in the "
        "order of the file",
    )


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
        beside = Location.of(wanted, location.storage_options if same else {})
        return read_whole(beside, _SMALL_FILE)
    if not hasattr(wanted, "read"):
        raise ArgumentError(
            f"{argument} is a {type(wanted).__name__}",
            code="argument-type-invalid",
            argument=argument,
            cause="a file is needed",
            remedy='pass "auto", None, a path, a URL, or an open file or text stream',
        )
    return _read_stream(wanted, location, argument)


def _read_stream(stream: Any, location: Location, argument: str) -> bytes:
    """Read an open file from where it stands to its end; it may give less than is asked for."""
    content = bytearray()
    try:
        while len(content) < _SMALL_FILE and (piece := stream.read(_PIECE)):
            # Of text, bytes that could not be decoded may be kept as surrogates.
            text = isinstance(piece, str)
            content += piece.encode("utf-8", "surrogateescape") if text else memoryview(piece)
    except UnicodeError as error:
        raise ArgumentError(
            f"{argument} is a text stream that cannot be decoded",
            code="stream-unreadable",
            argument=argument,
            cause=location.scrub(str(error)),
            remedy="pass its .buffer, the file opened in binary mode, or its path",
        ) from None
    except Exception as error:  # noqa: BLE001 streams are of many kinds
        raise ArgumentError(
            f"{argument} cannot be read",
            code="stream-unreadable",
            argument=argument,
            cause=location.scrub(f"{type(error).__name__}: {error}"),
            remedy="pass a path, or a file that is open for reading",
        ) from None
    if not content:
        raise ArgumentError(
            f"{argument} has nothing to read",
            code="stream-unreadable",
            argument=argument,
            cause="the stream is empty, or stands at its end because it was read before",
            remedy="rewind it with seek(0), or pass a path",
        )
    return bytes(content)
