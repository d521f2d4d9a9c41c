"""What reading a block takes, worked out by the rules of reading it and without doing so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrcdist.plan.coalesce import FrameRun, Window
from mrcdist.plan.layout import Frames, Layout
from mrcdist.read.places import (
    in_file_order,
    merged_runs,
    once,
    scatters,
    single_run,
    stored_bytes,
    stretches,
    usable,
)
from mrcdist.read.protocol import Cost, OpenPart, RangeKeeper
from mrcdist.read.views import even_step

__all__ = ["BlockCost", "block_cost"]


@dataclass(frozen=True)
class BlockCost:
    """What reading a block takes.

    Attributes
    ----------
    requests, nbytes : int
        Of all its ranges; see `Cost`.
    buffers : int
        Bytes of memory in use at a time, beside the block itself.
    """

    requests: int
    nbytes: int
    buffers: int


def block_cost(
    parts: Sequence[OpenPart], layout: Layout, frames: Frames, window: Window
) -> BlockCost:
    """Work out what `read_block` will do, by the same rules and without reading."""
    if not parts:
        return BlockCost(0, 0, 0)
    step = even_step(frames)
    single = single_run(parts[0], layout, frames, window, step) if len(parts) == 1 else None
    if isinstance(parts[0].reader, RangeKeeper):
        return _cost_of_pages(parts, layout, frames, window, single)
    costs: list[Cost] = []
    sizes: list[int] = []
    for part in parts:
        _, wanted = in_file_order(frames - part.first, part.frames)
        for run in [single] if single else merged_runs(part, layout, wanted, window):
            costs.append(part.reader.cost(part.offset + run.start, part.offset + run.stop))
            sizes.append(run.stop - run.start)
    ahead = max(part.reader.ahead for part in parts)
    low, high = window.byte_span(layout)
    if single is not None:
        buffers = sizes[0]
    elif scatters(parts, layout, window):
        buffers = frames.size * (high - low)
    else:
        # Those fetched ahead, the one that comes and the one that is being copied.
        buffers = sum(sorted(sizes)[-(ahead + 2) :])
    # One buffer that holds nothing but the block becomes the block.
    one = single is not None or scatters(parts, layout, window)
    block_bytes = stored_bytes(layout, frames, window)
    becomes_block = one and layout.pixels.plain and buffers <= block_bytes
    return BlockCost(
        requests=sum(cost.requests for cost in costs),
        nbytes=sum(cost.nbytes for cost in costs),
        buffers=(0 if becomes_block else buffers)
        + sum(sorted(cost.held for cost in costs)[-(ahead + 1) :]),
    )


def _cost_of_pages(
    parts: Sequence[OpenPart],
    layout: Layout,
    frames: Frames,
    window: Window,
    single: FrameRun | None,
) -> BlockCost:
    """What a block of mapped files takes in a process that has no memory to spare for their pages.

    One that has reads the same bytes in fewer requests, and in memory that it takes from `room`.
    """
    block_bytes = stored_bytes(layout, frames, window)
    low, high = window.byte_span(layout)
    viewed = 0
    if single and usable(parts[0], layout):
        viewed = single.stop - single.start
        taken = parts[0].reader.cost(single.start, single.stop)
        if taken.requests or viewed <= block_bytes:
            return BlockCost(taken.requests, viewed, buffers=max(viewed - block_bytes, 0))
    if scatters(parts, layout, window):
        found = [once(frames - part.first, part.frames) for part in parts]
        reads = [
            stretches(part, layout, window, places, numbers).lengths
            for part, (places, numbers, _) in zip(parts, found, strict=True)
        ]
        requests, nbytes = sum(map(len, reads)), sum(int(each.sum()) for each in reads)
        memory = frames.size * (high - low)
        buffers = 0 if layout.pixels.plain and memory <= block_bytes else memory
    else:
        runs = []
        for part in parts:
            _, wanted = in_file_order(frames - part.first, part.frames)
            runs += merged_runs(part, layout, wanted, window)
        taken_each = [parts[0].reader.cost(run.start, run.stop) for run in runs]
        requests = sum(each.requests for each in taken_each)
        nbytes = sum(each.nbytes for each in taken_each)
        # The largest piece, and its pixels on their way.
        buffers = max((run.stop - run.start for run in runs), default=0)
        each = len(window.rows) * len(window.columns) * layout.dtype.itemsize
        buffers += max((run.last - run.first for run in runs), default=0) * each
    return BlockCost(0, viewed, buffers) if viewed else BlockCost(requests, nbytes, buffers)
