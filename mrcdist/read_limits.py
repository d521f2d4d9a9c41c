"""Limits for reading, each with the measurement or reason behind it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Limits for planning reads; sizes are in bytes."""

    # A part of mapped frames is copied if its pieces are shorter than `short_piece` and it is less
    # than this fraction of a frame: arithmetic on contiguous data, including the copy, takes up to
    # 40 % less time, and the surrounding pages are released.
    short_piece: int = 1024
    narrow: float = 1 / 4

    # Parts of at least this length are read directly to their places; for shorter ones, the
    # overhead of Python per part is too high.
    min_scattered: int = 4096

    # Linux maps 64 KiB from the page cache around each address that is touched, and a part of a
    # frame has two ends.
    around: int = 2**17

    # A gap in a map that is not read costs only address space.
    map_gap: int = 2**26

    # Maximum length of a map that is copied from: a chunk of the default size.
    map_piece: int = 2**27

    # Largest gap that is read rather than skipped: what a network filesystem transfers in about
    # 1 ms.
    read_gap: int = 2**20

    # Length up to which a range is read rather than mapped: mapping and unmapping it take longer
    # than copying it, and a map keeps a file descriptor open.
    small: int = 2**20

    # Fraction of a worker's memory limit, or else of the memory of the machine, that mapped pages
    # which are not needed may occupy; the worker can hold the same amount of data before it spills.
    mapped_memory_share: float = 0.35

    # Maximum number of maps: each keeps a file descriptor open, and the default limit is 1,024.
    max_maps: int = 256

    # A shared map is released between one and two times this many seconds after its last use; the
    # next task usually starts sooner.
    map_linger: float = 1.0

    # When a page is first touched, the kernel reads 128 KiB (Linux's default) to 8 MiB ahead. For
    # smaller gaps between parts this is good enough, and parts are not announced one by one: a
    # block of up to `ahead_short` bytes is announced as a whole, since as much around it would be
    # read otherwise, and a longer one not at all.
    ahead_min_gap: int = 2**17
    ahead_short: int = 2**23

    # Number of parts whose first byte is tested for being in memory, because announcing parts that
    # already are wastes a microsecond each.
    ahead_sample: int = 32

    # Minimum length of the pieces of a long range: slow gateways have latencies of 50 ms, in which
    # a connection transfers as much.
    min_piece: int = 2**22

    # Bytes of a response that are buffered before they are copied to their place.
    in_flight: int = 2**19

    # Bytes decompressed at a time from a file that is one compressed stream, and bytes passed at a
    # time to the decompressor, which copies what it does not use immediately.
    stream_piece: int = 2**22
    stream_input: int = 2**17

    # Object stores, until measured: seconds to the first byte, bytes per second. Both are moving
    # averages with this weight of the latest response; only long responses count for bandwidth.
    latency: float = 0.015
    bandwidth: float = 70e6
    response_weight: float = 0.1
    min_bandwidth_sample: int = 2**20

    # Bounds of the gap up to which requests are merged, whatever is measured.
    least_gap: int = 2**16
    most_gap: int = 2**22

    # With more chunks, a plan has a note: dask takes seconds to optimise such a graph, and the
    # scheduler takes about 1 ms per task. Chunks of less than `small_chunk` bytes are read in less
    # time than that, so fewer of them are too many, and they are never chosen automatically.
    many_chunks: int = 50_000
    many_small_chunks: int = 10_000
    small_chunk: int = 2**20

    # More chunks along one axis are an error, raised before their lengths are listed: a damaged
    # header can announce 2**31 of them.
    max_chunks_per_axis: int = 2**22

    # Frames of more bytes, such as stitched montages, are split into rows if the chunk size is
    # smaller than a frame. Smaller frames are split only on request. A task holds its chunk and
    # temporaries.
    largest_frame: int = 2**29

    # Maximum length of a request that serves several coroutines, as a fraction of the largest gap,
    # which is what a connection transfers in the time of one request. It saves as much CPU time as
    # receiving 1 MiB takes, but over a slow connection, several short requests in parallel are
    # faster than a long one.
    joined_share: float = 1 / 2

    # Threads for reads that cannot be awaited. asyncio's default is four more than the machine has
    # processors; Zarr requests more chunks than that at a time, and most of them wait for a store.
    waiting_threads: int = 32

    # Records of an extended header that are read when a file is opened, enough for tens of
    # thousands of sections: with more, opening a file would take as long as reading it.
    record_bytes: int = 2**26

    # Chunk headers of MRCZ are read in windows of this size: one request for many small sections.
    section_window: int = 2**18

    # Requests, a second apart, for a version with a date older than the response. One is enough,
    # two if the clock that dates the file is slightly fast.
    settling_requests: int = 2

    def __reduce__(self) -> str | tuple[Any, ...]:
        # Pickled by name, because it is part of every task.
        if self is DEFAULT_LIMITS:
            return "DEFAULT_LIMITS"
        return ReadLimits, dataclasses.astuple(self)


DEFAULT_LIMITS = ReadLimits()
