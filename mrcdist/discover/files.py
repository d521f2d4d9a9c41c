"""The files of a dataset, given as a URL, a list or a pattern, and their directory."""

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
from mrcdist.warning_notes import Note, Notes

# One section of a stack, in the notation of RELION and SPIDER.
_SECTION = re.compile(r"([0-9]{1,18})@(.+)", re.DOTALL)
# A file and its format, in the notation of Xmipp and RELION.
_FORMAT = re.compile(r"(.+):mrcs?", re.DOTALL)

_BUCKETS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci")

Filename = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@contextmanager
def errors_at(location: Location) -> Iterator[None]:
    """Add the location of a file to errors that have none."""
    try:
        yield
    except MrcdistError as error:
        raise error.located(location.shown) from None


class Directory:
    """The directory of a file, listed when the names in it are first needed."""

    def __init__(self, location: Location) -> None:
        self.location = location

    @cached_property
    def listing(self) -> tuple[str, ...] | None:
        """Names of the files; None if they cannot be listed."""
        return self.location.list_siblings()

    @property
    def can_be_listed(self) -> bool:
        """Whether listing is worth a request: most web servers cannot list, or refuse to."""
        return re.match("https?://", self.location.url.rpartition("::")[2]) is None

    @property
    def known_names(self) -> tuple[str, ...]:
        """Names of the files if they have been listed; makes no request."""
        return vars(self).get("listing") or ()


@dataclass(frozen=True)
class FoundFiles:
    """The files of one dataset, in the order of their frames, and the directory of the first.

    If only one section is selected, `section` is its number, from 1.
    """

    files: tuple[Location, ...]
    directory: Directory
    section: int | None = None

    @classmethod
    def of(cls, *files: Location) -> FoundFiles:
        """Return a dataset of exactly these files."""
        return cls(files, Directory(files[0]))


def find_files(
    filename: Filename, storage_options: Mapping[str, Any] | None, notes: Notes
) -> FoundFiles:
    """Resolve a name, a list of names, a glob, or the first of numbered parts.

    A list is used as it is. A glob (``*``, ``[0-9]``, and ``?`` on a disk, in the last component)
    matches the parts of one acquisition, in the order of their numbers. The first of numbered parts
    finds the others, unless it is passed as a list of one. ``000003@name`` selects the third
    section; ``:mrcs`` and ``:mrc`` after a name are ignored. Adds notes about unusual names.
    """
    if isinstance(filename, Sequence) and not isinstance(filename, str | bytes):
        _note_unused_caches(filename, notes)
        if not filename:
            raise ArgumentError(
                "the list of files is empty",
                code="files-missing",
                argument="filename",
                cause="a dataset has at least one file",
                remedy="pass at least one file",
            )
        files = [_locate_data(name, storage_options) for name in filename]
        _require_distinct(files)
        if gap := find_gap([file.name for file in files]):
            text = f"{gap} is missing from the list, which contains later parts"
            notes.add(Note("part-unlisted", text))
        return FoundFiles.of(*files)
    location = Location.of(filename, storage_options)
    is_name = isinstance(filename, str | os.PathLike)
    section = _SECTION.match(os.fsdecode(filename)) if is_name else None
    if section is not None and not (location.is_local and location.exists()):
        _note_unused_caches([section[2]], notes)
        location = _locate_data(section[2], storage_options)
        return FoundFiles((location,), Directory(location), int(section[1]))
    location = _locate_data(filename, storage_options)
    _note_unused_caches([filename], notes)
    if _is_pattern(location):
        return _glob(location)
    return _with_later_parts(location, notes)


def _locate_data(name: Any, storage_options: Mapping[str, Any] | None) -> Location:
    """Return the location of a file, without a format after its name unless that file exists."""
    location = Location.of(name, storage_options)
    if _FORMAT.fullmatch(location.name) is None or location.exists():
        return location
    return location.sibling(location.name.rpartition(":")[0])


def _note_unused_caches(names: Iterable[object], notes: Notes) -> None:
    """Add one note for each kind of cache in the names that is not used."""
    texts = [text_of(name) for name in names if is_filename(name)]
    caches = {
        cache for text in texts if as_path(text) is None for cache in without_unsafe_caches(text)[1]
    }
    for cache in sorted(caches):
        text = (
            f"{cache}:: is not used, every read goes to the store: fsspec does not update its "
            "cache if the file changes; simplecache:: before the whole URL keeps a copy of one "
            "version"
        )
        notes.add(Note("cache-unused", text))


