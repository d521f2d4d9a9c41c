"""Files on a disk, also one that several hosts share."""

from __future__ import annotations

import errno
import json
import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.utils import format_bytes

from mrcdist.errors import AccessDeniedError, WriteError
from mrcdist.storage.location import Location, here
from mrcdist.storage.network_filesystems import on_network
from mrcdist.system_calls import allocate, write_at
from mrcdist.write.encoded_block import TEMPORARIES, WINDOW, window, windows
from mrcdist.write.errors import exists, incomplete, interrupted, other_chunks, overtaken
from mrcdist.write.grid import Between, Grid, Piece, piece_bytes
from mrcdist.write.place import check_place

__all__ = ["LocalDestination", "local_grid"]

# Hosts that share a folder cache it by pages; two of them must not write to the same one.
_PAGE = 65536

_PLAN = "plan.json"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def local_grid(path: Path, offset: int, size: int) -> Grid:
    """Return cells of pages on a network filesystem; elsewhere a block is written as it comes."""
    step = _PAGE if on_network(str(path)) else 1
    return Grid(-(-offset // step) * step, step, size)


@dataclass(frozen=True)
class LocalDestination:
    """A folder beside the file that is to be, with its bytes and the records of its blocks.

    Parameters
    ----------
    location : Location
    grid : Grid
    date : str
    mark : str
        In the names of all that this call writes: tasks of an earlier call, whose folder was
        removed and made anew, find nothing of theirs.
    window : int
        Bytes that are written at a time.
    """

    location: Location
    grid: Grid
    date: str = ""
    mark: str = ""
    window: int = WINDOW

    notes = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """See `Destination.remarks`."""
        if self.grid.size:
            return ()
        return (
            "the compressed blocks are kept beside the file and copied to it in the end: "
            "meanwhile, the disk holds them twice",
        )

    @property
    def path(self) -> Path:
        """The file that is to be."""
        return Path(self.location.url)

    @property
    def folder(self) -> Path:
        """Path of the folder that the file is made in."""
        return self.path.with_name(f".{self.path.name}.mrcdist-write")

    def begin(self, about: dict[str, Any], *, overwrite: bool, resume: bool) -> LocalDestination:
        """Make room for the file, or find what an earlier call has left.

        Parameters
        ----------
        about : dict
            What tells this file from any other; JSON-serialisable. Kept beside what is written.
        overwrite, resume : bool

        Returns
        -------
        Destination
            The one that tasks write to.

        Raises
        ------
        ArgumentError
            The file exists, is being written, or an earlier call wrote another one.
        WriteError, AccessDeniedError
        """
        check_place(self.location, overwrite=overwrite)
        with self._explained():
            earlier = self.earlier()
            if earlier is not None:
                if resume and earlier["about"] == about:
                    return replace(self, date=earlier["date"], mark=earlier["mark"])
                # One that ended before its plan was there has left nothing to go on with.
                begun = earlier["about"] is not None
                if begun if resume else not overwrite:
                    chunks = other_chunks(earlier["about"], about)
                    raise interrupted(
                        str(self.path), str(self.folder), differs=resume, chunks=chunks
                    )
                self._remove_folder()
            try:
                self.folder.mkdir()  # one writer alone can make it
            except FileExistsError:
                raise interrupted(str(self.path), str(self.folder), differs=False) from None
            try:
                return replace(self, mark=os.urandom(4).hex())._prepared(about)
            except BaseException:
                self._remove_folder()
                raise

    def _prepared(self, about: dict[str, Any]) -> LocalDestination:
        if shutil.disk_usage(self.folder).free < self.grid.size:
            raise self._full()
        with self._data.open("xb") as file:
            if not self.grid.size or on_network(str(self.path)):  # there, it may write zeros
                file.truncate(self.grid.size)
            else:
                allocate(file.fileno(), self.grid.size)
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        plan = self.folder / f"{_PLAN}.new"
        text = json.dumps({"about": about, "date": date, "mark": self.mark})
        plan.write_text(text, encoding="utf-8")
        plan.replace(self.folder / _PLAN)
        return replace(self, date=date)

    def earlier(self) -> dict[str, Any] | None:
        """Plan of an earlier call; empty where that call ended before it wrote one."""
        if not self.folder.exists():
            return None
        nothing = {"about": None, "date": "", "mark": ""}
        try:
            found = json.loads((self.folder / _PLAN).read_text("utf-8"))
            return found if replace(self, mark=found["mark"])._data.exists() else nothing
        except (OSError, ValueError, TypeError, LookupError):
            return nothing

    def kept(self) -> frozenset[int]:
        """See `Destination.kept`."""
        return frozenset(
            int(path.name.partition(".")[0]) for path in self.folder.glob(f"*.{self.mark}.block")
        )

    def cost(self, nbytes: int) -> tuple[int, int]:
        """See `Destination.cost`."""
        return 0, min(nbytes, self.window) + TEMPORARIES

    def beside(self, nbytes: int) -> LocalDestination:
        """See `Destination.beside`."""
        return replace(self, window=window(nbytes))

    def write(self, start: int, stop: int, between: Between) -> None:
        """See `Destination.write`."""
        with self.writing() as write:
            for low, high in windows(start, stop, self.window):
                write(low, between(low, high))

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """Open the file for many runs: a function of (first byte, bytes)."""
        if self._is_finished():
            yield lambda start, raw: None
            return
        with self._explained(), self._data.open("r+b", buffering=0) as file:
            yield lambda start, raw: write_at(file.fileno(), raw, start)
            os.fsync(file.fileno())

    @contextmanager
    def mapping(self) -> Iterator[Callable[[int, int], npt.NDArray[np.uint8] | None]]:
        """Open the file for many short runs.

        Yields
        ------
        callable
            (first byte, end) → these bytes of the file, to be written to before the next call;
            None where there is nothing left to write.
        """
        if self._is_finished():
            yield lambda start, stop: None
            return
        with self._explained(), self._data.open("r+b", buffering=0) as file:
            window, begin = np.empty(0, np.uint8), 0

            def region(start: int, stop: int) -> npt.NDArray[np.uint8]:
                nonlocal window, begin
                if not begin <= start <= stop <= begin + window.size:
                    # The map before this one goes with its last view, so that little counts as
                    # memory of the process.
                    begin = start // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
                    size = min(max(WINDOW, stop - begin), self.grid.size - begin)
                    window = np.frombuffer(mmap.mmap(file.fileno(), size, offset=begin), np.uint8)
                return window[start - begin : stop - begin]

            yield region
            window = np.empty(0, np.uint8)
            os.fsync(file.fileno())

    def keep(self, number: int, record: bytes) -> None:
        """See `Destination.keep`."""
        if self._is_finished():
            return
        with self._explained():
            unfinished = self.folder / f"{number}.{os.urandom(4).hex()}.new"
            unfinished.write_bytes(record)
            unfinished.replace(self._record(number))

    def recall(self, number: int) -> bytes:
        """See `Destination.recall`."""
        with self._explained():
            return self._record(number).read_bytes()

    def keep_packed(self, number: int, sections: Iterator[bytes]) -> int:
        """See `Destination.keep_packed`."""
        if self._is_finished():
            return sum(map(len, sections))
        unfinished = self.folder / f"{number}.{os.urandom(4).hex()}.new"
        with self._explained():
            with unfinished.open("xb") as file:
                for section in sections:
                    file.write(section)
                nbytes = file.tell()
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._packed(number))
        return nbytes

    def join_packed(
        self, start: bytes, blocks: int, nbytes: int, auxiliary: dict[str, bytes]
    ) -> None:
        """See `Destination.join_packed`."""
        data = self._data
        with self._explained():
            if data.exists():  # else the file has its name
                with data.open("wb") as joined:
                    joined.write(start)
                    for number in range(blocks):
                        with self._packed(number).open("rb") as packed:
                            shutil.copyfileobj(packed, joined, WINDOW)
                    size = joined.tell()
                    joined.flush()
                    os.fsync(joined.fileno())
                if size != len(start) + nbytes:
                    raise incomplete(self.location, size - len(start), nbytes)
        self.finish([(0, start)], blocks, auxiliary)

    def _packed(self, number: int) -> Path:
        return self.folder / f"{number}.{self.mark}.packed"

    def _record(self, number: int) -> Path:
        return self.folder / f"{number}.{self.mark}.block"

    @property
    def _data(self) -> Path:
        return self.folder / f"data.{self.mark}"

    def finish(self, rest: list[Piece], blocks: int, auxiliary: dict[str, bytes]) -> None:
        """See `Destination.finish`."""
        data = self._data
        with self._explained():
            if data.exists():
                for piece in rest:
                    self.write(*piece_bytes(piece))
                self._named(data)
            elif not self._has(rest):
                raise overtaken(self.location, str(self.folder))
            if not self._is_ours():
                return  # a task whose worker was lost had done it all
            for name, content in auxiliary.items():
                beside = self.folder / f"{name}.auxiliary"
                beside.write_bytes(content)
                beside.replace(self.path.with_name(name))
            _fsync_folder(self.path.parent)
            self._remove_folder()

    def _named(self, data: Path) -> None:
        about = json.loads((self.folder / _PLAN).read_text("utf-8"))["about"]
        if about["overwrite"]:
            data.replace(self.path)
            return
        try:
            os.link(data, self.path)  # unlike a rename, it replaces nothing
        except FileExistsError:
            if not self.path.samefile(data):  # else linked by a task that was lost just then
                raise exists(str(self.path)) from None
        except OSError:  # a filesystem without hard links
            if self.path.exists():
                raise exists(str(self.path)) from None
            data.rename(self.path)
            return
        data.unlink()

    def _is_finished(self) -> bool:
        """Whether the file has its name: a task whose worker was lost is being done again.

        `finish` then compares the header, which names the second in which the file was begun.
        """
        if self.folder.exists() or not self.path.exists():
            return False
        return self.grid.size in (0, self.path.stat().st_size)

    def _has(self, rest: list[Piece]) -> bool:
        """Whether the file has its name, its header, and whatever else was written last."""
        if not self.path.exists():
            return False
        with self.path.open("rb") as file:
            return all(_read_at(file, start, len(raw)) == raw for start, raw in rest)

    def abandon(self) -> None:
        """See `Destination.abandon`."""
        if self._is_ours():
            self._remove_folder()

    def _is_ours(self) -> bool:
        """Whether the folder is still that of this call."""
        try:
            found = json.loads((self.folder / _PLAN).read_text("utf-8"))
        except FileNotFoundError:
            return False
        return bool(found["mark"] == self.mark)

    def _remove_folder(self) -> None:
        """Remove it, also from under tasks that still run and would add files to it."""
        removed = self.folder.with_name(f"{self.folder.name}.{os.urandom(4).hex()}")
        with suppress(FileNotFoundError):  # by another task
            self.folder.rename(removed)  # tasks open their files by the name it had
            shutil.rmtree(removed, ignore_errors=True)

    def _full(self) -> WriteError:
        size = format_bytes(self.grid.size) if self.grid.size else "compressed blocks"
        return WriteError(
            f"{self.path}: {size} do not fit on the disk",
            code="disk-full",
            cause=f"{format_bytes(shutil.disk_usage(self.path.parent).free)} are free",
            remedy="free space, or write elsewhere or as another dtype",
            where=here(self.location),
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise AccessDeniedError(
                f"{self.path} may not be written",
                code="access-denied",
                cause=str(error),
                remedy="write to a folder in which every worker may create files",
                where=here(self.location),
            ) from None
        except OSError as error:
            if isinstance(error, WriteError):
                raise
            if self.mark and isinstance(error, FileNotFoundError) and self.path.parent.is_dir():
                raise overtaken(self.location, str(self.folder)) from None
            if error.errno in _NO_ROOM:
                raise self._full() from None
            raise WriteError(
                f"{self.path} could not be written",
                code="write-failed",
                cause=f"{type(error).__name__}: {error}",
                remedy="check that every worker has the folder at the same path and may write to "
                "it, then call again with {resume=True}",
                where=here(self.location),
            ) from None


def _read_at(file: Any, start: int, size: int) -> bytes:
    file.seek(start)
    read: bytes = file.read(size)
    return read


def _fsync_folder(folder: Path) -> None:
    with suppress(OSError):  # some filesystems have no such thing
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
