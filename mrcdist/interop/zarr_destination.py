"""A new Zarr hierarchy on a disk or in a store, which gets its name once it is complete."""

from __future__ import annotations

import importlib
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

from mrcdist.errors import ArgumentError, MissingExtraError
from mrcdist.extras import install_command
from mrcdist.interop.zarr_layouts import Hierarchy, NewArray
from mrcdist.plan.selection import Box
from mrcdist.storage.local_files import replace_path, restore_path
from mrcdist.storage.location import Location
from mrcdist.storage.store_calls import StoreCalls
from mrcdist.write.checks import check_parent
from mrcdist.write.errors import abandoned_on_failure, exists, overtaken, write_errors
from mrcdist.write.work_folder import WorkFolder

_ROOTS = ("zarr.json", ".zgroup", ".zarray")
_DOCUMENTS = (*_ROOTS, ".zattrs", ".zmetadata")
# Compression level of Blosc: higher levels take longer than reading the file, and save little.
_LEVEL = 1


@dataclass(frozen=True)
class ZarrDestination:
    """A hierarchy that is being written; picklable, and opened by each task itself.

    On a disk, the arrays are written to the work folder, and renamed when they are complete. In a
    store, they are written to their final names, but the document of the root group is written
    last: until then, the hierarchy cannot be opened. If the hierarchy `replaces` an existing one in
    a store, the arrays are written to the work folder; when they are complete, the old hierarchy is
    deleted and the store copies the new one, in an order that never allows an incomplete array to
    be opened.

    `root` is the name of the root group's document, `document` is its text. `mark` identifies the
    call; see `WorkFolder`.
    """

    location: Location
    root: str = ""
    document: str = field(default="", repr=False)
    mark: str = ""
    replaces: bool = False

    @property
    def work(self) -> WorkFolder:
        """The work folder, with a record of each finished block."""
        return WorkFolder(self.location, self.mark)

    @property
    def tree(self) -> Location:
        """The folder in which the arrays are written."""
        if not (self.location.is_local or self.replaces):
            return self.location
        return self.work.at(f"tree-{self.mark}")

    @property
    def _aside(self) -> Path:
        """The temporary path of a hierarchy that is being replaced on a disk."""
        return self.work.path / f"replaced-{self.mark}"

    def begin(
        self,
        about: Mapping[str, Any],
        hierarchy: Hierarchy,
        compressor: str,
        *,
        overwrite: bool,
        resume: bool,
    ) -> ZarrDestination:
        """Write the metadata, or continue an earlier call; return where tasks write.

        `about` distinguishes this conversion from any other and is JSON-serialisable. Raise
        `ArgumentError` if the destination exists, is being written, or differs from that of an
        earlier call.
        """
        replaces = self.check(overwrite=overwrite)
        with write_errors(self.location), TemporaryDirectory() as folder:
            metadata = Path(folder)
            _create(metadata, hierarchy, compressor)
            root = metadata / hierarchy.root
            new = replace(self, root=root.name, document=root.read_text(encoding="utf-8"))
            root.unlink()
            plan = self._previous_plan()
            if plan is not None:
                mark, replaced = plan.get("mark", ""), plan.get("replaces", False)
                previous = replace(new, mark=mark, replaces=replaced)
                is_open = previous._is_open()
                if replaces and not is_open:  # killed during the final cleanup
                    self.work.clear()
                elif self.work.resumes(plan, about, resume=resume, overwrite=overwrite) and is_open:
                    previous._upload(metadata)
                    return previous
                else:
                    previous._discard()
                    # Again, since `_discard` may have restored the old hierarchy.
                    replaces = self.check(overwrite=overwrite)
            new = replace(new, mark=uuid.uuid4().hex[:8], replaces=replaces)
            new.work.claim(about, replaces=replaces)
            with abandoned_on_failure(new.abandon):
                new._upload(metadata)
            return new

    def _upload(self, metadata: Path) -> None:
        """Write the metadata, except for the root's document, possibly once more."""
        tree = StoreCalls(self.tree)
        for file in sorted(path for path in metadata.rglob("*") if path.is_file()):
            name = file.relative_to(metadata)
            if self.location.is_local:
                Path(self.tree.url, name).parent.mkdir(parents=True, exist_ok=True)
            tree.put(name.as_posix(), file.read_bytes())

    def check(self, *, overwrite: bool) -> bool:
        """Raise if the hierarchy cannot have this name; return whether another one has it."""
        with write_errors(self.location):
            if self.location.is_local:
                check_parent(Path(self.location.url))
            complete = self._has_root()
            if complete and not overwrite:
                raise exists(self.location.shown)
            # In a store, an unfinished hierarchy may already have its name.
            foreign = self.location.is_local or self._previous_plan() is None
            if not complete and foreign and StoreCalls(self.location).exists():
                cause = "files, and folders with other contents, are never replaced"
                if not self.location.is_local:
                    # Requests of a killed task may arrive after everything else was removed.
                    cause += "; an interrupted call may have left these behind"
                raise ArgumentError(
                    f"{self.location.shown} is not a Zarr hierarchy",
                    code="destination-invalid",
                    argument="url",
                    cause=cause,
                    remedy="choose another name, or delete it",
                )
        return complete

    def _has_root(self) -> bool:
        """Return whether this name can be opened."""
        return any(map(StoreCalls(self.location).exists, _ROOTS))

    def _previous_plan(self) -> dict[str, Any] | None:
        """Return the plan of an earlier call, or an empty one if it was removing its files."""
        plan = self.work.plan()
        if plan is None and StoreCalls(self.work.location).exists():
            return {"about": None}
        return plan

    def _is_open(self) -> bool:
        """Return whether anything remains to be finished."""
        if self.tree == self.location:
            return not self._has_root()
        return bool(self.mark) and StoreCalls(self.tree).exists()

    def write(self, path: str, box: Box, block: npt.NDArray[Any]) -> None:
        """Write a box of an array, which no other task writes."""
        with write_errors(self.location):
            self._require_held()
            self.location.retried(lambda: self._open_array(path).__setitem__(box, block))

    def read(self, path: str, box: Box) -> npt.NDArray[Any]:
        """Read a box of an array that was written before."""
        with write_errors(self.location):
            values: npt.NDArray[Any] = self.location.retried(lambda: self._open_array(path)[box])
        return values

    def _open_array(self, path: str) -> Any:
        zarr = importlib.import_module("zarr")
        return zarr.open_array(
            posixpath.join(self.tree.url, path),
            mode="r+",
            storage_options=None if self.location.is_local else dict(self.location.storage_options),
        )

    def keep(self, name: str) -> None:
        """Record that a block is finished."""
        with write_errors(self.location):
            self.work.keep(name)

    def _require_held(self) -> None:
        """Raise if another call has taken over: in a store, it may write to the same names."""
        if not self.location.is_local and self.work.is_lost():
            raise overtaken(self.location, self.work.shown)

    def finish(self) -> tuple[int, int]:
        """Write the last document, and give the hierarchy its name; return its files and bytes."""
        with write_errors(self.location):
            self._require_held()
            tree, path = StoreCalls(self.tree), Path(self.location.url)
            sizes = tree.sizes()
            if self.location.is_local:
                if not self.replaces and os.path.lexists(path):  # created in the meantime
                    raise exists(self.location.shown)
                tree.put(self.root, self.document.encode())
                replace_path(Path(self.tree.url), path, self._aside)
            else:
                target = StoreCalls(self.location)
                if self.replaces:
                    # Missing chunks would be read as zeros, so the documents are deleted first and
                    # copied last.
                    old = _documents(target.sizes())
                    for name in sorted(old, key=lambda name: name.count("/")):
                        target.remove(name)
                    target.remove_all()
                    documents = _documents(sizes)
                    tree.copy(sizes.keys() - documents, target)
                    tree.copy(documents, target)
                target.put(self.root, self.document.encode())
            self.work.remove()
        return len(sizes) + 1, sum(sizes.values()) + len(self.document)

    def abandon(self) -> None:
        """Remove everything that was written, unless another call has taken over."""
        with write_errors(self.location):
            if self.work.holds():
                self._discard()
            else:
                self.work.remove()

    def _discard(self) -> None:
        """Remove everything that was written, unless an existing hierarchy is already deleted."""
        if self.location.is_local:
            restore_path(self._aside, Path(self.location.url))
        elif not self.replaces:
            self.work.remove_plan()
            StoreCalls(self.location).remove_all()
        elif not self._has_root():
            return  # it can only be continued
        self.work.clear()


