"""Small calls for the files of one folder, on a disk or in a store: each is tried again."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mrcdist.storage.location import Location

__all__ = ["StoreCalls"]


class StoreCalls:
    """Calls for the files of a folder by their names; "" is the folder, or the one file, itself."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._fs, self._path = location.filesystem()

    def _at(self, name: str) -> str:
        return posixpath.join(self._path, name) if name else self._path

    def exists(self, name: str = "") -> bool:
        """Return whether there is a file or folder, now."""
        self._fs.invalidate_cache()
        return bool(self._location.retried(lambda: self._fs.exists(self._at(name))))

    def names(self) -> list[str]:
        """Return the names directly in the folder, as they are now."""
        self._fs.invalidate_cache()
        found = self._location.retried(lambda: self._fs.ls(self._path, detail=False))
        return [posixpath.basename(path.rstrip("/")) for path in found]

    def sizes(self) -> dict[str, int]:
        """Return the bytes of all files below the folder, by their paths in it."""
        self._fs.invalidate_cache()
        found = self._location.retried(lambda: self._fs.find(self._path, detail=True))
        return {posixpath.relpath(path, self._path): info["size"] for path, info in found.items()}

    def read(self, name: str = "") -> bytes:
        """Return the bytes of a file."""
        return bytes(self._location.retried(lambda: self._fs.cat_file(self._at(name))))

    def put(self, name: str, content: bytes, *, new: bool = False) -> None:
        """Write a file; raise if it is `new` but there, also if an answer got lost."""
        how = {"mode": "create"} if new else {}
        self._location.retried(lambda: self._fs.pipe_file(self._at(name), content, **how))

    def copy(self, names: Iterable[str], target: StoreCalls) -> None:
        """Let the store copy files to another folder of it."""
        pairs = [(self._at(name), target._at(name)) for name in names]
        if pairs:
            self._location.retried(lambda: self._fs.copy(*map(list, zip(*pairs, strict=True))))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self._location.retried(lambda: self._fs.rm_file(self._at(name)))

    def remove_all(self) -> None:
        """Remove the folder with all that is in it, if it is there."""
        with suppress(FileNotFoundError):
            if not self._location.is_local:
                self._location.retried(lambda: self._fs.rm(self._path, recursive=True))
                return
            removed = f"{self._path}.{os.urandom(4).hex()}"
            Path(self._path).rename(removed)  # tasks that still run add nothing to it
            shutil.rmtree(removed, ignore_errors=True)
