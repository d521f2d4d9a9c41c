"""Finished parts of a pass over the data, kept in a folder so that the pass can be resumed."""

from __future__ import annotations

import json
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcdist.errors import ArgumentError, MrcdistError, ReadError
from mrcdist.plan.chunks import Chunks
from mrcdist.storage.local_files import atomic_write, explain_os_errors
from mrcdist.write.errors import in_the_way

_PARTS = "part-*.np[yz]"  # .npy: written by earlier versions
_DESCRIPTION = "job.json"
_PICTURE = "so-far.png"
# Left behind by a run killed while writing.
_TEMPORARY = tuple(f".{name}.*" for name in (_PARTS, _DESCRIPTION, _PICTURE))

# Raised by `zipfile` and numpy for files that are missing, or not as they were written.
_DAMAGED = (
    *(OSError, EOFError, LookupError, RuntimeError, ValueError),
    *(zipfile.BadZipFile, zlib.error),
)


def partial_folder(output: Path) -> Path:
    """Return the folder for the unfinished job that will write `output`."""
    return output.parent / f"{output.name}.partial"


@dataclass(eq=False)
class PartialStore:
    """A folder with a description of the job and an ``.npz`` file for each finished part.

    A job has an ID, which is part of its file names and stays the same when the job is resumed.
    Files left by another job, or written by one that runs at the same time, are never used.
    """

    folder: Path  # created, or taken over from an earlier run
    description: Mapping[str, str]  # all that the values depend on: file, version, plan, quantity
    n_parts: int  # of the whole job
    _: KW_ONLY
    chunks: Chunks = ()  # of the data, which determine the parts; see `begun_chunks`
    resumable: bool = True  # if changes of the data can be detected; otherwise parts are not kept
    resume_hint: str  # how to resume the job, for errors
    argument: str = "out"  # that selects the folder, for errors

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
        """The path for a picture of the finished parts."""
        return self.folder / _PICTURE

    def open(self, *, resume: bool) -> list[int]:
        """Create the folder, or continue with `resume`; return the numbers of finished parts.

        Raises
        ------
        ArgumentError
            The folder has parts of another job, or parts that are not to be resumed, or something
            else has its name.
        """
        previous = _read_state(self.folder)
        parts = [] if self.folder.is_symlink() else list(self.folder.glob(_PARTS))
        if not parts:
            self._check_place(previous)
        elif not resume:
            raise ArgumentError(
                f"{self.folder} holds {len(parts)} finished parts of an earlier run",
                code="job-unfinished",
                argument=self.argument,
                cause="it was interrupted",
                remedy=f"{self.resume_hint}, or delete the folder",
            )
        else:
            self._check_same_job(previous)
        if parts and self.resumable:
            self._state = previous
            return [number for number in range(self.n_parts) if self._is_complete(number)]
        if previous["job"] == self._state["job"]:  # may have been killed just after finishing
            self._state["written"] = previous.get("written", [])
        self._remove_parts()
        with explain_os_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
        self._write_state()
        return []

    def _check_place(self, previous: Mapping[str, Any]) -> None:
        """Raise unless the folder does not exist, is empty, or was created by a job."""
        obstacle = ""
        if self.folder.is_symlink():
            obstacle = "a link"
        elif self.folder.is_dir():
            foreign = [
                path.name for path in self.folder.iterdir() if not any(map(path.match, _TEMPORARY))
            ]
            if foreign and not previous["job"]:
                obstacle = f"a folder with other files, such as {min(foreign)}"
        elif self.folder.exists():
            obstacle = "a file"
        if obstacle:
            cause = f"it is {obstacle}; finished parts are kept in a folder of this name"
            raise in_the_way(str(self.folder), self.argument, cause)
        if not self.folder.parent.is_dir():
            raise ArgumentError(
                f"{self.folder} cannot be created",
                code="destination-invalid",
                argument=self.argument,
                cause=f"{self.folder.parent} does not exist or is not a folder",
                remedy="create its parent folder, or choose another name",
            )

    def _check_same_job(self, previous: Mapping[str, Any]) -> None:
        changes = [
            f"{name}: {previous['job'].get(name, 'nothing')} then, {value} now"
            for name, value in self._state["job"].items()
            if previous["job"].get(name) != value
        ]
        if changes or "id" not in previous:
            raise ArgumentError(
                f"{self.folder} belongs to another job",
                code="job-differs",
                argument=self.argument,
                cause="; ".join(changes) or "it has no description of the job",
                remedy="resume with the same file, functions, options and `chunks`, or delete the "
                "folder to start over",
            )

    @contextmanager
    def kept_if_any(self) -> Iterator[None]:
        """Delete the folder if the block fails before any part is finished.

        A note on the exception describes the state of the job.
        """
        try:
            yield
        except BaseException as error:
            note = self._clean_up()
            # A user who stopped the job is also told if nothing is kept; after an error, this would
            # only distract.
            if self.resume_hint in note or not isinstance(error, Exception):
                error.add_note(note)
            raise

    def _clean_up(self) -> str:
        """Keep the folder if the job can be resumed, else delete it; describe the outcome."""
        if self._finished:
            self.remove()
            return "the result is written"
        if not self._is_ours():
            return "another job has taken over"
        finished = len(list(self.folder.glob(f"part-*-{self.job}.npz")))
        if finished and self.resumable:
            return (
                f"{finished} of {self.n_parts} parts are finished and kept in {self.folder}; "
                f"{self.resume_hint}"
            )
        self.remove()
        return "nothing is kept"

    @property
    def disk(self) -> Mapping[str, float] | None:
        """Position and radius of the bright disk, once it has been located."""
        disk: Mapping[str, float] | None = self._state.get("found")
        return disk

    @disk.setter
    def disk(self, disk: Mapping[str, float] | None) -> None:
        self._update(found=disk)

    def require(self) -> None:
        """Raise if the folder was deleted or taken over by another job.

        A job may have been suspended for so long that another one assumed that it was dead.
        """
        if not self._is_ours():
            raise MrcdistError(
                f"{self.folder} no longer belongs to this job",
                code="job-lost",
                cause="it was deleted, or another job took it over while this one was suspended",
                remedy="check whether another job is writing the same file; if not, start again",
            )

    def claim(self, output: Path, complete: Path) -> None:
        """Record that `complete`, which is about to be renamed to `output`, is this job's.

        An earlier output of this job stays recorded, in case the job is killed before the rename.
        Raise like `require`.
        """
        written = self._state.get("written", [])
        self._update(written=[*written, [str(output), *_stamp(complete)]])

    def is_own(self, output: Path) -> bool:
        """Return whether an output was written by the job that the folder belongs to."""
        previous, stamp = _read_state(self.folder), [str(output), *_stamp(output)]
        is_same_job: bool = previous["job"] == self._state["job"]
        return is_same_job and stamp in previous.get("written", [])

    def save(self, number: int, values: Sequence[npt.NDArray[Any]]) -> None:
        """Store the arrays of a part, all or none, unless another job has taken over the folder."""
        self.require()
        path = self._path(number)
        with explain_os_errors(path), atomic_write(path) as file:
            np.savez(file, *values)

    def load(self, number: int, index: int = 0) -> npt.NDArray[Any]:
        """Return one of the arrays of a part."""
        path = self._path(number)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values: npt.NDArray[Any] = arrays[f"arr_{index}"]
        except _DAMAGED as error:
            raise ReadError(
                f"{path} cannot be read",
                code="partial-result-damaged",
                cause=str(error),
                remedy=f"delete this file, then {self.resume_hint}",
            ) from None
        return values

    def finish(self) -> None:
        """Delete the folder: the outputs are written."""
        self._finished = True
        self.remove()

    def remove(self) -> None:
        """Delete the folder, except for files that do not belong to the job."""
        self._remove_parts()
        (self.folder / _DESCRIPTION).unlink(missing_ok=True)
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """Delete the folder unless it contains files."""
        with suppress(OSError):
            self.folder.rmdir()

    def _is_ours(self) -> bool:
        return _read_state(self.folder).get("id") == self.job

    def _remove_parts(self) -> None:
        """Delete everything but the description, without which parts belong to nobody."""
        for pattern in (_PARTS, _PICTURE, *_TEMPORARY):
            for file in self.folder.glob(pattern):
                file.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05}-{self.job}.npz"

    def _is_complete(self, number: int) -> bool:
        """Return whether a part exists and was not cut short, as by a power failure."""
        try:
            zipfile.ZipFile(self._path(number)).close()
        except _DAMAGED:
            return False
        return True

    def _update(self, **changes: Any) -> None:
        self.require()
        self._state |= changes
        self._write_state()

    def _write_state(self) -> None:
        path = self.folder / _DESCRIPTION
        with explain_os_errors(path), atomic_write(path) as file:
            file.write(json.dumps(self._state, indent=2).encode())


def begun_chunks(folder: Path) -> Chunks | None:
    """Return the chunks that the unfinished job in a folder reads, or None without one."""
    return tuple(map(tuple, _read_state(folder).get("chunks", ()))) or None


def _read_state(folder: Path) -> dict[str, Any]:
    """Return the contents of the description, or an empty job if it is missing or damaged."""
    try:
        state = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
    except (OSError, ValueError):
        state = None
    valid = isinstance(state, dict) and isinstance(state.get("job"), dict)
    return state if valid else {"job": {}}


def _stamp(path: Path) -> list[int]:
    """Return size and modification time, which a rename does not change; empty without a file."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
