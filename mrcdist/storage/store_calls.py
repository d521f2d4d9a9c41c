"""Small files of a folder, on a disk or in a store: listed, read, written and removed by name."""

from __future__ import annotations

import glob
import posixpath
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mrcdist.storage.local_files import remove_folder
from mrcdist.storage.location import Location


class StoreCalls:
    """Access to the files of a folder by name; "" is the folder, or a single file, itself."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._fs, self._path = location.filesystem()

    def _at(self, name: str) -> str:
        return posixpath.join(self._path, name) if name else self._path

    def exists(self, name: str = "") -> bool:
        """Return whether a file or folder exists now."""
        self._fs.invalidate_cache()
        return bool(self._location.retried(lambda: self._fs.exists(self._at(name))))

    def names(self) -> list[str]:
        """Return the names currently in the folder, without those in subfolders."""
        self._fs.invalidate_cache()
        paths = self._location.retried(lambda: self._fs.ls(self._path, detail=False))
        return [posixpath.basename(path.rstrip("/")) for path in paths]

    def sizes(self) -> dict[str, int]:
        """Return the sizes in bytes of all files in the folder and its subfolders, by path."""
        self._fs.invalidate_cache()
        infos = self._location.retried(lambda: self._fs.find(self._path, detail=True))
        return {posixpath.relpath(path, self._path): info["size"] for path, info in infos.items()}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a file, or a byte range of it, without retries."""
        # With a start, s3fs sends one request; without, it asks for the size first.
        return bytes(self._fs.cat_file(self._at(name), start=start, end=stop))

    def put(self, name: str, content: bytes, *, new: bool = False) -> None:
        """Write a file.

        A `new` file must not exist yet. If the response to a successful attempt was lost, the retry
        finds the file and raises, too.
        """
        mode = {"mode": "create"} if new else {}
        self._location.retried(lambda: self._fs.pipe_file(self._at(name), content, **mode))

    def copy(self, names: Iterable[str], target: StoreCalls) -> None:
        """Copy files to another folder of the same store, within the store."""
        pairs = [(self._at(name), target._at(name)) for name in names]
        if pairs:
            self._location.retried(lambda: self._fs.copy(*map(list, zip(*pairs, strict=True))))

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with suppress(FileNotFoundError):
            self._location.retried(lambda: self._fs.rm_file(self._at(name)))

    def remove_all(self) -> None:
        """Remove the folder and everything in it, if it exists."""
        with suppress(FileNotFoundError):
            if not self._location.is_local:
                path = glob.escape(self._path)  # fsspec expands patterns
                self._location.retried(lambda: self._fs.rm(path, recursive=True))
                return
            remove_folder(Path(self._path))
