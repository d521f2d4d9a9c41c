"""A new Zarr hierarchy on a disk or in a store: unfinished until it is whole, then named."""

from __future__ import annotations

import importlib
import json
import os
import posixpath
import uuid
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy.typing as npt

from mrcdist.errors import ArgumentError, MissingFileError, MrcdistError
from mrcdist.interop.zarr_layouts import Hierarchy, NewArray
from mrcdist.plan.selection import Box
from mrcdist.storage.local_files import replace_path, restore_path
from mrcdist.storage.location import Location, StoreCalls
from mrcdist.write.errors import exists, interrupted, write_errors
from mrcdist.write.place import check_folder

_PLAN = "plan.json"
_ROOTS = ("zarr.json", ".zgroup", ".zarray")
_DOCUMENTS = (*_ROOTS, ".zattrs", ".zmetadata")
# Of Blosc: higher levels take longer than reading the file, and save little.
_LEVEL = 1


@dataclass(frozen=True)
class ZarrDestination:
    """A hierarchy that is being written; picklable, opened by each task for itself.

    Beside it, a folder ``NAME.mrcdist-write`` has the plan, and an empty file for each block that
    is written. On a disk, the arrays are in there too, until all of it gets its name by a rename.
    Elsewhere, they are where they belong, without the document of the root group, which comes last:
    until then, nothing opens the hierarchy. If it `replaces` another one there, the arrays are in
    the folder until they are complete; then the other one is deleted, and the store copies them, in
    an order in which nothing opens a part of one of them.

    `root` is the name of that document, and `held` what is in it. `mark` is in the names of what
    one call writes: tasks of an earlier call find nothing of theirs.
    """

    location: Location
    root: str = ""
    held: str = field(default="", repr=False)
    mark: str = ""
    replaces: bool = False

    @property
    def folder(self) -> Location:
        """The folder for what is needed until the end."""
        dot = "." if self.location.is_local else ""
        return self.location.sibling(f"{dot}{self.location.name}.mrcdist-write")

    @property
    def tree(self) -> Location:
        """The folder in which the arrays are written."""
        if not (self.location.is_local or self.replaces):
            return self.location
        return replace(self.folder, url=posixpath.join(self.folder.url, f"tree-{self.mark}"))

    def begin(
        self,
        about: Mapping[str, Any],
        hierarchy: Hierarchy,
        compressor: str,
        *,
        overwrite: bool,
        resume: bool,
    ) -> ZarrDestination:
        """Write the metadata, or find what an earlier call has written; tasks write to the result.

        `about` tells this conversion from any other, and is JSON-serialisable. Raises an
        `ArgumentError` if the destination exists, is being written, or an earlier call wrote
        another one.
        """
        replaces = self.check_place(overwrite=overwrite)
        with write_errors(self.location), TemporaryDirectory() as made:
            _create(Path(made), hierarchy, compressor)
            root = Path(made, hierarchy.root)
            new = replace(self, root=root.name, held=root.read_text(encoding="utf-8"))
            root.unlink()
            earlier = self.earlier()
            if earlier is not None:
                again = replace(new, mark=earlier["mark"], replaces=earlier["replaces"])
                if resume and earlier["about"] == about and again._is_open():
                    again._upload(Path(made))
                    return again
                if replaces and not again._is_open():  # killed after its last step but this
                    self._forget()
                else:
                    other = earlier["about"] not in (None, about)
                    if other if resume else not overwrite:
                        differs = (earlier["about"], about) if resume else None
                        raise interrupted(self.location.shown, self.folder.shown, differs)
                    again.abandon()
                    replaces = self.check_place(overwrite=overwrite)  # it may be back
            begun = replace(new, mark=uuid.uuid4().hex[:8], replaces=replaces)
            begun._claim(about)
            try:
                begun._upload(Path(made))
            except BaseException:
                begun.abandon()
                raise
            return begun

    def _claim(self, about: Mapping[str, Any]) -> None:
        """Make the folder; one writer alone can."""
        plan = json.dumps({"about": about, "mark": self.mark, "replaces": self.replaces}).encode()
        try:
            if self.location.is_local:
                Path(self.folder.url).mkdir()
            StoreCalls(self.folder).put(_PLAN, plan, new=True)
        except (OSError, MrcdistError) as error:
            there = (self.earlier() or {}).get("mark", "")
            if there == self.mark:  # it was written, but the answer got lost
                return
            if there or isinstance(error, FileExistsError):
                raise interrupted(self.location.shown, self.folder.shown) from None
            if self.location.is_local:
                StoreCalls(self.folder).remove_all()
            raise

    def _upload(self, made: Path) -> None:
        """Write the metadata, but for the last document; once more if they are there."""
        tree = StoreCalls(self.tree)
        for file in sorted(path for path in made.rglob("*") if path.is_file()):
            name = file.relative_to(made)
            if self.location.is_local:
                Path(self.tree.url, name).parent.mkdir(parents=True, exist_ok=True)
            tree.put(name.as_posix(), file.read_bytes())

    def check_place(self, *, overwrite: bool) -> bool:
        """Raise if the hierarchy cannot have this name; return whether another one has it."""
        with write_errors(self.location):
            if self.location.is_local:
                check_folder(Path(self.location.url))
            complete = self._has_root()
            if complete and not overwrite:
                raise exists(self.location.shown)
            theirs = self.location.is_local or self.earlier() is None
            if not complete and theirs and StoreCalls(self.location).exists():
                raise ArgumentError(
                    f"{self.location.shown} is not a Zarr hierarchy",
                    code="destination-invalid",
                    argument="url",
                    cause="files, and folders with other contents, are never replaced",
                    remedy="choose another name, or delete it",
                )
        return complete

    def _has_root(self) -> bool:
        """Whether something can be opened by the name."""
        return any(map(StoreCalls(self.location).exists, _ROOTS))

    def earlier(self) -> dict[str, Any] | None:
        """What an earlier call has begun; empty where it ended before it had."""
        folder = StoreCalls(self.folder)
        if not folder.exists():
            return None
        with suppress(MissingFileError, ValueError, LookupError, TypeError):
            found = json.loads(folder.read(_PLAN))
            return {name: found[name] for name in ("about", "mark", "replaces")}
        return {"about": None, "mark": "", "replaces": False}

    def _is_open(self) -> bool:
        """Whether there is still something to finish."""
        if self.tree == self.location:
            return not self._has_root()
        return bool(self.mark) and StoreCalls(self.tree).exists()

    def write(self, path: str, box: Box, block: npt.NDArray[Any]) -> None:
        """Write a box of an array, of which other tasks write others."""
        with write_errors(self.location):
            self.location.retried(lambda: self._open_array(path).__setitem__(box, block))

    def read(self, path: str, box: Box) -> npt.NDArray[Any]:
        """Read a box of an array that was written."""
        with write_errors(self.location):
            found: npt.NDArray[Any] = self.location.retried(lambda: self._open_array(path)[box])
        return found

    def _open_array(self, path: str) -> Any:
        zarr = importlib.import_module("zarr")
        return zarr.open_array(
            posixpath.join(self.tree.url, path),
            mode="r+",
            storage_options=None if self.location.is_local else dict(self.location.storage_options),
        )

    def keep(self, name: str) -> None:
        """Note that a block is done."""
        with write_errors(self.location):
            StoreCalls(self.folder).put(f"{name}.{self.mark}.done", b"")

    def kept(self) -> frozenset[str]:
        """Return the names of the blocks that are done."""
        end, names = f".{self.mark}.done", StoreCalls(self.folder).names()
        return frozenset(name.removesuffix(end) for name in names if name.endswith(end))

    def finish(self) -> tuple[int, int]:
        """Write the last document, and give the hierarchy its name; return its files and bytes."""
        with write_errors(self.location):
            tree, path = StoreCalls(self.tree), Path(self.location.url)
            found = tree.sizes()
            if self.location.is_local:
                if not self.replaces and os.path.lexists(path):  # it came meanwhile
                    raise exists(self.location.shown)
                tree.put(self.root, self.held.encode())
                replace_path(Path(self.tree.url), path, self._aside)
            else:
                target = StoreCalls(self.location)
                if self.replaces:
                    # So that nothing opens what is half deleted or half copied: chunks that are
                    # not there are zeros to zarr, and no error.
                    for name in sorted(_documents(target.sizes()), key=lambda of: of.count("/")):
                        target.remove(name)
                    target.remove_all()
                    documents = _documents(found)
                    tree.copy(found.keys() - documents, target)
                    tree.copy(documents, target)
                target.put(self.root, self.held.encode())
            self._forget()
        return len(found) + 1, sum(found.values()) + len(self.held)

    @property
    def _aside(self) -> Path:
        """The temporary path of a hierarchy that is being replaced on a disk."""
        return Path(self.folder.url, f"replaced-{self.mark}")

    def abandon(self) -> None:
        """Remove all that was written, unless there is nothing else any more."""
        with write_errors(self.location):
            if self.location.is_local:
                restore_path(self._aside, Path(self.location.url))
            elif not self.replaces:
                self._forget_plan()
                StoreCalls(self.location).remove_all()
            elif not self._has_root():
                return  # the other one is deleted: to be resumed
            self._forget()

    def _forget(self) -> None:
        """Remove the folder."""
        self._forget_plan()
        StoreCalls(self.folder).remove_all()

    def _forget_plan(self) -> None:
        """Remove the plan in a store: what is left, if that is interrupted, is not gone on with."""
        if not self.location.is_local:  # on a disk, a rename takes all at once
            StoreCalls(self.folder).remove(_PLAN)


