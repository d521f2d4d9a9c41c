"""Assignment of blocks to tasks, and of tasks to the parts that survive an interrupted job.

Blocks are the chunks of the plan, in the order of the array: consecutive ones lie along the
slowest navigation axis. A task is a run of consecutive blocks, which it reads one after the other,
so that only one of them is in memory; a part is a run of consecutive tasks. Parts depend on the
plan alone, not on the cluster, so that a job can be resumed on another cluster.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

from mrcdist.plan.chunks import Chunks, block_boxes

Block = tuple[tuple[int, int], ...]
"""Start and stop along every navigation axis."""
Task = tuple[Block, ...]
Part = tuple[Task, ...]

# A short job has this many tasks per thread, so that threads finish at about the same time. If the
# number of threads is unknown, it has `MAX_TASKS`: the scheduler takes about 1 ms per task.
_TASKS_PER_THREAD = 4
MAX_TASKS = 1024
# The tasks of a long job read this many bytes each, which takes a second or two from memory ...
_TASK_BYTES = 4 * 2**30
# ... or more, so that the memory of scheduler and client does not grow with the file.
_MOST_TASKS = 4096

# Parts are files in one folder: enough of them that little is lost, few enough to list.
MAX_PARTS = 256

# A part of a sum is a whole frame, which is sent to the client: 128 MiB for 4096 × 4096 pixels.
MAX_SUM_PARTS = 32

# Frames per task, as a multiple of the size of their sums, so that sending sums does not cost more
# than reading frames ...
_BYTES_PER_SUM_BYTE = 8
# ... provided that there are at least this many tasks.
_ENOUGH_TASKS = 64

_T = TypeVar("_T")


def most_tasks(nbytes: int, threads: int = 0) -> int:
    """Return the maximum number of tasks for `nbytes` of data; `threads` is 0 if unknown."""
    of_long_job = min(math.ceil(nbytes / _TASK_BYTES), _MOST_TASKS)
    return max(_TASKS_PER_THREAD * threads or MAX_TASKS, of_long_job)


def block_frames(block: Block) -> int:
    """Return the number of frames in a block."""
    return math.prod(stop - start for start, stop in block)


def iter_blocks(part: Part) -> Iterator[Block]:
    """Iterate over the blocks of a part."""
    return itertools.chain.from_iterable(part)


def part_frames(part: Part) -> int:
    """Return the number of frames in a part."""
    return sum(map(block_frames, iter_blocks(part)))


def schedule_pass(
    navigation: Chunks,
    *,
    frame_bytes: int,
    sum_bytes: int,
    max_tasks: int = MAX_TASKS,
    max_sum_parts: int = MAX_SUM_PARTS,
) -> tuple[Part, ...]:
    """Return the tasks and parts of a pass over blocks of these lengths along the navigation axes.

    `sum_bytes` is the size of all results with the shape of a frame. If there are any, tasks
    process many frames, and there are at most `max_sum_parts` parts.
    """
    blocks = list(block_boxes(navigation))
    per_task, max_parts = 1, MAX_PARTS
    if sum_bytes:
        block_bytes = max(map(block_frames, blocks)) * frame_bytes
        per_task = math.ceil(_BYTES_PER_SUM_BYTE * sum_bytes / max(block_bytes, 1))
        per_task = max(min(per_task, len(blocks) // _ENOUGH_TASKS), 1)
        max_parts = max_sum_parts
    tasks = _divide(blocks, min(math.ceil(len(blocks) / per_task), max_tasks))
    return _divide(tasks, min(len(tasks), max_parts))


def _divide(items: Sequence[_T], count: int) -> tuple[tuple[_T, ...], ...]:
    """Divide into `count` runs of consecutive items, whose lengths differ by 1 at most."""
    cuts = [len(items) * i // count for i in range(count + 1)]
    return tuple(tuple(items[a:b]) for a, b in itertools.pairwise(cuts))
