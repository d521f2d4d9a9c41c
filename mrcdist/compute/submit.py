"""Compute the parts of a pass on a cluster, or in threads: results travel, frames do not."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future
from distributed.protocol import pickle

from mrcdist.compute.schedule import Part, Task, block_frames
from mrcdist.compute.tasks import Ledger, PartialResult, Work, compute, join, merge_ledgers
from mrcdist.storage.event_loop import ReadingThreads

__all__ = ["compute_in_threads", "compute_parts"]

# Tasks that the scheduler is given at a time: enough to fill a large cluster and to let an adaptive
# one grow, few enough that the memory of scheduler and client does not grow with the file.
_TASKS_AHEAD = 4096
# Bytes of what tasks share that are sent with all of them together; distributed warns of a graph of
# 10 MB.
_MAX_SENT = 2**23
# Seconds for which finished results wait for others, to come in one message through the scheduler,
# which has no more time for many small ones than workers need for a short pass.
_GATHER = 0.1
# Bytes of results that come together.
_MAX_GATHERED = 2**26
# Seconds between two looks at the cluster while nothing finishes.
_LOOK = 1.0


def _nothing() -> None:
    pass


def compute_parts(
    client: Client,
    work: Work,
    parts: Mapping[int, Part],
    done: Callable[[int, Any], None],
    *,
    check: Callable[[], None] = _nothing,
) -> Ledger:
    """Compute parts in their order, and hand over the values of each as soon as they are there.

    Parameters
    ----------
    client : distributed.Client
    work : Work
    parts : mapping of int to Part
        By number.
    done : callable
        Called with the number of a part and its values.
    check : callable, optional
        Called every second or so while there is nothing to do; raises if there is no hope.

    Returns
    -------
    Ledger
        What the workers have read.

    Raises
    ------
    MrcdistError
        A task failed, or no workers will come; what is computed by then has been handed over.
    """
    shared = _share(client, work, sum(map(len, parts.values())))
    waiting = deque(parts.items())
    running: dict[Any, tuple[Future, int, int]] = {}
    finished: SimpleQueue[Future] = SimpleQueue()
    ledger: Ledger = {}
    ahead = 0
    at_once = _gathered_at_once(work, parts.values())
    try:
        while waiting or running:
            some: list[tuple[int, Part]] = []
            while waiting and (ahead < _TASKS_AHEAD or not (running or some)):
                some.append(waiting.popleft())
                ahead += len(some[-1][1])
            for (number, part), future in zip(
                some, _submit(client, shared, work, some), strict=True
            ):
                running[future.key] = (future, number, len(part))
                future.add_done_callback(finished.put)
            futures = _next(finished, min(len(running), at_once), check)
            # The last one may have failed; those before it are to be handed over.
            good = futures[:-1] if futures[-1].status == "error" else futures
            pieces = client.gather(good)
            for future, piece in itertools.zip_longest(futures, pieces):
                if piece is None:
                    future.result()  # raises
                _, number, n_tasks = running.pop(future.key)
                ahead -= n_tasks
                ledger = merge_ledgers((ledger, piece.ledger))
                done(number, piece.values)
    finally:
        # On a shared cluster nothing of a job that failed should go on, though the error on its way
        # up still refers to these.
        for future in (future for future, _, _ in running.values()):
            future.release()
        if isinstance(shared, Future):
            shared.release()
    return ledger


def _share(client: Client, work: Work, n_tasks: int) -> bytes | Future:
    """Return what gives tasks their work: the work itself, pickled, or a task that returns it."""
    packed: bytes = pickle.dumps(work)
    if len(packed) * n_tasks <= _MAX_SENT:
        # The scheduler prefers workers that have what a task depends on: all tasks of a short job
        # would go to one worker.
        return packed
    # Not scattered: a task can be computed again when the worker that held it is gone.
    return client.submit(_unpacked, packed, key=(f"work-{work.job}", 0), pure=False)


@functools.lru_cache(maxsize=4)
def _unpacked(packed: bytes) -> Work:
    """Unpickle the work of a job, once per process, so that what is kept for it is found again."""
    work: Work = pickle.loads(packed)
    return work


def _work(shared: bytes | Work) -> Work:
    return _unpacked(shared) if isinstance(shared, bytes) else shared


def _bound(
    function: Callable[..., PartialResult], shared: bytes | Future
) -> tuple[Callable[..., PartialResult], dict[str, Future]]:
    """Return a function that has its work, and the arguments that it needs for that.

    Bytes go in the function: of a large argument, distributed makes a task of its own, whose key is
    the argument's name, and so that of every job.
    """
    if isinstance(shared, bytes):
        return functools.partial(function, shared=shared), {}
    return function, {"shared": shared}


def _compute(task: Task, shared: bytes | Work) -> PartialResult:
    return compute(task, _work(shared))


def _join(pieces: Sequence[PartialResult], shared: bytes | Work) -> PartialResult:
    return join(pieces, _work(shared))


def _gathered_at_once(work: Work, parts: Iterable[Part]) -> int:
    """Maximum number of parts whose values are brought to this process together."""
    n_frames = [sum(block_frames(block) for task in part for block in task) for part in parts]
    largest = 1
    for each in work.reductions:
        of_one = each.begin(1, work.source.dtype).nbytes
        # What a function of the user's own makes of all frames is taken for a frame of float64.
        of_all = max(of_one, 8 * math.prod(work.source.layout.frame_shape))
        largest += of_one * max(n_frames, default=0) if each.per_frame else of_all
    return max(_MAX_GATHERED // largest, 1)


def _next(finished: SimpleQueue[Future], most: int, check: Callable[[], None]) -> list[Future]:
    """Wait for a future, and for what finishes soon after it; at most so many in all."""
    found: list[Future] = []
    while not found:
        check()
        with suppress(Empty):
            found.append(finished.get(timeout=_LOOK))
    deadline = time.monotonic() + _GATHER
    with suppress(Empty):
        while len(found) < most and found[-1].status == "finished":
            found.append(finished.get(timeout=max(deadline - time.monotonic(), 0)))
    return found


def compute_in_threads(
    work: Work,
    parts: Mapping[int, Part],
    done: Callable[[int, Any], None],
    *,
    threads: int,
) -> Ledger:
    """Compute parts as `compute_parts` does, in threads of this process."""
    ledger: Ledger = {}
    waiting = iter([task for part in parts.values() for task in part])
    running: deque[Any] = deque()
    pieces: list[PartialResult] = []
    with ReadingThreads(threads, "mrcdist-reduce") as pool:
        for number, part in parts.items():
            for _ in part:
                # Few at a time: each result may be as large as a frame.
                for task in itertools.islice(waiting, 2 * threads - len(running)):
                    running.append(pool.submit(compute, task, work, check=pool.check))
                pieces.append(running.popleft().result())
                if len(pieces) > work.joined_at_once:
                    pieces = [join(pieces, work)]
            piece = join(pieces, work)
            pieces.clear()
            ledger = merge_ledgers((ledger, piece.ledger))
            done(number, piece.values)
    return ledger


def _submit(
    client: Client, shared: bytes | Future, work: Work, parts: Sequence[tuple[int, Part]]
) -> list[Future]:
    """Submit the tasks of parts, and what joins their results on the workers."""
    # All tasks in one message: each costs client and scheduler some milliseconds.
    numbered = [(number, i, task) for number, part in parts for i, task in enumerate(part)]
    compute_one, arguments = _bound(_compute, shared)
    tasks = iter(
        client.map(
            compute_one,
            [task for *_, task in numbered],
            key=[(f"read-{work.job}", number, i) for number, i, _ in numbered],
            pure=False,
            **arguments,
        )
        if numbered
        else ()
    )
    return [
        _joined(client, shared, work, number, list(itertools.islice(tasks, len(part))))
        for number, part in parts
    ]


def _joined(
    client: Client, shared: bytes | Future, work: Work, number: int, layer: list[Future]
) -> Future:
    """Submit what joins the results of the tasks of a part."""
    at_once = work.joined_at_once
    join_some, arguments = _bound(_join, shared)
    level = 0
    while len(layer) > 1:
        level += 1
        layer = [
            client.submit(
                join_some,
                layer[first : first + at_once],
                key=(f"join-{work.job}", number, level, first),
                pure=False,
                **arguments,
            )
            for first in range(0, len(layer), at_once)
        ]
    return layer[0]
