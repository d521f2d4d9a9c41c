"""Finished parts of a pass, in a folder, for as long as the pass is unfinished."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mrcdist.compute.whole_file import write_whole, written
from mrcdist.errors import ArgumentError, MrcdistError, ReadError
from mrcdist.plan.chunks import Chunks

_PARTS = "part-*.npy"
_DESCRIPTION = "job.json"
_PICTURE = "so-far.png"
# What a run leaves that was killed while it wrote.
_UNFINISHED = tuple(f".{name}.*" for name in (_PARTS, _DESCRIPTION, _PICTURE))


def partial_folder(output: Path) -> Path:
    """The folder for the unfinished job that will write `output`."""
    return output.parent / f"{output.name}.partial"


@dataclass(eq=False)
class PartialStore:
    """A folder with a description of the job and a ``.npy`` file for each finished part.

    The file of a part holds one array after the other, as `numpy.save` writes them to an open file.
    A job has an ID, which is part of the names of its files and which a run that resumes it takes
    over: what another job left, or writes at the same time, is never taken for its own. Parts that
    are not lasting are not kept.
    """

    folder: Path  # made, or taken over from an earlier run
    description: Mapping[str, str]  # all that the values depend on: file, version, plan, quantity
    n_parts: int  # of the whole job
    _: KW_ONLY
    chunks: Chunks = ()  # of what is read, from which the parts follow: see `begun_chunks`
    lasting: bool = True  # whether a later run can know that it reads the same data
    again: str  # how the caller goes on with what is kept, for errors
    argument: str = "out"  # that chose the folder, for errors

    def __post_init__(self) -> None:
        self._finished = False
        self._state: dict[str, Any] = {
            "job": {**self.description, "parts": str(self.n_parts)},
            "chunks": self.chunks,
            "id": uuid.uuid4().hex[:12],
        }

    @property
    def job(self) -> str:
        """The ID of the job."""
        return str(self._state["id"])

    @property
    def picture(self) -> Path:
        """The place for a picture of the parts that are finished."""
        return self.folder / _PICTURE

    def open(self, *, resume: bool) -> list[int]:
        """Make the folder, or find what an earlier run left in it: the numbers of finished parts.

        An `ArgumentError` is raised if there are parts that are not to be used (`resume`) or belong
        to another job, or something else is in the folder's place.
        """
        left = _description(self.folder)
        files = [] if self.folder.is_symlink() else list(self.folder.glob(_PARTS))
        if not files:
            self._require_place(left)
        elif not resume:
            raise ArgumentError(
                f"{self.folder} holds {len(files)} finished parts of an earlier run",
                code="job-unfinished",
                argument=self.argument,
                cause="it was interrupted",
                remedy=f"{self.again}, or delete the folder",
            )
        else:
            self._require_same(left)
        if files and self.lasting:
            self._state = left
            return [number for number in range(self.n_parts) if self._is_whole(number)]
        if left["job"] == self._state["job"]:  # it may have been killed when it was done
            self._state["outputs"] = left.get("outputs", {})
        self._clear_parts()
        with written(self.folder):
            self.folder.mkdir(exist_ok=True)
        self._write()
        return []

    def _require_place(self, left: Mapping[str, Any]) -> None:
        """Raise unless the folder is not there, is empty or one of ours."""
        what = ""
        if self.folder.is_symlink():
            what = "a link"
        elif self.folder.is_dir():
            others = [
                path.name for path in self.folder.iterdir() if not any(map(path.match, _UNFINISHED))
            ]
            if others and not left["job"]:
                what = f"a folder with other files, such as {min(others)}"
        elif self.folder.exists():
            what = "a file"
        if what:
            problem, remedy = "is in the way", "delete or rename it, or choose another name"
            cause = f"it is {what}, and finished parts are kept in a folder of this name"
        elif not self.folder.parent.is_dir():
            problem, remedy = "cannot be made", "create it, or choose another name"
            cause = f"there is no folder {self.folder.parent}"
        else:
            return
        raise ArgumentError(
            f"{self.folder} {problem}",
            code="destination-invalid",
            argument=self.argument,
            cause=cause,
            remedy=remedy,
        )

    def _require_same(self, left: Mapping[str, Any]) -> None:
        changed = [
            f"{name}: {left['job'].get(name, 'nothing')} then, {now} now"
            for name, now in self._state["job"].items()
            if left["job"].get(name) != now
        ]
        if changed or "id" not in left:
            raise ArgumentError(
                f"{self.folder} belongs to another job",
                code="job-differs",
                argument=self.argument,
                cause="; ".join(changed) or "it does not state which",
                remedy="resume with the same file, functions, options and {chunks}, or delete the "
                "folder to start over",
            )

    @contextmanager
    def kept_if_any(self) -> Iterator[None]:
        """Delete the folder if the block fails before there is a part to go on with.

        A note of the exception says where the job stands.
        """
        try:
            yield
        except BaseException as error:
            note = self._leave()
            # That nothing is kept matters to who stopped the job, not for an error.
            if self.again in note or not isinstance(error, Exception):
                error.add_note(note)
            raise

    def _leave(self) -> str:
        """Keep what a later run can go on with; say what that is."""
        if self._finished:
            self.remove()
            return "the result is written"
        if not self._is_ours():
            return "another job has taken over"
        kept = len(list(self.folder.glob(f"part-*-{self.job}.npy")))
        if kept and self.lasting:
            return (
                f"{kept} of {self.n_parts} parts are finished and kept in {self.folder}; "
                f"{self.again}"
            )
        self.remove()
        return "nothing is kept"

    @property
    def found(self) -> Mapping[str, float] | None:
        """Facts that the job found out before its first part."""
        found: Mapping[str, float] | None = self._state.get("found")
        return found

    @found.setter
    def found(self, found: Mapping[str, float] | None) -> None:
        self._write(found=found)

    def require(self) -> None:
        """Raise if another job, or somebody, took the folder away.

        A job may have been suspended for so long that another one took it for dead.
        """
        if not self._is_ours():
            raise MrcdistError(
                f"{self.folder} is no longer this job's",
                code="job-lost",
                cause="it was deleted, or another job took it over while this one was suspended",
                remedy="check whether another job is writing the same file; if not, start again",
            )

    def claim(self, output: Path, written: Path) -> None:
        """Note that a file which is about to become an output is this job's.

        It may replace one of this job's, which stays the output if the job is killed before.
        """
        there = [_stamp(output)] if self.is_own(output) else []
        known = self._state.get("outputs", {})
        self._write(outputs={**known, str(output): [*there, _stamp(written)]})

    def is_own(self, output: Path) -> bool:
        """Whether an output was written by the job that the folder belongs to."""
        left, stamp = _description(self.folder), _stamp(output)
        same = left["job"] == self._state["job"]
        return same and stamp is not None and stamp in left.get("outputs", {}).get(str(output), [])

    def save(self, number: int, values: Sequence[npt.NDArray[Any]]) -> None:
        """Keep the arrays of a part, all or none, unless the folder is another job's by now."""
        self.require()
        with write_whole(self._path(number)) as file:
            for array in values:
                np.save(file, array)

    def load(self, number: int, which: int = 0) -> npt.NDArray[Any]:
        """Return one of the arrays of a part."""
        try:
            with self._path(number).open("rb") as file:
                for _ in range(which):
                    _skip_array(file)
                values: npt.NDArray[Any] = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ReadError(
                f"{self._path(number)} cannot be read",
                code="partial-result-damaged",
                cause=str(error),
                remedy=f"delete this file, then {self.again}",
            ) from None
        return values

    def finish(self) -> None:
        """Delete the folder: the outputs are written."""
        self._finished = True
        self.remove()

    def remove(self) -> None:
        """Delete the folder, but for what is not the job's."""
        self._clear_parts()
        (self.folder / _DESCRIPTION).unlink(missing_ok=True)
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """Delete the folder unless there is something in it, which somebody may keep there."""
        with suppress(OSError):
            self.folder.rmdir()

    def _is_ours(self) -> bool:
        return _description(self.folder).get("id") == self.job

    def _clear_parts(self) -> None:
        """Delete all but the description: parts without one are nobody's."""
        for pattern in (_PARTS, _PICTURE, *_UNFINISHED):
            for file in self.folder.glob(pattern):
                file.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05}-{self.job}.npy"

    def _is_whole(self, number: int) -> bool:
        """Whether a part is there, and as long as it says: power may have failed."""
        try:
            with self._path(number).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                _skip_array(file)
                while file.tell() < size:
                    _skip_array(file)
                return file.tell() == size
        except (OSError, ValueError, EOFError):
            return False

    def _write(self, **changes: Any) -> None:
        self._state |= changes
        with write_whole(self.folder / _DESCRIPTION) as file:
            file.write(json.dumps(self._state, indent=2).encode())


def begun_chunks(folder: Path) -> Chunks | None:
    """Return the chunks of what an unfinished job reads, if there is one in the folder."""
    return tuple(map(tuple, _description(folder).get("chunks", ()))) or None


def _description(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    known = isinstance(found, dict) and isinstance(found.get("job"), dict)
    return found if known else {"job": {}}


def _skip_array(file: IO[bytes]) -> None:
    """Go past an array that `numpy.save` wrote."""
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    file.seek(math.prod(shape) * dtype.itemsize, os.SEEK_CUR)


def _stamp(path: Path) -> list[int] | None:
    """Size and time of modification, which a file keeps when it is renamed."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]
