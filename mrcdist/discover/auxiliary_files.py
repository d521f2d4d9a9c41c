"""The small files that go with the data: sidecar, scan points, tilt angles.

Each has an option that takes "auto", None, a path, a URL or an open file. That is interpreted here:
`choose` tells the three cases apart, an `AuxiliaryFile` reads what was chosen. A kind of file is
one `FileType`: its option, its names, its parser.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from mrcdist.discover.files import Directory, errors_at, locate
from mrcdist.discover.mrc_file import several_at_a_time
from mrcdist.errors import AccessDeniedError, ArgumentError, MissingFileError, SidecarError
from mrcdist.format.direct_electron import filenames
from mrcdist.format.direct_electron.scan_points import Points, parse_scan_points
from mrcdist.format.direct_electron.sidecar import Sidecar, parse_sidecar
from mrcdist.format.tilt_angles import find_tilt_file, parse_tilts, tilt_file_candidates
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import read_whole
from mrcdist.storage.url import is_filename
from mrcdist.warning_notes import Note, Notes

NamedFile = str | os.PathLike[str] | IO[bytes] | IO[str] | None
Choice = Literal["auto", "none", "named"]
_T = TypeVar("_T")

# Folder, name of the acquisition, and of its sidecar; "" if that is not known.
_Acquisition = tuple[str, str, str]

_MIB = 2**20


@dataclass(frozen=True)
class FileType(Generic[_T]):
    """One kind of auxiliary file: the option that names it, and (name, bytes) → what it says.

    `find` takes the name of the data and the names in its directory. `candidates` are the names
    that the file can have, best first, for a store that cannot list. Data that can have such a file
    mostly have one if it is `essential`; others are looked for in a listing alone, and not on web
    servers. Files of more than `max_bytes` are something else, and parsing them would take a
    multiple of their size in memory: sidecars have some 40 KiB, an ``.mdoc`` of 5,000 sections some
    5 MiB.
    """

    argument: str
    parse: Callable[[str, bytes], _T]
    find: Callable[[str, Iterable[str]], str | None]
    candidates: Callable[[str], tuple[str, ...]]
    essential: bool = True
    max_bytes: int = 16 * _MIB


SIDECAR: FileType[Sidecar] = FileType(
    "metadata_file",
    lambda _, raw: parse_sidecar(raw),
    filenames.find_sidecar,
    filenames.sidecar_candidates,
)
SCAN_POINTS: FileType[tuple[Points, tuple[str, ...]]] = FileType(
    "scan_file",
    lambda _, raw: parse_scan_points(raw),
    filenames.find_scan_points,
    filenames.scan_points_candidates,
    max_bytes=64 * _MIB,  # six million points
)
TILT_ANGLES: FileType[tuple[str, npt.NDArray[np.float64]]] = FileType(
    "tilt_file",
    lambda name, raw: (name, parse_tilts(name, raw)),
    find_tilt_file,
    tilt_file_candidates,
    essential=False,
)


def choose(wanted: object) -> Choice:
    """Return what an option asks for: to look for a file, to use none, or a named one."""
    if wanted is None:
        return "none"
    return "auto" if isinstance(wanted, str) and wanted == "auto" else "named"


class AuxiliaryFile(Generic[_T]):
    """An auxiliary file as its option asks for it; "auto" looks in the directory of the data."""

    def __init__(self, kind: FileType[_T], wanted: NamedFile, directory: Directory) -> None:
        self.kind = kind
        self._wanted = wanted
        self.directory = directory
        self._choice = choose(wanted)
        self._content: list[_T | None] = []

    @property
    def named(self) -> bool:
        """Whether the caller names the file."""
        return self._choice == "named"

    @property
    def shown(self) -> str:
        """The file that the caller names, without secrets."""
        if is_filename(self._wanted):
            return Location.of(self._wanted).shown
        return self.kind.argument

    def read(self, notes: Notes) -> _T | None:
        """Read and parse the file, once; None if it is not wanted, or none is found."""
        if not self._content:
            self._content.append(self._read(notes))
        return self._content[0]

    def _read(self, notes: Notes) -> _T | None:
        if self._choice == "none":
            return None
        if self._choice == "auto":
            return self._look(notes)
        wanted = self._wanted
        if is_filename(wanted):
            return self._parse(locate(wanted, self.directory.location))
        if not hasattr(wanted, "read"):
            raise ArgumentError(
                f"{self.kind.argument} is a {type(wanted).__name__}",
                code="argument-type-invalid",
                argument=self.kind.argument,
                cause="a file is needed",
                remedy='pass "auto", None, a path, a URL, or an open file or text stream',
            )
        name = getattr(wanted, "name", "")
        content = _read_stream(wanted, self.directory.location, self.kind)
        _require_small(content, self.kind)
        return self.kind.parse(PurePath(name).name if isinstance(name, str) else "", content)

    def absence(self) -> str:
        """Explain why there is none, where `read` returned None."""
        if self._choice == "none":
            return f"{self.kind.argument}=None says to use none"
        if candidates := self.kind.candidates(self.directory.location.name):
            return f"looked for next to the movie: {', '.join(candidates)}"
        return "it is only looked for next to a file called *_movie.mrc"

    def _look(self, notes: Notes) -> _T | None:
        """Read the file that is found by its name, beside the data."""
        kind, data = self.kind, self.directory.location
        candidates = kind.candidates(data.name)
        if not candidates or not (kind.essential or self.directory.can_be_listed):
            return None
        if self.directory.listing is not None:
            name = kind.find(data.name, self.directory.listing)
            return None if name is None else self._parse(data.sibling(name))
        # A store that cannot list, such as plain HTTP.
        for name in candidates if kind.essential else ():
            try:
                return self._parse(data.sibling(name))
            except MissingFileError:
                continue
            except AccessDeniedError as error:  # S3's answer to who may not list, too
                notes.add(
                    f"could not check for {name} next to the data ({error.cause}); "
                    f"pass {kind.argument}=..., or {kind.argument}=None to skip it"
                )
        return None

    def _parse(self, location: Location) -> _T:
        content = read_whole(location, self.kind.max_bytes + 1)
        with errors_at(location):  # not at the data beside which it is read
            _require_small(content, self.kind)
            return self.kind.parse(location.name, content)


def _require_small(content: bytes, kind: FileType[Any]) -> None:
    """Raise if a file, of which no more was read than tells, is too large to be of this kind."""
    if len(content) > kind.max_bytes:
        raise SidecarError(
            f"a file of more than {kind.max_bytes // _MIB} MiB is given for {kind.argument}; it "
            f"begins with {content[:40]!r}",
            code="auxiliary-file-too-large",
            argument=kind.argument,
            cause="it is a different kind of file, such as a data file, or it is damaged",
            remedy=f"pass the right file as {{{kind.argument}}}, or {{{kind.argument}=None}} to "
            "read without it",
        )


def _read_stream(stream: Any, location: Location, kind: FileType[Any]) -> bytes:
    """Read an open file from where it stands to its end; it may give less than is asked for."""
    argument = kind.argument

    def unreadable(what: str, cause: str, remedy: str) -> ArgumentError:
        return ArgumentError(
            f"{argument} {what}",
            code="stream-unreadable",
            argument=argument,
            cause=cause,
            remedy=remedy,
        )

    content = bytearray()
    try:
        while len(content) <= kind.max_bytes and (piece := stream.read(_MIB)):
            # Of text, bytes that could not be decoded may be kept as surrogates.
            text = isinstance(piece, str)
            content += piece.encode("utf-8", "surrogateescape") if text else memoryview(piece)
    except UnicodeError as error:
        raise unreadable(
            "is a text stream that cannot be decoded",
            location.scrub(str(error)),
            "pass its .buffer, the file opened in binary mode, or its path",
        ) from None
    except Exception as error:  # noqa: BLE001 streams are of many kinds
        raise unreadable(
            "cannot be read",
            location.scrub(f"{type(error).__name__}: {error}"),
            "pass a path, or a file that is open for reading",
        ) from None
    if not content:
        raise unreadable(
            "has nothing to read",
            "the stream is empty, or has already been read to its end",
            "rewind it with seek(0), or pass a path",
        )
    return bytes(content)


def find_sidecars(
    files: Sequence[Location], wanted: NamedFile, directory: Directory, notes: Notes
) -> tuple[list[Sidecar], list[Sidecar | None]]:
    """Read the sidecar of each file; one that the caller names holds for all files.

    `files` are in the order of their frames, `directory` is that of the first. Returns the sidecars
    that say together what the files are, each once: several only if they differ, none where some
    files have no sidecar. And the sidecar of each file.
    """
    if choose(wanted) != "auto" or len(files) == 1:
        of_each = [AuxiliaryFile(SIDECAR, wanted, directory).read(notes)] * len(files)
    else:
        of_each = _beside(files, directory, notes)
    distinct = list({id(sidecar): sidecar for sidecar in of_each}.values())
    found = [sidecar for sidecar in distinct if sidecar is not None]
    if found and len(found) < len(distinct):
        text = "some of the files have a sidecar and others none: none is used"
        more = "except for the signedness of bytes; metadata_file applies one to all files"
        notes.add(Note("files-differ-sidecar", f"{text} {more}"))
        return [], of_each
    equal = all(sidecar.values == found[0].values for sidecar in found)
    return found[:1] if equal else found, of_each


def _beside(files: Sequence[Location], directory: Directory, notes: Notes) -> list[Sidecar | None]:
    """Read the sidecar beside each file, every one of them once."""
    folders: dict[str, list[Location]] = {}
    for file in files:
        if SIDECAR.candidates(file.name):
            folders.setdefault(_folder(file), []).append(file)
    first = _folder(files[0])

    def names_in(folder: str) -> tuple[str, ...] | None:
        return directory.listing if folder == first else folders[folder][0].list_siblings()

    listings = several_at_a_time(names_in, list(folders))
    own: dict[str, _Acquisition] = {}
    auxiliary: dict[_Acquisition, AuxiliaryFile[Sidecar]] = {}
    for (folder, movies), listing in zip(folders.items(), listings, strict=True):
        names = filenames.find_sidecars([movie.name for movie in movies], listing or ())
        for movie in movies:
            name = names[movie.name] or ""
            acquisition = (folder, filenames.acquisitions([movie.name])[0], name)
            own[movie.url] = acquisition
            if acquisition not in auxiliary:
                # Of many names, these decide; a store that cannot list has to be asked for each.
                of_these = None if listing is None else (movie.name, name)
                beside = Directory.listed_as(movie, of_these)
                auxiliary[acquisition] = AuxiliaryFile(SIDECAR, "auto", beside)
    said = {acquisition: Notes() for acquisition in auxiliary}
    read = several_at_a_time(lambda each: auxiliary[each].read(said[each]), list(auxiliary))
    found = dict(zip(auxiliary, read, strict=True))
    for each in said.values():
        notes.add(*each)
    # A part in another folder has its sidecar where the first part is.
    by_name = {name: sidecar for (_, name, _), sidecar in found.items() if sidecar}
    acquisitions = [own.get(file.url) for file in files]
    return [each and (found[each] or by_name.get(each[1])) for each in acquisitions]


def _folder(file: Location) -> str:
    return file.url.removesuffix(file.name) if file.is_local else file.sibling("_").url
