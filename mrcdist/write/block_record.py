"""Record of a written block, kept beside the file until that is whole: `resume` reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from mrcdist.write.grid import Grid, Piece, join_pieces
from mrcdist.write.statistics import Statistics, merge_statistics

__all__ = ["BlockRecord", "merge_records"]


@dataclass(frozen=True)
class BlockRecord:
    """Of a block, or of several neighbours.

    Attributes
    ----------
    nbytes : int
        Bytes of pixels that they have.
    statistics : Statistics or None
        None where they are not wanted or not defined.
    carried : tuple of (int, bytes)
        Parts of cells that are not written yet.
    """

    nbytes: int
    statistics: Statistics | None
    carried: tuple[Piece, ...] = ()

    def to_bytes(self) -> bytes:
        """Return a line of JSON, and behind it what is carried."""
        about: dict[str, Any] = {
            "nbytes": self.nbytes,
            "statistics": asdict(self.statistics) if self.statistics else None,
            "carried": [[start, len(raw)] for start, raw in self.carried],
        }
        return b"".join([json.dumps(about).encode(), b"\n", *(raw for _, raw in self.carried)])

    @classmethod
    def from_bytes(cls, stored: bytes) -> BlockRecord | None:
        """Read what `to_bytes` made; None if that was cut short."""
        head, newline, rest = stored.partition(b"\n")
        if not newline:
            return None
        try:
            about = json.loads(head)
            carried, at = [], 0
            for start, length in about["carried"]:
                carried.append((start, rest[at : at + length]))
                at += length
            statistics = about["statistics"] and Statistics(**about["statistics"])
        except (ValueError, KeyError, TypeError):
            return None
        return cls(about["nbytes"], statistics, tuple(carried)) if at == len(rest) else None


def merge_records(grid: Grid, records: list[BlockRecord]) -> tuple[list[Piece], BlockRecord]:
    """Merge the records of neighbours.

    Returns
    -------
    complete : list of (int, bytes)
        Cells that are whole by now and have to be written.
    record : BlockRecord
    """
    complete, carried = join_pieces(grid, (piece for each in records for piece in each.carried))
    statistics = merge_statistics(each.statistics for each in records)
    return complete, BlockRecord(sum(each.nbytes for each in records), statistics, tuple(carried))
