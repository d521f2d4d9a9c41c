"""Auxiliary files: sidecar, scan points, tilt angles.

Each has an option that accepts "auto", None, a path, a URL or an open file. A `FileType` describes
one kind of file: its option, its names, its parser. An `AuxiliaryFile` reads what the option says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import IO, Any, Generic, Literal, TypeVar

from mrcdist.discover.files import Directory, errors_at, locate
from mrcdist.discover.mrc_file import map_concurrently
from mrcdist.errors import AccessDeniedError, ArgumentError, MissingFileError, SidecarError
from mrcdist.format.direct_electron import filenames
from mrcdist.format.direct_electron.filenames import SCAN_POINTS_ENDING, SIDECAR_ENDING
from mrcdist.format.direct_electron.scan_points import Points, parse_scan_points
from mrcdist.format.direct_electron.sidecar import Sidecar, parse_sidecar
from mrcdist.format.tilt_angles import find_tilt_file, parse_tilts, tilt_file_candidates
from mrcdist.plan.tilt_series import TiltSeries
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import read_whole
from mrcdist.storage.url import is_filename
from mrcdist.warning_notes import Note, Notes

NamedFile = str | os.PathLike[str] | IO[bytes] | IO[str] | None
Choice = Literal["auto", "none", "named"]
_T = TypeVar("_T")

# Folder, name of the acquisition, and name of its sidecar ("" if unknown).
_Acquisition = tuple[str, str, str]

_MIB = 2**20


@dataclass(frozen=True)
class FileType(Generic[_T]):
    """One kind of auxiliary file: the option for it, and a parser of (name, bytes).

    `find` takes the name of the data and the names in its directory. `candidates` returns the names
    that the file can have, best first. In stores that cannot list, these are tried one by one, but
    only for `essential` kinds, which are present next to most such data. Other kinds are found only
    in a listing, and never on web servers. A file of more than `max_bytes` is not of this kind, and
    parsing it would take a multiple of its size in memory: sidecars have about 40 KiB, an ``.mdoc``
    of 5,000 sections about 5 MiB.
    """

    argument: str
    parse: Callable[[str, bytes], _T]
    find: Callable[[str, Iterable[str]], str | None]
    candidates: Callable[[str], tuple[str, ...]]
    essential: bool = True
    max_bytes: int = 16 * _MIB


# To look for a file under another name, change its ending in format/direct_electron/filenames.py;
# for tilt angles, the names in format/tilt_angles.py.

SIDECAR: FileType[Sidecar] = FileType(
    "metadata_file",
    lambda _, raw: parse_sidecar(raw),
    partial(filenames.find_file, ending=SIDECAR_ENDING),
    partial(filenames.candidate_names, ending=SIDECAR_ENDING),
)
SCAN_POINTS: FileType[tuple[Points, tuple[Note, ...]]] = FileType(
    "scan_file",
    lambda _, raw: parse_scan_points(raw),
    partial(filenames.find_file, ending=SCAN_POINTS_ENDING),
    partial(filenames.candidate_names, ending=SCAN_POINTS_ENDING),
    max_bytes=64 * _MIB,  # six million points
)
TILT_ANGLES: FileType[TiltSeries] = FileType(
    "tilt_file",
    lambda name, raw: TiltSeries.of(parse_tilts(name, raw), name or "tilt_file"),
    find_tilt_file,
    tilt_file_candidates,
    essential=False,
)


def choose(argument: str, option: Any, *, many: bool = False) -> Choice:
    """Return whether an option asks to search for a file, to use none, or names one.

    If `many`, it names a list of files. Raises if the option is of another type.
    """
    if option is None or (isinstance(option, str) and option == "auto"):
        return "none" if option is None else "auto"
    is_list = isinstance(option, Sequence) and not isinstance(option, str | bytes)
    if is_list if many else is_filename(option) or hasattr(option, "read"):
        return "named"
    needed = "or a list of files" if many else "a path, a URL, or an open file or text stream"
    raise ArgumentError(
        f"`{argument}` is a {type(option).__name__}",
        code="argument-type-invalid",
        argument=argument,
        cause=f"{'a list of files' if many else 'a file'} is needed",
        remedy=f'pass "auto", None, {needed}',
    )


class AuxiliaryFile(Generic[_T]):
    """An auxiliary file that is read once; "auto" searches the directory of the data."""

    def __init__(self, kind: FileType[_T], option: NamedFile, directory: Directory) -> None:
        self.kind = kind
        self.directory = directory
        self._option = option
        self._choice = choose(kind.argument, option)
        self._content: tuple[_T | None] | None = None

    @property
    def named(self) -> bool:
        """Whether the caller passes the file."""
        return self._choice == "named"

    def read(self, notes: Notes) -> _T | None:
        """Read and parse the file, once; None if the option is None or no file is found."""
        if self._content is None:
            self._content = (self._read(notes),)
        return self._content[0]

    def _read(self, notes: Notes) -> _T | None:
        option, kind = self._option, self.kind
        if self._choice == "none":
            return None
        if self._choice == "auto":
            return self._search(notes)
        if is_filename(option):
            return self._read_location(locate(option, self.directory.location, kind.argument))
        name = getattr(option, "name", "")
        return self._parse(
            PurePath(name).name if isinstance(name, str) else "", self._read_stream(option)
        )

    def absence(self) -> str:
        """Return the reason why `read` returned None."""
        if self._choice == "none":
            return f"`{self.kind.argument}=None` was passed"
        if candidates := self.kind.candidates(self.directory.location.name):
            return f"looked for next to the movie: {', '.join(candidates)}"
        return "it is only looked for next to a file called *_movie.mrc"

    def _search(self, notes: Notes) -> _T | None:
        """Read the file that is found by its name, next to the data."""
        kind, data = self.kind, self.directory.location
        candidates = kind.candidates(data.name)
        if not candidates or not (kind.essential or self.directory.can_be_listed):
            return None
        if self.directory.listing is not None:
            name = kind.find(data.name, self.directory.listing)
            return None if name is None else self._read_location(data.sibling(name))
        # A store that cannot list, such as plain HTTP.
        for name in candidates if kind.essential else ():
            try:
                return self._read_location(data.sibling(name))
            except MissingFileError:
                continue
            except AccessDeniedError as error:  # in S3 also for missing files, without ListBucket
                text = (
                    f"could not check for {name} next to the data ({error.cause}); "
                    f"pass `{kind.argument}=...`, or `{kind.argument}=None` to skip it"
                )
                notes.add(Note("auxiliary-file-unchecked", text))
        return None

    def _read_location(self, location: Location) -> _T:
        content = read_whole(location, self.kind.max_bytes + 1)
        with errors_at(location):  # rather than at the data
            return self._parse(location.name, content)

    def _parse(self, name: str, content: bytes) -> _T:
        """Parse the content of a file, or its first ``max_bytes + 1`` bytes if it is longer."""
        kind = self.kind
        if len(content) > kind.max_bytes:
            raise SidecarError(
                f"a file of more than {kind.max_bytes // _MIB} MiB is given for `{kind.argument}`; "
                f"it begins with {content[:40]!r}",
                code="auxiliary-file-too-large",
                argument=kind.argument,
                cause="it is a different kind of file, such as a data file, or it is damaged",
                remedy=f"pass the right file as `{kind.argument}`, or `{kind.argument}=None` "
                "to read without it",
            )
        return kind.parse(name, content)

    def _read_stream(self, stream: Any) -> bytes:
        """Read an open file from its position to its end; a read may return less than asked for."""
        kind, scrub = self.kind, self.directory.location.scrub
        content = bytearray()
        try:
            while len(content) <= kind.max_bytes and (piece := stream.read(_MIB)):
                # In text, bytes that could not be decoded may be kept as surrogates.
                is_text = isinstance(piece, str)
                content += (
                    piece.encode("utf-8", "surrogateescape") if is_text else memoryview(piece)
                )
        except UnicodeError as error:
            problem, cause = "is a text stream that cannot be decoded", scrub(str(error))
            remedy = "pass its .buffer, the file opened in binary mode, or its path"
        except Exception as error:  # noqa: BLE001 streams of any kind
            problem, cause = "cannot be read", scrub(f"{type(error).__name__}: {error}")
            remedy = "pass a path, or a file that is open for reading"
        else:
            if content:
                return bytes(content)
            problem = "has nothing to read"
            cause = "the stream is empty, or has already been read to its end"
            remedy = "rewind it with seek(0), or pass a path"
        raise ArgumentError(
            f"`{kind.argument}` {problem}",
            code="stream-unreadable",
            argument=kind.argument,
            cause=cause,
            remedy=remedy,
        )


def find_sidecars(
    files: Sequence[Location], option: NamedFile, directory: Directory, notes: Notes
) -> tuple[list[Sidecar], list[Sidecar | None]]:
    """Read the sidecar of each file; one that the caller passes applies to all files.

    `files` are in the order of their frames, `directory` contains the first. Returns two lists:
    the distinct sidecars that describe the dataset (none if some files have no sidecar, several
    only if they differ), and the sidecar of each file.
    """
    if choose(SIDECAR.argument, option) != "auto" or len(files) == 1:
        by_file = [AuxiliaryFile(SIDECAR, option, directory).read(notes)] * len(files)
    else:
        by_file = _search_sidecars(files, directory, notes)
    sidecars = list({id(each): each for each in by_file if each is not None}.values())
    if sidecars and None in by_file:
        text = "some of the files have a sidecar and others none: none is used"
        more = "except for the signedness of bytes; `metadata_file` applies one to all files"
        notes.add(Note("files-differ-sidecar", f"{text} {more}"))
        return [], by_file
    equal = all(sidecar.values == sidecars[0].values for sidecar in sidecars)
    return sidecars[:1] if equal else sidecars, by_file


def _search_sidecars(
    files: Sequence[Location], directory: Directory, notes: Notes
) -> list[Sidecar | None]:
    """Read the sidecar next to each file; parts of one acquisition share one."""
    folders: dict[str, list[Location]] = {}
    for file in files:
        if SIDECAR.candidates(file.name):
            folders.setdefault(_folder(file), []).append(file)

    def list_folder(folder: str) -> tuple[str, ...] | None:
        is_first = folder == _folder(files[0])
        return directory.listing if is_first else folders[folder][0].list_siblings()

    listings = map_concurrently(list_folder, list(folders))
    by_url: dict[str, _Acquisition] = {}
    auxiliary: dict[_Acquisition, AuxiliaryFile[Sidecar]] = {}
    for (folder, movies), listing in zip(folders.items(), listings, strict=True):
        names = filenames.find_sidecars([movie.name for movie in movies], listing or ())
        for movie in movies:
            name = names[movie.name] or ""
            acquisition = (folder, filenames.acquisitions([movie.name])[0], name)
            by_url[movie.url] = acquisition
            if acquisition not in auxiliary:
                # Keep only the names that matter for this movie: the listing may be long.
                listed = Directory(movie)
                listed.listing = None if listing is None else (movie.name, name)
                auxiliary[acquisition] = AuxiliaryFile(SIDECAR, "auto", listed)
    own_notes = {acquisition: Notes() for acquisition in auxiliary}
    contents = map_concurrently(lambda key: auxiliary[key].read(own_notes[key]), list(auxiliary))
    sidecars = dict(zip(auxiliary, contents, strict=True))
    for each in own_notes.values():
        notes.add(*each)
    # Parts in other folders share the sidecar next to the first part.
    by_name = {name: sidecar for (_, name, _), sidecar in sidecars.items() if sidecar}
    acquisitions = [by_url.get(file.url) for file in files]
    return [key and (sidecars[key] or by_name.get(key[1])) for key in acquisitions]


def _folder(file: Location) -> str:
    return file.url.removesuffix(file.name) if file.is_local else file.sibling("_").url