def _documents(names: Iterable[str]) -> set[str]:
    """Return the names of the documents without which arrays and groups cannot be opened."""
    return {name for name in names if posixpath.basename(name) in _DOCUMENTS}


def zarr_major() -> int:
    """Return the major version of the installed zarr, or 0."""
    with suppress(ImportError):
        return int(importlib.import_module("zarr").__version__.partition(".")[0])
    return 0


def require_zarr3(feature: str, cause: str, alternative: str = "") -> None:
    """Raise if zarr is not installed, or older than version 3."""
    major = zarr_major()
    if major < 3:
        raise MissingExtraError(
            f"zarr {f'{major} is' if major else 'is not'} installed: {feature} needs version 3",
            cause=cause,
            remedy=f"{install_command('xarray')}, in an environment without HyperSpy 2, which "
            f"needs zarr 2{alternative}",
        )


def _create(folder: Path, hierarchy: Hierarchy, compressor: str) -> None:
    """Write the metadata and the small arrays of a hierarchy, with any version of zarr."""
    zarr = importlib.import_module("zarr")
    is_zarr3 = zarr_major() >= 3
    options = {"zarr_format": hierarchy.zarr_format} if is_zarr3 else {}
    root = zarr.open_group(str(folder), mode="w", **options)
    for path, attributes in hierarchy.groups.items():
        group = root.require_group(path) if path else root
        if attributes:
            group.attrs.update(attributes)
    create = root.create_array if is_zarr3 else root.create_dataset
    for new in (*hierarchy.arrays, *(level.array for level in hierarchy.levels)):
        array = create(
            new.path,
            shape=new.shape,
            dtype=new.dtype,
            chunks=new.chunks,
            fill_value=0,
            **_creation_options(new, hierarchy.zarr_format, compressor, is_zarr3=is_zarr3),
        )
        if new.values is not None:
            array[...] = new.values
    if hierarchy.zarr_format == 3:  # in the root's document, where xarray looks for them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not yet in the specification
            zarr.consolidate_metadata(str(folder))


def _creation_options(
    array: NewArray, zarr_format: int, compressor: str, *, is_zarr3: bool
) -> dict[str, Any]:
    """Return options whose names depend on the Zarr format and the version of zarr."""
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
    if is_zarr3:
        separator = {"name": "v2", "separator": "/"}
        return {"compressors": [codec], "chunk_key_encoding": separator}
    return {"compressor": codec, "dimension_separator": "/"}
