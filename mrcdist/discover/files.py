"""The files of a dataset, as URLs, lists and patterns name them, and their directory."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mrcdist.errors import ArgumentError, MissingFileError, MrcdistError
from mrcdist.format.direct_electron.filenames import acquisitions, find_gap, find_parts, is_numbered
from mrcdist.storage.location import Location
from mrcdist.storage.url import as_path, is_filename, text_of, without_unsafe_caches
from mrcdist.warning_notes import Notes

# One section of a stack, as RELION and SPIDER name it.
_SECTION = re.compile(r"([0-9]{1,18})@(.+)", re.DOTALL)
# A file and its format, as Xmipp and RELION name it.
_FORMAT = re.compile(r"(.+):mrcs?", re.DOTALL)

_BUCKETS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci")

Filename = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@contextmanager
def errors_at(location: Location) -> Iterator[None]:
    """Add the file to an error that does not name it."""
    try:
        yield
    except MrcdistError as error:
        raise error.located(location.shown) from None


class Directory:
    """The directory of a file, listed when its names are first needed."""

    def __init__(self, location: Location) -> None:
        self.location = location

    @cached_property
    def listing(self) -> tuple[str, ...] | None:
        """Names of the files; None if they cannot be listed."""
        return self.location.list_siblings()

    @classmethod
    def listed_as(cls, location: Location, names: tuple[str, ...] | None) -> Directory:
        """Return the directory of a file with what is known of its names."""
        directory = cls(location)
        directory.__dict__["listing"] = names
        return directory

    @property
    def can_be_listed(self) -> bool:
        """Whether listing is worth a request: web servers mostly cannot, or refuse to."""
        return re.match("https?://", self.location.url.rpartition("::")[2]) is None

    @property
    def listed(self) -> tuple[str, ...]:
        """Names of the files as far as they have been asked for; asks for nothing."""
        return vars(self).get("listing") or ()


@dataclass(frozen=True)
class FoundFiles:
    """The files of one dataset, in the order of their frames, and the directory of the first.

    `section` is the number, from 1, of the only one that is meant.
    """

    files: tuple[Location, ...]
    directory: Directory
    section: int | None = None

    @classmethod
    def of(cls, *files: Location) -> FoundFiles:
        """Take files as they stand."""
        return cls(files, Directory(files[0]))


def find_files(
    filename: Filename, storage_options: Mapping[str, Any] | None, notes: Notes
) -> FoundFiles:
    """Resolve a name, a list of names, a glob, or the first of numbered parts.

    A list is taken as it stands. A glob (``*``, ``[0-9]``, and ``?`` on a disk, in the file's name)
    stands for the parts of one acquisition, in the order of their numbers. The first of numbered
    parts stands for all of them; in a list of one, for itself. ``000003@`` before the name stands
    for the third section; ``:mrcs`` and ``:mrc`` behind it stand for nothing. Notes are what is odd
    about the names, or could not be found out.
    """
    if isinstance(filename, Sequence) and not isinstance(filename, str | bytes):
        notes.add(*_unused_caches(filename))
        if not filename:
            raise ArgumentError(
                "the list of files is empty",
                code="files-missing",
                argument="filename",
                cause="a dataset has at least one file",
                remedy="pass at least one file",
            )
        files = [_located(name, storage_options) for name in filename]
        _check_once(files)
        if gap := find_gap([file.name for file in files]):
            notes.add(f"{gap} is missing from the list, which contains later parts")
        return FoundFiles.of(*files)
    one = _SECTION.match(os.fsdecode(filename)) if isinstance(filename, str | os.PathLike) else None
    location = Location.of(filename, storage_options)
    if one is not None and not (location.is_local and location.exists()):
        notes.add(*_unused_caches([one[2]]))
        location = _located(one[2], storage_options)
        return FoundFiles((location,), Directory(location), int(one[1]))
    location = _located(filename, storage_options)
    notes.add(*_unused_caches([filename]))
    if _is_pattern(location):
        files = _glob(location)
        _check_once(files)
        return FoundFiles.of(*files)
    if not is_numbered(location.name):
        return FoundFiles.of(location)
    return _with_later_parts(location, notes)


def _located(name: Any, storage_options: Mapping[str, Any] | None) -> Location:
    """Return where a file is, without the format behind its name unless there is such a file."""
    location = Location.of(name, storage_options)
    if _FORMAT.fullmatch(location.name) is None or location.exists():
        return location
    return location.sibling(location.name.rpartition(":")[0])


def _unused_caches(names: Iterable[object]) -> list[str]:
    """Note once which caches in the names are not used."""
    texts = [text_of(name) for name in names if is_filename(name)]
    found = {
        name for text in texts if as_path(text) is None for name in without_unsafe_caches(text)[1]
    }
    return [
        f"{name}:: is not used, every read goes to the store: fsspec does not update its cache if "
        "the file changes; simplecache:: before the whole URL keeps a copy of one version"
        for name in sorted(found)
    ]


def _with_later_parts(location: Location, notes: Notes) -> FoundFiles:
    """The first of numbered parts and all others; any other file alone."""
    directory = Directory(location)
    if directory.listing is None:
        notes.add(
            "cannot list the folder to look for further parts; "
            "pass all parts, or this file alone, as a list"
        )
        return FoundFiles((location,), directory)
    first, *others = find_parts(location.name, directory.listing)
    if location.name != first:
        return FoundFiles((location,), directory)
    return FoundFiles((location, *(location.sibling(name) for name in others)), directory)


def _check_once(files: list[Location]) -> None:
    names: dict[Hashable, list[str]] = {}
    for file in files:
        for place in _places(file):
            names.setdefault(place, []).append(file.shown)
    for shown in names.values():
        if len(shown) > 1:
            others = dict.fromkeys(name for name in shown if name != shown[0])
            raise ArgumentError(
                f"{shown[0]} is listed {len(shown)} times"
                f"{', also as ' * bool(others)}{', '.join(others)}",
                code="file-listed-twice",
                argument="filename",
                cause="its frames would be in the dataset more than once",
                remedy="list each file once",
            )


def _places(file: Location) -> tuple[Hashable, ...]:
    """What tells files apart: on a disk, one file has many names, through links and mounts."""
    if not file.is_local:
        return (file.url,)
    path = os.path.realpath(file.url)
    try:
        found = Path(path).stat()
    except OSError:  # opening it says what is wrong
        return (path,)
    # Some filesystems have no numbers for their files, and some give one to several.
    number = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return (path, number) if found.st_ino else (path,)


def _is_pattern(location: Location) -> bool:
    """Whether the file's name has wildcards; a file that is called so is that file."""
    name = location.name
    brackets = re.search(r"\[.+\]", name) is not None
    if location.is_local:
        return (brackets or "*" in name or "?" in name) and not location.exists()
    return "*" in name or (brackets and not location.exists())


def _glob(pattern: Location) -> list[Location]:
    try:
        files = pattern.list_files()
    except MissingFileError:  # there is no such folder
        files = ()
    names = _matching(pattern, files)
    if not names:
        raise MissingFileError(
            f"no file matches {pattern.shown}",
            code="pattern-unmatched",
            cause="the folder has no such file, or is not mounted here",
            remedy="check the pattern; only the file's name may contain wildcards",
        )
    names.sort(key=_numbers)
    if len(several := acquisitions(names)) > 1:
        raise ArgumentError(
            f"{pattern.shown} matches movies of {len(several)} acquisitions: "
            f"{', '.join(several[:3])}{' ...' if several[3:] else ''}",
            code="pattern-ambiguous",
            argument="filename",
            cause="a pattern must match the parts of a single movie",
            remedy="name one acquisition, or pass a list of movies to concatenate them",
        )
    if gap := find_gap(names):
        raise MissingFileError(
            f"{pattern.shown} matches parts before and after {gap}, which it does not match",
            code="part-missing",
            cause="the part was not copied, is still being written, or the pattern leaves it out",
            remedy="copy it to the folder, or pass the parts to read as a list",
        )
    return [pattern.sibling(name) for name in names]


def _matching(pattern: Location, files: Sequence[str]) -> list[str]:
    """The files that a pattern matches; brackets are taken as they stand where that fits any."""
    # As in a shell, no wildcard stands for the dot of a hidden file.
    hidden = pattern.name.startswith(".")
    seen = [file for file in files if hidden or not file.startswith(".")]
    for name in (pattern.name.replace("[", "[[]"), pattern.name):
        if not pattern.is_local:  # ? begins a query
            name = re.sub(r"(\[.+?\])|\?", lambda found: found[1] or "[?]", name)
        if matching := [file for file in seen if fnmatch.fnmatchcase(file, name)]:
            return matching
    return []


def _numbers(name: str) -> list[tuple[int, str]]:
    """Sort key: part 10 comes behind part 9."""
    return [
        (int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", name)
    ]


def locate(path: str | os.PathLike[str], data: Location) -> Location:
    """Locate a file that the caller names beside some data.

    The storage options of the data, credentials among them, serve it only if it is in the same
    store: on the same host and port, or in buckets of the same kind.
    """
    named = Location.of(path)
    same = not named.is_local and _store(named) == _store(data)
    return Location.of(path, data.storage_options) if same else named


def _store(location: Location) -> tuple[str, ...]:
    """The protocols of a chain of URLs and the host; an account may have many buckets."""
    *outer, last = location.url.split("::")
    target = urlsplit(last)
    _, account, host = target.netloc.rpartition("@")  # abfs://container@account
    if target.scheme in _BUCKETS and not account:
        host = ""
    return (*(link.partition(":")[0] for link in outer), target.scheme, host.lower())
