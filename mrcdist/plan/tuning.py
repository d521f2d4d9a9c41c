"""Thresholds of reading, each with what it was measured or chosen by."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

__all__ = ["DEFAULT_TUNING", "Tuning"]


@dataclass(frozen=True, slots=True)
class Tuning:
    """Thresholds by which reading is planned; sizes are in bytes."""

    # Of mapped frames, a part in pieces shorter than so many bytes, and below so much of the whole
    # frame, is copied: arithmetic on what lies together takes up to 40 % less time, the copying
    # included, and the pages around it go.
    short_piece: int = 1024
    narrow: float = 1 / 4

    # Length of a frame's part from which Python can afford to place each by itself.
    least_scattered: int = 4096

    # Linux maps 64 KiB of what is in the page cache around each place that is touched, and a part
    # of a frame has two ends.
    around: int = 2**17

    # An unread gap in a map costs address space, not bytes.
    map_gap: int = 2**26

    # Pages that are mapped at a time, at most, to be copied from: a chunk of the usual size.
    map_piece: int = 2**27

    # A gap that read() reads rather than skips: what a network filesystem sends in about 1 ms.
    read_gap: int = 2**20

    # Length up to which a range is read rather than mapped: to map it and to let go of it take
    # longer than to copy it, and a map keeps a file descriptor open.
    small: int = 2**20

    # Of a worker's memory limit, or else of the machine's memory, for mapped pages that are not
    # wanted: what a worker holds may take as much again before it spills.
    map_share: float = 0.35

    # Maps at a time: each keeps one file descriptor open, of 1,024 that a process has by default.
    most_maps: int = 256

    # Seconds that a shared map stays after its last use, at least, and twice as long at most: a
    # task is followed sooner by the next.
    map_linger: float = 1.0

    # Around each page that is touched for the first time a disk reads 128 KiB (Linux's default) to
    # 8 MiB ahead. With far smaller gaps between parts that is as good, and one call for all; a
    # block shorter than 8 MiB is announced even so, since as much around it is read for nothing.
    ahead_least_gap: int = 2**17
    ahead_short: int = 2**23

    # Parts of which the first byte is looked at, to see whether they are in memory: to announce
    # parts that are takes a microsecond each.
    ahead_sample: int = 32

    # Pieces in which a long range is fetched are no shorter: slow gateways have latencies of 50 ms,
    # in which a connection sends as much.
    shortest_piece: int = 2**22

    # What a request holds of its answer before it is copied to its place.
    in_flight: int = 2**19

    # Decompressed at a time of a file that is one compressed stream.
    stream_piece: int = 2**22

    def __reduce__(self) -> str | tuple[Any, ...]:
        # By name, since every task carries it.
        if self is DEFAULT_TUNING:
            return "DEFAULT_TUNING"
        return Tuning, dataclasses.astuple(self)


DEFAULT_TUNING = Tuning()
