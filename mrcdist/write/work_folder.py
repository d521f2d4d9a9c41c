"""Temporary files next to a new file: who is writing it, and records of what is finished."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from mrcdist.errors import ArgumentError, FileChangedError, MissingFileError, MrcdistError
from mrcdist.storage.local_files import atomic_write, remove_folder, rename_file
from mrcdist.storage.location import Location
from mrcdist.storage.retry import Refused, is_stopped
from mrcdist.storage.store_calls import StoreCalls
from mrcdist.write.errors import busy, write_errors
from mrcdist.write.s3_client import call, is_s3

_PLAN = "plan.json"
# Changes whenever the files of this folder do: those of other versions cannot be continued.
_FORMAT = 2

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class WorkFolder:
    """Folder of an unfinished file, hidden on a disk; in a store, a prefix of object names.

    The plan in it describes what is being written, and by which call: only one call at a time can
    create it. The call's `mark`, which is empty if unknown, is also part of the names of its
    records, so that a call which has been taken over by another one, but is still running, does
    not disturb that one.
    """

    target: Location
    mark: str = ""

    @property
    def location(self) -> Location:
        """The folder."""
        dot = "." if self.target.is_local else ""
        return self.target.sibling(f"{dot}{self.target.name}.mrcdist-write")

    @property
    def path(self) -> Path:
        """The folder, on a disk."""
        return Path(self.location.url)

    @property
    def shown(self) -> str:
        """The folder, for messages."""
        return self.location.shown if self.target.is_local else f"{self.location.shown}/"

    def at(self, name: str) -> Location:
        """Return the location of a file in the folder."""
        return replace(self.location, url=f"{self.location.url}/{name}")

    def put(self, name: str, content: bytes | memoryview) -> None:
        """Write a file."""
        if self.target.is_local:
            with atomic_write(self.path / name, sync=False) as file:
                file.write(content)
        elif is_s3(self.target):
            call(self.at(name), "put_object", Body=content)
        else:
            StoreCalls(self.location).put(name, bytes(content))

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return a file, or a byte range of it."""
        return self.target.retried(lambda: StoreCalls(self.location).read(name, start, stop))

    def sizes(self) -> dict[str, int]:
        """Return the size of each file by its path in the folder."""
        with suppress(MissingFileError):
            return StoreCalls(self.location).sizes()
        return {}

    # Records: one for each finished block.

    def record_name(self, block: object) -> str:
        """Return the name of a block's record."""
        return f"{block}.{self.mark}.done"

    def keep(self, block: object, record: bytes = b"") -> None:
        """Record that a block is finished."""
        self.put(self.record_name(block), record)

    def recall(self, block: object) -> bytes:
        """Return the record of a block."""
        return self.read(self.record_name(block))

    def kept(self) -> frozenset[str]:
        """Return the finished blocks."""
        ending = self.record_name("")
        with suppress(MissingFileError):
            names = StoreCalls(self.location).names()
            return frozenset(name.removesuffix(ending) for name in names if name.endswith(ending))
        return frozenset()

    # The plan.

    def plan(self, *, retry: bool = True) -> dict[str, Any] | None:
        """Return the plan of the call that is writing, or was; None without one.

        Its ``"about"`` is empty if it is unreadable or of another version of mrcdist; an unreadable
        one has no ``"mark"`` either.
        """
        unreadable = False

        def read() -> dict[str, Any]:
            nonlocal unreadable
            unreadable = False
            content = StoreCalls(self.location).read(_PLAN)
            unreadable = True
            with suppress(ValueError):
                plan = json.loads(content)
                if isinstance(plan, dict):
                    return plan
            # In a store, it may have been the error page of a proxy.
            raise ValueError if self.target.is_local else Refused(f"{_PLAN} cannot be parsed")

        try:
            plan = request(self.target, read, retry=retry)
        except MissingFileError:
            return None
        except MrcdistError as error:
            # S3 refuses the range of an empty object.
            if not unreadable and not isinstance(error, FileChangedError):
                raise
            return {"about": {}}
        return plan if plan.get("format") == _FORMAT else {**plan, "about": {}}

    def claim(self, about: Mapping[str, Any], **details: Any) -> None:
        """Create the plan; raise `ArgumentError` if another call has created one.

        `about` distinguishes this file from any other; the `details` are needed to continue.
        """
        plan = {"format": _FORMAT, "mark": self.mark, "about": about, **details}
        content = json.dumps(plan).encode()
        try:
            if self.target.is_local:
                self._create_local_plan(content)
            elif is_s3(self.target):
                call(self.at(_PLAN), "put_object", Body=content, IfNoneMatch="*")
            else:
                StoreCalls(self.location).put(_PLAN, content, new=True)
        except (OSError, MrcdistError) as error:
            holder = self.plan()
            if holder is None and not isinstance(error, FileExistsError | FileChangedError):
                raise
            if holder is None or holder.get("mark") != self.mark:
                raise busy(self.target, self.shown) from None
            # Else it was created, but the response was lost.
        if is_stopped() and self.holds():  # the call was abandoned before there was a plan
            self.remove_plan()

    def _create_local_plan(self, content: bytes) -> None:
        self.path.mkdir(exist_ok=True)
        name = f"{_PLAN}.{self.mark}"
        try:
            self.put(name, content)
            rename_file(self.path / name, self.path / _PLAN, overwrite=False)
        except BaseException:
            with suppress(OSError):
                (self.path / name).unlink(missing_ok=True)
                self.path.rmdir()  # fails if another call is using it
            raise

    def resumes(
        self, plan: Mapping[str, Any], about: Mapping[str, Any], *, resume: bool, overwrite: bool
    ) -> bool:
        """Decide whether to continue the call that created a plan, or to start over.

        A plan whose ``"about"`` is None was left by a call that has finished nothing. Raise
        `ArgumentError` if the call must not be continued or may still be running.
        """
        if resume and plan["about"] == about:
            return True
        if resume and plan["about"] == {}:
            raise self.cannot_resume(
                f"{self.target.shown} cannot be resumed",
                f"{self.shown} was started by another version of mrcdist, or its plan is damaged",
                "resume it with that version",
            )
        if resume and plan["about"] is not None:
            raise self.cannot_resume(
                f"{self.target.shown}: an earlier call has written a different array",
                f"{self.shown} was started with other {_difference(plan['about'], about)}",
                "pass the same data in the same chunks",
            )
        if not resume and not overwrite:
            raise busy(self.target, self.shown)
        return False

    def cannot_resume(self, problem: str, cause: str, remedy: str) -> ArgumentError:
        """Build the error for an earlier call that cannot be continued."""
        return ArgumentError(
            problem,
            code="destination-differs",
            argument="resume",
            cause=cause,
            remedy=f"{remedy}, or delete {self.shown} to start over",
        )

    def holds(self, *, retry: bool = True) -> bool | None:
        """Return whether this call holds the plan; None if the plan is unreadable.

        With `retry`, a plan is reported as missing only if it is missing twice: a proxy may answer
        404 for an existing object.
        """
        if not self.mark:
            return False
        plan = self.plan(retry=retry)
        if plan is None and retry:
            plan = self.plan()
        if plan is None:
            return False
        return bool(plan["mark"] == self.mark) if "mark" in plan else None

    def is_lost(self, *, retry: bool = True) -> bool:
        """Return whether another call has taken over, or the folder was removed."""
        with suppress(MrcdistError):  # unknown
            return self.holds(retry=retry) is False
        return False

    def remove(self, names: Sequence[str] = ()) -> None:
        """Remove everything, or only the files with these names; another call's files stay.

        The plan is removed first: tasks that are still running check it after they keep a record.
        """
        if self.holds():
            if not names:
                self.clear()
                return
            self.remove_plan()
        elif self.target.is_local or not self.mark:
            return
        self.remove_files(name for name in names or self.sizes() if self.mark in name)

    def clear(self) -> None:
        """Remove the files of all calls, except those of a call that begins in the meantime."""
        if self.target.is_local:
            remove_folder(self.path)
            return
        self.remove_plan()
        self.remove_leftovers()

    def remove_leftovers(self) -> None:
        """Remove the files of all calls from a store, or only this call's if another one begins."""
        names = self.sizes()
        if _PLAN in names:  # of another call
            self.remove_files(name for name in names if self.mark and self.mark in name)
        elif is_s3(self.target):  # only what was listed: another call may begin now
            self.remove_files(names)
        else:
            StoreCalls(self.location).remove_all()

    def remove_plan(self) -> None:
        """Remove the plan: an interrupted removal of the rest is then not continued."""
        self.remove_files([_PLAN])

    def remove_files(self, names: Iterable[str]) -> None:
        """Remove files from a store, some of which may not exist."""
        fs, _ = self.target.filesystem()
        paths = [self.at(name).filesystem()[1] for name in names]
        if not self.target.is_local:  # other filesystems expand patterns
            paths = list(map(glob.escape, paths))

        def remove() -> None:
            with suppress(FileNotFoundError):
                if paths:
                    fs.rm(paths)
            fs.invalidate_cache()

        with write_errors(self.target):
            self.target.retried(remove)


def request(location: Location, send: Callable[[], _Answer], *, retry: bool) -> _Answer:
    """Send a request to a store; without `retry` only once, if the caller repeats it."""
    if retry:
        return location.retried(send)
    try:
        return send()
    except Exception as error:  # noqa: BLE001 each store has its own errors
        raise location.explained(error) from None


def _difference(previous: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Name what differs; if the chunks do, with their largest sizes."""
    for key in ("read_chunks", "chunks"):
        old, new = previous.get(key), current.get(key)
        if old and new and old != new:
            old, new = (" × ".join(str(max(axis)) for axis in chunks) for chunks in (old, new))
            return f"chunks: up to {old} then, {new} now"
    return "data, dtype, chunks or metadata"
