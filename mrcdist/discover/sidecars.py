"""The sidecars of a list of files: movies of several acquisitions have one each."""

from __future__ import annotations

from collections.abc import Sequence

from mrcdist.discover.auxiliary_files import SIDECAR, AuxiliaryFile, NamedFile, choose
from mrcdist.discover.directory import Directory
from mrcdist.discover.mrc_file import several_at_a_time
from mrcdist.format.direct_electron.filenames import acquisitions
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.plan.agreement import agreed_sidecar
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Notes

__all__ = ["find_sidecars"]

# Folder, name of the acquisition, and of its sidecar if it is known; "" for a file without any.
_Acquisition = tuple[str, str, str]


def find_sidecars(
    files: Sequence[Location], wanted: NamedFile, directory: Directory, notes: Notes
) -> tuple[Sidecar | None, list[Sidecar | None]]:
    """Read the sidecar of each file.

    Parameters
    ----------
    files : sequence of Location
        In the order of their frames.
    wanted : "auto", None, path, URL or open file
        What the caller names holds for all files.
    directory : Directory
        That of the first file.
    notes : Notes

    Returns
    -------
    agreed : Sidecar or None
        What holds for all files.
    of_each : list of Sidecar or None
        That of each file.

    Raises
    ------
    MrcdistError
        A file that the caller names cannot be read, or what is read is no sidecar.
    """
    named = choose(wanted) != "auto"
    if named or len(files) == 1 or not any(SIDECAR.candidates(file.name) for file in files):
        sidecar = AuxiliaryFile(SIDECAR, wanted, directory).read(notes)
        return sidecar, [sidecar] * len(files)
    folders = {_folder(files[0]): directory}
    own: list[_Acquisition] = []
    auxiliary: dict[_Acquisition, AuxiliaryFile[Sidecar]] = {}
    for file in files:
        folder = folders.setdefault(_folder(file), Directory(file)).with_file(file)
        own.append((_folder(file), *_acquisition(folder)))
        auxiliary.setdefault(own[-1], AuxiliaryFile(SIDECAR, wanted, folder))
    said = {acquisition: Notes() for acquisition in auxiliary}
    read = several_at_a_time(lambda each: auxiliary[each].read(said[each]), list(auxiliary))
    found = dict(zip(auxiliary, read, strict=True))
    for each in said.values():
        notes.add(*each)
    # A part in another folder has its sidecar where the first part is.
    by_name = {name: sidecar for (_, name, _), sidecar in found.items() if name and sidecar}
    of_each = [found[each] or by_name.get(each[1]) for each in own]
    distinct = {id(sidecar): sidecar for sidecar in of_each}
    return agreed_sidecar(list(distinct.values()), notes), of_each


def _folder(file: Location) -> str:
    return file.url.removesuffix(file.name) if file.is_local else file.sibling("_").url


def _acquisition(folder: Directory) -> tuple[str, str]:
    name = folder.location.name
    if not SIDECAR.candidates(name):
        return "", ""
    beside = None if folder.listing is None else SIDECAR.find(name, folder.listing)
    return acquisitions([name])[0], beside or ""
