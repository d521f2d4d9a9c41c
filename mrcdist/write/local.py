"""Files on a disk, also one that several hosts share."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dask.utils import format_bytes

from mrcdist.errors import WriteError
from mrcdist.storage.location import Location, here
from mrcdist.storage.url import on_network
from mrcdist.system_calls import allocate, write_at
from mrcdist.write.encoded_block import TEMPORARIES, WINDOW, window, windows
from mrcdist.write.errors import exists, incomplete, interrupted, overtaken, write_errors
from mrcdist.write.grid import Between, Grid, Piece, piece_bytes
from mrcdist.write.place import check_place

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

    A destination is picklable, and opened by each task for itself. It is written in cells of a
    grid, the bytes of each of which come once, or, where a task is done again, the same bytes once
    more. `date` is when the file was begun, for its label. `mark` is in the names of all that this
    call writes: tasks of an earlier call, whose folder was removed and made anew, find nothing of
    theirs.
    """

    location: Location
    grid: Grid
    date: str = ""
    mark: str = ""

    notes = ()  # what is to be said when writing begins

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes for the caller about how the file is written."""
        if self.grid.size:
            return ()
        return (
            "the compressed blocks are kept next to the file and copied to it at the end: "
            "until then, the disk holds them twice",
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
        """Make room for the file, or find what an earlier call has left, for tasks to write to.

        `about` is what tells this file from any other, and is kept as JSON beside what is written.
        A file that exists, is being written, or is another one than that of an earlier call is an
        `ArgumentError`.
        """
        check_place(self.location, overwrite=overwrite)
        with self._explained():
            earlier = self.earlier()
            if earlier is not None:
                grid = Grid(*earlier.get("grid", astuple(self.grid)))
                # Hosts that share the folder must not write to one page, as cells of a disk would.
                if resume and earlier["about"] == about and grid.step >= self.grid.step:
                    return replace(self, date=earlier["date"], mark=earlier["mark"], grid=grid)
                # One that ended before its plan was there has left nothing to go on with.
                begun = earlier["about"] is not None
                if begun if resume else not overwrite:
                    differs = (earlier["about"], about) if resume else None
                    raise interrupted(str(self.path), str(self.folder), differs)
                self._remove_folder()
            try:
                self.folder.mkdir()  # one writer alone can make it
            except FileExistsError:
                raise interrupted(str(self.path), str(self.folder)) from None
            made = replace(self, mark=os.urandom(4).hex())
            try:
                return made._prepared(about)
            except BaseException:
                if made._data.exists():  # else the folder is empty, or another call's
                    self._remove_folder()
                with suppress(OSError):
                    self.folder.rmdir()
                raise

    def _prepared(self, about: dict[str, Any]) -> LocalDestination:
        if shutil.disk_usage(self.folder).free < self.grid.size:
            raise self._full()
        with self._data.open("xb") as file:
            if not self.grid.size or on_network(str(self.path)):  # there, it may write zeros
                file.truncate(self.grid.size)
            else:
                allocate(file.fileno(), self.grid.size)
        if not self._data.exists():  # a call that saw no plan has begun anew
            raise interrupted(str(self.path), str(self.folder))
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        plan = json.dumps(
            {"about": about, "date": date, "mark": self.mark, "grid": astuple(self.grid)}
        )
        self._put(self.folder / _PLAN, [plan.encode()])
        return replace(self, date=date)

    def earlier(self) -> dict[str, Any] | None:
        """Plan of an earlier call; empty where that call ended before it wrote one."""
        if not self.folder.exists():
            return None
        nothing = {"about": None, "date": "", "mark": ""}
        try:
            found = self._plan()
            return found if replace(self, mark=found["mark"])._data.exists() else nothing
        except (OSError, ValueError, TypeError, LookupError):
            return nothing

    def _plan(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / _PLAN).read_text("utf-8")))

    def kept(self) -> frozenset[int]:
        """Return the numbers of the blocks that an earlier call has written."""
        return frozenset(
            int(path.name.partition(".")[0]) for path in self.folder.glob(f"*.{self.mark}.block")
        )

    def cost(self, nbytes: int, block: int) -> tuple[int, int]:
        """Return requests for `nbytes` of a block, and bytes encoded at a time; see `write`."""
        return 0, min(nbytes, window(block)) + TEMPORARIES

    def write(self, start: int, stop: int, between: Between, block: int = 0) -> None:
        """Write whole cells, from one byte to another; they are stored when this returns.

        `block` are the bytes in memory of a block of which these are encoded; 0 if they are the
        block's own memory.
        """
        with self.opened() as file:
            if file is not None:
                for low, high in windows(start, stop, window(block)):
                    write_at(file.fileno(), between(low, high), low)

    @contextmanager
    def opened(self) -> Iterator[IO[bytes] | None]:
        """Open the file, to whose disk goes what is written; None where nothing is left to do."""
        if self._is_finished():
            yield None
            return
        with self._explained(), self._data.open("r+b", buffering=0) as file:
            yield file
            os.fsync(file.fileno())

    def keep(self, number: int, record: bytes) -> None:
        """Keep a block's record."""
        if not self._is_finished():
            with self._explained():
                self._put(self._record(number), [record])

    def recall(self, number: int) -> bytes:
        """Return a block's record."""
        with self._explained():
            return self._record(number).read_bytes()

    def keep_packed(self, number: int, sections: Iterator[bytes]) -> int:
        """Keep a block's compressed sections, and return how many bytes they have."""
        if self._is_finished():
            return sum(map(len, sections))
        with self._explained():
            return self._put(self._packed(number), sections, sync=True)

    def _put(self, path: Path, pieces: Iterable[bytes], *, sync: bool = False) -> int:
        """Write a file that has its name once it is whole, and return its size."""
        unfinished = self.folder / f"{path.name}.{os.urandom(4).hex()}.new"
        with unfinished.open("xb") as file:
            file.writelines(pieces)
            if sync:
                _fsync(file)
            size = file.tell()
        unfinished.replace(path)
        return size

    def _packed(self, number: int) -> Path:
        return self.folder / f"{number}.{self.mark}.packed"

    def _record(self, number: int) -> Path:
        return self.folder / f"{number}.{self.mark}.block"

    @property
    def _data(self) -> Path:
        return self.folder / f"data.{self.mark}"

    def finish(
        self, rest: list[Piece], blocks: int, auxiliary: dict[str, bytes], packed: int | None = None
    ) -> None:
        """Write the last cells, and give the file its name.

        `rest` are whole cells, of which one has the header. The blocks that were kept have the
        numbers 0, 1, … Auxiliary files are small ones beside the file, by name. If blocks were
        kept compressed, in `packed` bytes, the header is all of `rest`, and they are joined to it.
        """
        data = self._data
        with self._explained():
            if data.exists():
                if packed is not None:
                    self._join(data, rest[0][1], blocks, packed)
                else:
                    for piece in rest:
                        self.write(*piece_bytes(piece))
                self._named(data)
            elif not self._has(rest):
                raise overtaken(self.location, str(self.folder))
            if not self._is_ours():
                return  # a task whose worker was lost had done it all
            for name, content in auxiliary.items():
                self._put(self.path.with_name(name), [content])
            _fsync_folder(self.path.parent)
            self._remove_folder()

    def _join(self, data: Path, start: bytes, blocks: int, nbytes: int) -> None:
        """Copy the compressed blocks behind the header."""
        with data.open("wb") as joined:
            joined.write(start)
            for number in range(blocks):
                with self._packed(number).open("rb") as packed:
                    shutil.copyfileobj(packed, joined, WINDOW)
            found = joined.tell() - len(start)
            _fsync(joined)
        if found != nbytes:
            raise incomplete(self.location, found, nbytes, "compressed bytes")

    def _named(self, data: Path) -> None:
        if self._plan()["about"]["overwrite"]:
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

        def has(start: int, raw: bytes) -> bool:
            file.seek(start)
            return file.read(len(raw)) == raw

        with suppress(FileNotFoundError), self.path.open("rb") as file:
            return all(has(*piece) for piece in rest)
        return False

    def abandon(self) -> None:
        """Remove all that was written."""
        if self._is_ours():
            self._remove_folder()

    def _is_ours(self) -> bool:
        """Whether the folder is still that of this call."""
        with suppress(FileNotFoundError):
            return bool(self._plan()["mark"] == self.mark)
        return False

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
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise self._full() from None
            if self.mark and isinstance(error, FileNotFoundError) and self.path.parent.is_dir():
                raise overtaken(self.location, str(self.folder)) from None
            with write_errors(self.location):
                raise


def _fsync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _fsync_folder(folder: Path) -> None:
    with suppress(OSError):  # some filesystems have no such thing
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
