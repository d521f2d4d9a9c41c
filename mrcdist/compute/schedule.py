"""Assignment of blocks to tasks, and of tasks to the parts that survive an interrupted job.

Blocks are the chunks of the plan, in the order of the array: consecutive ones lie along the
slowest navigation axis. A task is a run of consecutive blocks, which it reads one after the other
and so in the memory of one; a part is a run of consecutive tasks. What may be resumed follows from
the plan alone, not from the cluster: a job goes on where it ended, elsewhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

from mrcdist.plan.chunks import Chunks, block_boxes

Block = tuple[tuple[int, int], ...]
"""Start and stop along every navigation axis."""
Task = tuple[Block, ...]
Part = tuple[Task, ...]

# A short job has so many tasks per thread, so that threads end at about the same time, or so many
# in all where the threads are not known; the scheduler takes about 1 ms for each ...
_TASKS_A_THREAD = 4
MAX_TASKS = 1024
# ... and a long one has tasks of so many bytes, a second or two of reading from memory.
_TASK_BYTES = 4 * 2**30

# Parts are files in one folder: enough of them that little is lost, few enough to list.
MAX_PARTS = 256

# A part of a sum is a whole frame, which travels to the client: 128 MiB for 4096 × 4096 pixels.
MAX_SUM_PARTS = 32

# A sum should be of much more than its own size, or moving sums costs more than reading frames ...
_SUM_GAIN = 8
# ... as long as there are tasks enough to go round.
_ENOUGH_TASKS = 64

_T = TypeVar("_T")


def most_tasks(nbytes: int, threads: int = 0) -> int:
    """Maximum number of tasks that read so many bytes with so many threads; 0 if not known."""
    return max(_TASKS_A_THREAD * threads or MAX_TASKS, math.ceil(nbytes / _TASK_BYTES))


def block_frames(block: Block) -> int:
    """Number of frames in a block."""
    return math.prod(stop - start for start, stop in block)


def schedule_pass(
    navigation: Chunks,
    *,
    frame_bytes: int,
    sum_bytes: int,
    max_tasks: int = MAX_TASKS,
    max_sum_parts: int = MAX_SUM_PARTS,
) -> tuple[Part, ...]:
    """Tasks and parts of a pass over blocks of these lengths along every navigation axis.

    `sum_bytes` are of all results that are as large as a frame, 0 if there is none: then tasks are
    of many frames, and there are at most `max_sum_parts`.
    """
    blocks = list(block_boxes(navigation))
    gather, max_parts = 1, MAX_PARTS
    if sum_bytes:
        block_bytes = max(map(block_frames, blocks)) * frame_bytes
        gather = -(-_SUM_GAIN * sum_bytes // max(block_bytes, 1))
        gather = max(min(gather, len(blocks) // _ENOUGH_TASKS), 1)
        max_parts = max_sum_parts
    tasks = _runs(blocks, min(-(-len(blocks) // gather), max_tasks))
    return _runs(tasks, min(len(tasks), max_parts))


def _runs(items: Sequence[_T], count: int) -> tuple[tuple[_T, ...], ...]:
    """Cut into `count` runs of consecutive items, of lengths that differ by 1 at most."""
    cuts = [len(items) * i // count for i in range(count + 1)]
    return tuple(tuple(items[a:b]) for a, b in itertools.pairwise(cuts))
