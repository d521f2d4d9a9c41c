"""Finished parts of a job, in a folder beside the output, for as long as the job is unfinished."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError, ReadError

__all__ = ["PartialStore", "partial_folder", "write_whole"]

_DESCRIPTION = "job.json"


def partial_folder(output: Path) -> Path:
    """The folder for the unfinished job that will write `output`."""
    return output.with_name(f"{output.name}.partial")


class PartialStore:
    """A folder with a description of the job and a ``.npy`` file for each finished part.

    Parameters
    ----------
    folder : Path
        Made, or taken over from an earlier run.
    description : mapping of str to str
        All that the values depend on: file, version, plan, quantity.
    n_parts : int
        Parts of the whole job.
    """

    def __init__(self, folder: Path, description: Mapping[str, str], n_parts: int) -> None:
        self.folder = folder
        self._description = {**description, "parts": str(n_parts)}
        self._n_parts = n_parts

    def open(self, *, resume: bool) -> list[int]:
        """Make the folder, or find what an earlier run left in it.

        Parameters
        ----------
        resume : bool
            Whether finished parts may be used.

        Returns
        -------
        list of int
            Numbers of the parts that are finished.

        Raises
        ------
        ArgumentError
            There are parts and they are not wanted, or they belong to another job.
        """
        there = self._read()["job"]
        files = list(self.folder.glob("part-*.npy"))
        if not files:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write({"job": self._description})
            return []
        if not resume:
            raise ArgumentError(
                f"{self.folder} holds {len(files)} finished parts of an earlier run",
                code="job-unfinished",
                cause="it was interrupted, or is still running",
                remedy="go on with it with --resume, or delete the folder",
            )
        changed = [
            f"{name}: {there.get(name, 'nothing')} then, {now} now"
            for name, now in self._description.items()
            if there.get(name) != now
        ]
        if changed:
            raise ArgumentError(
                f"{self.folder} belongs to another job",
                code="job-differs",
                cause="; ".join(changed),
                remedy="resume with the same file and options, or delete the folder to start anew",
            )
        return [number for number in range(self._n_parts) if self._path(number).exists()]

    @contextmanager
    def kept_if_any(self) -> Iterator[None]:
        """Delete the folder if the block fails before there is a part to go on with."""
        try:
            yield
        except BaseException:
            if not any(self.folder.glob("part-*.npy")):
                self.remove()
            raise

    @property
    def found(self) -> dict[str, float] | None:
        """What the job found out before its first part."""
        found: dict[str, float] | None = self._read().get("found")
        return found

    @found.setter
    def found(self, found: Mapping[str, float]) -> None:
        self._write({"job": self._description, "found": dict(found)})

    def save(self, number: int, values: npt.NDArray[Any]) -> None:
        """Keep a part: it is there as a whole, or not at all."""
        with write_whole(self._path(number)) as file:
            np.save(file, values)

    def load(self, number: int) -> npt.NDArray[Any]:
        """Return the values of a part.

        Raises
        ------
        ReadError
            The file is damaged.
        """
        try:
            values: npt.NDArray[Any] = np.load(self._path(number), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ReadError(
                f"{self._path(number)} cannot be read",
                code="partial-result-damaged",
                cause=str(error),
                remedy="delete this file and run again with --resume",
            ) from None
        return values

    def remove(self) -> None:
        """Delete the folder: the output is written."""
        for pattern in ("part-*.npy", ".part-*.npy.*", _DESCRIPTION, f".{_DESCRIPTION}.*"):
            for file in self.folder.glob(pattern):
                file.unlink()
        # Whatever else somebody keeps there stays.
        with suppress(OSError):
            self.folder.rmdir()

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05}.npy"

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / _DESCRIPTION).read_text("utf-8"))
        except (OSError, ValueError):
            found = None
        return found if isinstance(found, dict) and "job" in found else {"job": {}}

    def _write(self, what: Mapping[str, Any]) -> None:
        with write_whole(self.folder / _DESCRIPTION) as file:
            file.write(json.dumps(what, indent=2, ensure_ascii=False).encode())


class write_whole:  # noqa: N801 used as a function
    """Open a file for writing that appears under its name once all is on the disk.

    Parameters
    ----------
    path : Path
        Replaced if it is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(f".{path.name}.{os.getpid()}")

    def __enter__(self) -> IO[bytes]:
        self._file = self._unfinished.open("wb")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink()
