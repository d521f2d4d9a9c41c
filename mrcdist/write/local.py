"""Files on a disk, which several hosts may share."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dask.utils import format_bytes

from mrcdist.errors import WriteError
from mrcdist.storage.local_files import atomic_write, fsync, fsync_folder, rename_file
from mrcdist.storage.location import Location, here
from mrcdist.storage.url import on_network
from mrcdist.system_calls import allocate, write_at
from mrcdist.write.checks import check_destination
from mrcdist.write.encoded_block import TEMPORARIES, WINDOW, window, windows
from mrcdist.write.errors import (
    abandoned_on_failure,
    busy,
    exists,
    incomplete,
    overtaken,
    write_errors,
)
from mrcdist.write.grid import Between, Grid, Piece, piece_bytes
from mrcdist.write.work_folder import WorkFolder

# Hosts that share a folder cache its files in pages; no two of them may write to the same page.
_PAGE = 65536

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def local_grid(path: Path, offset: int, size: int) -> Grid:
    """Return a grid of pages on a network filesystem; elsewhere, of single bytes."""
    step = _PAGE if on_network(str(path)) else 1
    return Grid(-(-offset // step) * step, step, size)


@dataclass(frozen=True)
class LocalDestination:
    """A new file on a disk, written by tasks to a work folder next to it.

    A destination is picklable, and each task opens the file itself. Each cell of the grid is
    written by one task, or by two with the same bytes if a task is repeated. The grid of a
    compressed file, whose size is unknown, has size 0. `date` is when writing began, for a label.
    """

    location: Location
    grid: Grid
    date: str = ""
    mark: str = ""
    overwrite: bool = False

    notes = ()  # warnings of `begin`

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks for the estimate about how the file is written."""
        if self.grid.size:
            return ()
        return (
            "the compressed blocks are kept next to the file and copied to it at the end: "
            "until then, the disk holds them twice",
        )

    @property
    def path(self) -> Path:
        """The path of the new file."""
        return Path(self.location.url)

    @property
    def work(self) -> WorkFolder:
        """The work folder."""
        return WorkFolder(self.location, self.mark)

    @property
    def _data(self) -> Path:
        return self.work.path / f"data.{self.mark}"

    def _packed(self, number: int) -> Path:
        return self.work.path / f"{number}.{self.mark}.packed"

    def begin(self, about: dict[str, Any], *, overwrite: bool, resume: bool) -> LocalDestination:
        """Reserve space for the file, or continue an earlier call; return where tasks write.

        `about` distinguishes this file from any other and is JSON-serialisable. Raise
        `ArgumentError` if the file exists, is being written, or differs from that of an earlier
        call.
        """
        check_destination(self.location, overwrite=overwrite)
        with self._explained():
            plan = self.work.plan()
            if plan is not None:
                previous = replace(self, mark=plan.get("mark", ""), overwrite=overwrite)
                if not previous._data.exists():
                    plan["about"] = None  # interrupted before there was a file
                if self.work.resumes(plan, about, resume=resume, overwrite=overwrite):
                    grid = Grid(*plan["grid"])
                    if grid.step < self.grid.step:  # two hosts would write to the same page
                        raise self.work.cannot_resume(
                            f"{self.path} cannot be resumed here",
                            f"{self.work.shown} was started by a host that has it on a local disk; "
                            "over a network, as here, blocks are divided differently",
                            "resume it on that host",
                        )
                    return replace(previous, date=plan["date"], grid=grid)
                previous.work.clear()
            date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
            new = replace(self, date=date, mark=os.urandom(4).hex(), overwrite=overwrite)
            new.work.claim(about, date=date, grid=astuple(self.grid))
            with abandoned_on_failure(new.abandon):
                new._create_data()
            return new

    def _create_data(self) -> None:
        """Create the file that tasks write to; it appears when its space is reserved."""
        if shutil.disk_usage(self.work.path).free < self.grid.size:
            raise self._disk_full()
        try:
            with atomic_write(self._data, sync=False) as file:
                if not self.grid.size or on_network(str(self.path)):  # may write zeros there
                    file.truncate(self.grid.size)
                else:
                    allocate(file.fileno(), self.grid.size)
        except FileNotFoundError:  # another call has started over
            raise busy(self.location, self.work.shown) from None

    def cost(self, nbytes: int, block: int) -> tuple[int, int]:
        """Return the requests for `nbytes` of a block, and the bytes encoded at a time."""
        return 0, min(nbytes, window(block)) + TEMPORARIES

    def write(self, start: int, stop: int, between: Between, block: int = 0) -> None:
        """Write a byte range of whole cells; it is on the disk when this returns.

        `block` is the size in memory of the block from which the bytes are encoded; 0 if they are
        the memory of the block itself.
        """
        with self.opened() as file:
            if file is not None:
                for low, high in windows(start, stop, window(block)):
                    write_at(file.fileno(), between(low, high), low)

    @contextmanager
    def opened(self) -> Iterator[IO[bytes] | None]:
        """Open the file for writing, and sync it at the end; None if it is finished."""
        if self._is_finished():
            yield None
            return
        with self._explained(), self._data.open("r+b", buffering=0) as file:
            yield file
            os.fsync(file.fileno())

    def keep(self, number: int, record: bytes) -> None:
        """Record that a block is finished."""
        if not self._is_finished():
            with self._explained():
                self.work.keep(number, record)

    def keep_packed(self, number: int, sections: Iterator[bytes]) -> int:
        """Keep the compressed sections of a block, and return their size."""
        if self._is_finished():
            return sum(map(len, sections))
        with self._explained(), atomic_write(self._packed(number)) as file:
            file.writelines(sections)
            return file.tell()

    def finish(
        self,
        pieces: list[Piece],
        blocks: int,
        auxiliary: dict[str, bytes],
        packed: int | None = None,
    ) -> None:
        """Write the last cells, and give the file its name.

        `pieces` are whole cells, one of which contains the header. `auxiliary` files have their
        names next to the file. If the blocks, numbered from 0, were compressed to `packed` bytes in
        total, `pieces` is only the header, and the blocks are copied after it.
        """
        with self._explained():
            if self._data.exists():
                if packed is not None:
                    self._join(pieces[0][1], blocks, packed)
                else:
                    for piece in pieces:
                        self.write(*piece_bytes(piece))
                try:
                    rename_file(self._data, self.path, overwrite=self.overwrite)
                except FileExistsError:
                    raise exists(str(self.path)) from None
            elif not self._contains(pieces):
                raise overtaken(self.location, self.work.shown)
            if not self.work.holds():
                return  # already done by a task whose worker was lost
            for name, content in auxiliary.items():
                self.work.put(name, content)
                (self.work.path / name).replace(self.path.with_name(name))
            fsync_folder(self.path.parent)
            self.abandon()

    def _join(self, header: bytes, blocks: int, nbytes: int) -> None:
        """Write the header, and copy the compressed blocks after it."""
        with self._data.open("wb") as joined:
            joined.write(header)
            for number in range(blocks):
                with self._packed(number).open("rb") as packed:
                    shutil.copyfileobj(packed, joined, WINDOW)
            copied = joined.tell() - len(header)
            fsync(joined)
        if copied != nbytes:
            raise incomplete(self.location, copied, nbytes, "compressed bytes")

    def _is_finished(self) -> bool:
        """Return whether the file has its name already, since a lost worker's task is repeated.

        `finish` then compares the header, which contains the time when writing began.
        """
        if self.work.path.exists() or not self.path.exists():
            return False
        return self.grid.size in (0, self.path.stat().st_size)

    def _contains(self, pieces: list[Piece]) -> bool:
        """Return whether the file has its name and contains these pieces, such as its header."""

        def has(start: int, content: bytes) -> bool:
            file.seek(start)
            return file.read(len(content)) == content

        with suppress(FileNotFoundError), self.path.open("rb") as file:
            return all(has(*piece) for piece in pieces)
        return False

    def abandon(self) -> None:
        """Remove the work folder, unless another call has taken over."""
        self.work.remove()

    def _disk_full(self) -> WriteError:
        size = format_bytes(self.grid.size) if self.grid.size else "compressed blocks"
        return WriteError(
            f"{self.path}: {size} do not fit on the disk",
            code="disk-full",
            cause=f"{format_bytes(shutil.disk_usage(self.path.parent).free)} are free",
            remedy="free space, or write to another disk or with a smaller dtype",
            where=here(self.location),
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise self._disk_full() from None
            if self.mark and isinstance(error, FileNotFoundError) and self.path.parent.is_dir():
                raise overtaken(self.location, self.work.shown) from None
            with write_errors(self.location):
                raise
