"""The sidecars of a list of files: movies of several acquisitions have one each."""

from __future__ import annotations

from collections.abc import Sequence

from mrcdist.discover.auxiliary_files import SIDECAR, AuxiliaryFile, NamedFile, choose
from mrcdist.discover.directory import Directory
from mrcdist.discover.mrc_file import several_at_a_time
from mrcdist.format.direct_electron import filenames
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Note, Notes

__all__ = ["find_sidecars"]

# Folder, name of the acquisition, and of its sidecar; "" if that is not known.
_Acquisition = tuple[str, str, str]


def find_sidecars(
    files: Sequence[Location], wanted: NamedFile, directory: Directory, notes: Notes
) -> tuple[list[Sidecar], list[Sidecar | None]]:
    """Read the sidecar of each file; one that the caller names holds for all files.

    Parameters
    ----------
    files : sequence of Location
        In the order of their frames.
    wanted : "auto", None, path, URL or open file
    directory : Directory
        That of the first file.
    notes : Notes

    Returns
    -------
    sidecars : list of Sidecar
        Those that say together what the files are, each once: several only if they differ. None
        where some files have no sidecar.
    of_each : list of Sidecar or None
        That of each file.
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