def _with_later_parts(location: Location, notes: Notes) -> FoundFiles:
    """Return all parts if the file is the first of numbered parts, or else the file alone."""
    directory = Directory(location)
    files: tuple[Location, ...] = (location,)
    if is_numbered(location.name):
        if directory.listing is None:
            text = (
                "cannot list the folder to look for further parts; "
                "pass all parts, or this file alone, as a list"
            )
            notes.add(Note("parts-unchecked", text))
        else:
            first, *others = find_parts(location.name, directory.listing)
            if location.name == first:
                files = (location, *(location.sibling(name) for name in others))
    return FoundFiles(files, directory)


def _require_distinct(files: list[Location]) -> None:
    names: dict[Hashable, list[str]] = {}
    for file in files:
        for key in _identities(file):
            names.setdefault(key, []).append(file.shown)
    for first, *repeated in names.values():
        if repeated:
            others = dict.fromkeys(name for name in repeated if name != first)
            raise ArgumentError(
                f"{first} is listed {len(repeated) + 1} times"
                f"{', also as ' * bool(others)}{', '.join(others)}",
                code="file-listed-twice",
                argument="filename",
                cause="its frames would be in the dataset more than once",
                remedy="list each file once",
            )


def _identities(file: Location) -> tuple[Hashable, ...]:
    """Return keys that identify a file; on a disk, links and mounts give it several names."""
    if not file.is_local:
        return (file.url,)
    path = os.path.realpath(file.url)
    try:
        stat = Path(path).stat()
    except OSError:  # reported when the file is opened
        return (path,)
    # Some filesystems have no inode numbers, and some use a number for several files.
    inode = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return (path, inode) if stat.st_ino else (path,)


def _is_pattern(location: Location) -> bool:
    """Whether the file name has wildcards, and no file has this very name."""
    name = location.name
    brackets = re.search(r"\[.+\]", name) is not None
    if location.is_local:
        return (brackets or "*" in name or "?" in name) and not location.exists()
    return "*" in name or (brackets and not location.exists())


def _glob(pattern: Location) -> FoundFiles:
    """Return the parts of one acquisition that match a pattern, and their directory as listed."""
    try:
        listing = pattern.list_files()
    except MissingFileError:  # the folder does not exist
        listing = ()
    names = _matching(pattern, listing)
    # Part 10 comes after part 9.
    names.sort(key=lambda name: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", name)])
    if not names:
        raise MissingFileError(
            f"no file matches {pattern.shown}",
            code="pattern-unmatched",
            cause="the folder has no such file, or is not mounted here",
            remedy="check the pattern; only the file's name may contain wildcards",
        )
    if len(stems := acquisitions(names)) > 1:
        raise ArgumentError(
            f"{pattern.shown} matches movies of {len(stems)} acquisitions: "
            f"{', '.join(stems[:3])}{' ...' if stems[3:] else ''}",
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
    files = [pattern.sibling(name) for name in names]
    _require_distinct(files)
    found = FoundFiles.of(*files)
    found.directory.listing = listing
    return found


def _matching(pattern: Location, files: Sequence[str]) -> list[str]:
    """Return the files that match a pattern; brackets are literal if any name then matches."""
    # As in a shell, wildcards do not match the dot of a hidden file.
    with_hidden = pattern.name.startswith(".")
    candidates = [file for file in files if with_hidden or not file.startswith(".")]
    for name in (pattern.name.replace("[", "[[]"), pattern.name):
        if not pattern.is_local:  # in URLs, ? starts a query
            name = re.sub(r"(\[.+?\])|\?", lambda match: match[1] or "[?]", name)
        if matching := [file for file in candidates if fnmatch.fnmatchcase(file, name)]:
            return matching
    return []


def locate(path: str | os.PathLike[str], data: Location, argument: str = "filename") -> Location:
    """Return the location of an auxiliary file that the caller passes.

    The storage options of the data, including credentials, apply only if it is in the same store:
    on the same host and port, or in buckets of the same kind.
    """
    location = Location.of(path, argument=argument)
    same_store = not location.is_local and _store(location) == _store(data)
    return Location.of(path, data.storage_options, argument) if same_store else location


def _store(location: Location) -> tuple[str, ...]:
    """Return the protocols of a chain of URLs, and the host; one account may have many buckets."""
    *outer, last = location.url.split("::")
    target = urlsplit(last)
    _, account, host = target.netloc.rpartition("@")  # abfs://container@account
    if target.scheme in _BUCKETS and not account:
        host = ""
    return (*(link.partition(":")[0] for link in outer), target.scheme, host.lower())
