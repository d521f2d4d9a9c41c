"""Compute the parts of a pass on a cluster, or in threads: results travel, frames do not."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future
from distributed.protocol import pickle

from mrcdist.compute.schedule import Part, block_frames
from mrcdist.compute.tasks import Ledger, PartialResult, Work, compute, join, merge_ledgers
from mrcdist.remembered import unpickle_once
from mrcdist.storage.event_loop import ReadingThreads

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


def compute_parts(
    client: Client,
    work: Work,
    parts: Mapping[int, Part],
    done: Callable[[int, Any], None],
    *,
    check: Callable[[], None] = lambda: None,
) -> Ledger:
    """Compute parts in their order; hand over number and values of each as soon as they are there.

    While there is nothing to do, `check` is called every second or so: it raises if there is no
    hope. If a task fails, what is computed by then has been handed over. What the workers have read
    is returned.
    """
    shared = _share(client, work, sum(map(len, parts.values())))
    waiting = deque(parts.items())
    running: dict[Any, tuple[Future, int]] = {}
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
            for (number, _), future in zip(some, _submit(client, shared, work, some), strict=True):
                running[future.key] = (future, number)
                future.add_done_callback(finished.put)
            for key, piece in _gathered(client, finished, min(len(running), at_once), check):
                _, number = running.pop(key)
                ahead -= len(parts[number])
                ledger = merge_ledgers((ledger, piece.ledger))
                done(number, piece.values)
    finally:
        # On a shared cluster nothing of a job that failed should go on, though the error on its way
        # up still refers to these.
        for future in (future for future, _ in running.values()):
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
    return client.submit(pickle.loads, packed, key=(f"work-{work.job}", 0), pure=False)


def _bound(
    function: Callable[[Any, Work], PartialResult], shared: bytes | Future
) -> tuple[Callable[..., PartialResult], dict[str, Future]]:
    """Return a function that has its work, and the arguments that it needs for that.

    Bytes go in the function: of a large argument, distributed makes a task of its own, whose key is
    the argument's name, and so that of every job.
    """
    bound = functools.partial(_with_work, function)
    if isinstance(shared, bytes):
        return functools.partial(bound, shared=shared), {}
    return bound, {"shared": shared}


def _with_work(
    function: Callable[[Any, Work], PartialResult], argument: Any, shared: bytes | Work
) -> PartialResult:
    return function(argument, unpickle_once(shared) if isinstance(shared, bytes) else shared)


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


def _gathered(
    client: Client, finished: SimpleQueue[Future], most: int, check: Callable[[], None]
) -> Iterator[tuple[Any, PartialResult]]:
    """Wait for a result, and for what is there soon after it, at most so many; with their keys."""
    found: list[Future] = []
    while not found:
        check()
        with suppress(Empty):
            found.append(finished.get(timeout=_LOOK))
    deadline = time.monotonic() + _GATHER
    with suppress(Empty):
        while len(found) < most and found[-1].status == "finished":
            found.append(finished.get(timeout=max(deadline - time.monotonic(), 0)))
    # The last one may have failed; those before it are to be handed over.
    failed = [found.pop()] if found[-1].status == "error" else []
    for future, piece in zip(found, client.gather(found), strict=True):
        yield future.key, piece
    for future in failed:
        future.result()  # raises


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
    if not parts:
        return []
    compute_one, arguments = _bound(compute, shared)
    # All tasks in one message: each costs client and scheduler some milliseconds.
    tasks = client.map(
        compute_one,
        [task for _, part in parts for task in part],
        key=[(f"read-{work.job}", number, i) for number, part in parts for i in range(len(part))],
        pure=False,
        **arguments,
    )
    layers = iter(tasks)
    return [
        _joined(client, shared, work, number, list(itertools.islice(layers, len(part))))
        for number, part in parts
    ]


def _joined(
    client: Client, shared: bytes | Future, work: Work, number: int, layer: list[Future]
) -> Future:
    """Submit what joins the results of the tasks of a part."""
    at_once = work.joined_at_once
    join_some, arguments = _bound(join, shared)
    for level in itertools.count(1):
        if len(layer) == 1:
            break
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
