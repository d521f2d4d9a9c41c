"""The interface of destinations: disks, buckets and other stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from mrcdist.write.grid import Between, Grid, Piece

__all__ = ["Destination", "give_name"]


class Destination(Protocol):
    """A file that is being written; picklable, opened by each task for itself.

    The bytes of a cell come once, or, where a task is done again, the same bytes once more.
    """

    @property
    def grid(self) -> Grid:
        """The cells in which it is written."""

    def cost(self, nbytes: int) -> tuple[int, int]:
        """Return requests for a block of so many bytes, and bytes that are encoded at a time."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes for the caller about how the file is written."""

    @property
    def notes(self) -> tuple[str, ...]:
        """State found there when writing began."""

    @property
    def date(self) -> str:
        """When the file was begun, for its label."""

    def kept(self) -> frozenset[int]:
        """Return the numbers of the blocks that an earlier call has written."""

    def beside(self, nbytes: int) -> Destination:
        """Return it as it writes what takes memory beside a block of so many bytes."""

    def write(self, start: int, stop: int, between: Between) -> None:
        """Write whole cells, from one byte to another; they are stored when this returns."""

    def keep(self, number: int, record: bytes) -> None:
        """Keep a block's record."""

    def recall(self, number: int) -> bytes:
        """Return a block's record."""

    def keep_packed(self, number: int, sections: Iterator[bytes]) -> int:
        """Keep a block's compressed sections, and return how many bytes they have."""

    def join_packed(
        self, start: bytes, blocks: int, nbytes: int, auxiliary: dict[str, bytes]
    ) -> None:
        """Join the compressed blocks, and give the file its name.

        Parameters
        ----------
        start : bytes
            What comes first: the header and the extended header.
        blocks : int
            Their numbers are 0, 1, …
        nbytes : int
            Bytes of all blocks.
        auxiliary : dict of str to bytes
        """

    def finish(self, rest: list[Piece], blocks: int, auxiliary: dict[str, bytes]) -> None:
        """Write the last cells, and give the file its name.

        Parameters
        ----------
        rest : list of (int, bytes)
            Whole cells; the header's is one of them.
        blocks : int
            Those that were kept have the numbers 0, 1, …
        auxiliary : dict of str to bytes
            Small files beside it, by name.
        """

    def abandon(self) -> None:
        """Remove all that was written."""


def give_name(complete: Path, path: Path, aside: Path) -> None:
    """Give a complete file or folder its name; what had that name keeps it if that fails.

    Parameters
    ----------
    complete, path : Path
    aside : Path
        Where a folder that is replaced is left: a rename replaces files alone.
    """
    if not path.is_dir():
        complete.replace(path)
        return
    path.rename(aside)
    try:
        complete.rename(path)
    except BaseException:
        aside.rename(path)
        raise