def _documents(names: Iterable[str]) -> set[str]:
    """Return the names without which arrays and groups cannot be opened."""
    return {name for name in names if posixpath.basename(name) in _DOCUMENTS}


def zarr_major() -> int:
    """Return the major version of zarr that is installed; 0 without one."""
    with suppress(ImportError):
        return int(importlib.import_module("zarr").__version__.partition(".")[0])
    return 0


def _create(folder: Path, hierarchy: Hierarchy, compressor: str) -> None:
    """Write the metadata and the small arrays of a hierarchy, with whichever zarr is installed."""
    zarr = importlib.import_module("zarr")
    new = zarr_major() >= 3
    how = {"zarr_format": hierarchy.zarr_format} if new else {}
    root = zarr.open_group(str(folder), mode="w", **how)
    for path, attributes in hierarchy.groups.items():
        group = root.require_group(path) if path else root
        if attributes:
            group.attrs.update(attributes)
    for array in (*hierarchy.arrays, *(level.array for level in hierarchy.levels)):
        make = root.create_array if new else root.create_dataset
        made = make(
            array.path,
            shape=array.shape,
            dtype=array.dtype,
            chunks=array.chunks,
            fill_value=0,
            **_how(array, hierarchy.zarr_format, compressor, new=new),
        )
        if array.values is not None:
            made[...] = array.values
    if hierarchy.zarr_format == 3:  # in the root's document, where xarray looks for them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is not in the specification yet
            zarr.consolidate_metadata(str(folder))


def _how(array: NewArray, zarr_format: int, compressor: str, *, new: bool) -> dict[str, Any]:
    """Return what formats 2 and 3 of Zarr, and versions 2 and 3 of zarr, call differently."""
    if zarr_format == 3:
        blosc = importlib.import_module("zarr.codecs").BloscCodec
        codec = blosc(cname=compressor, clevel=_LEVEL, shuffle="bitshuffle")
        return {
            "shards": array.shards,
            "compressors": [codec],
            "dimension_names": array.dimensions or None,
            "attributes": dict(array.attributes),
        }
    blosc = importlib.import_module("numcodecs").Blosc
    codec = blosc(cname=compressor, clevel=_LEVEL, shuffle=blosc.BITSHUFFLE)
    if new:
        separator = {"name": "v2", "separator": "/"}
        return {"compressors": [codec], "chunk_key_encoding": separator}
    return {"compressor": codec, "dimension_separator": "/"}
