"""Compute the parts of a pass on a cluster, or in threads: results travel, frames do not."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future

from mrcdist.compute.schedule import Part
from mrcdist.compute.tasks import Ledger, PartialResult, Work, compute, join, merge_ledgers

__all__ = ["compute_in_threads", "compute_parts"]

# Tasks that the scheduler is given at a time: enough to fill a large cluster and to let an adaptive
# one grow, few enough that the memory of scheduler and client does not grow with the file.
_TASKS_AHEAD = 4096
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
    # A task of its own, not with each task: a source with a table of frames is large. And not
    # scattered: a task can be computed again when the worker that held it is gone.
    shared = client.submit(_itself, work, key=(f"work-{work.job}", 0), pure=False)
    waiting = deque(parts.items())
    running: dict[Any, tuple[Future, int, int]] = {}
    finished: SimpleQueue[Future] = SimpleQueue()
    ledger: Ledger = {}
    ahead = 0
    try:
        while waiting or running:
            while waiting and (not running or ahead < _TASKS_AHEAD):
                number, part = waiting.popleft()
                future = _submit(client, shared, work, number, part)
                running[future.key] = (future, number, len(part))
                future.add_done_callback(finished.put)
                ahead += len(part)
            future = _next(finished, check)
            piece = future.result()
            _, number, n_tasks = running.pop(future.key)
            ahead -= n_tasks
            ledger = merge_ledgers((ledger, piece.ledger))
            done(number, piece.values)
    finally:
        # On a shared cluster nothing of a job that failed should go on, though the error on its way
        # up still refers to these.
        for future in (shared, *(future for future, _, _ in running.values())):
            future.release()
    return ledger


def _next(finished: SimpleQueue[Future], check: Callable[[], None]) -> Future:
    while True:
        check()
        try:
            return finished.get(timeout=_LOOK)
        except Empty:
            continue


def compute_in_threads(
    work: Work,
    parts: Mapping[int, Part],
    done: Callable[[int, Any], None],
    *,
    threads: int,
) -> Ledger:
    """Compute parts as `compute_parts` does, in threads of this process."""
    ledger: Ledger = {}
    pool = ThreadPoolExecutor(threads, "mrcdist-reduce")
    waiting = iter([task for part in parts.values() for task in part])
    running: deque[Any] = deque()
    pieces: list[PartialResult] = []
    try:
        for number, part in parts.items():
            for _ in part:
                # Few at a time: each result may be as large as a frame.
                for task in itertools.islice(waiting, 2 * threads - len(running)):
                    running.append(pool.submit(compute, task, work))
                pieces.append(running.popleft().result())
                if len(pieces) > work.joined_at_once:
                    pieces = [join(pieces, work)]
            piece = join(pieces, work)
            pieces.clear()
            ledger = merge_ledgers((ledger, piece.ledger))
            done(number, piece.values)
    finally:
        pool.shutdown(cancel_futures=True)
    return ledger


def _submit(client: Client, shared: Future, work: Work, number: int, part: Part) -> Future:
    """Submit the tasks of a part, and what joins their results on the workers."""
    at_once = work.joined_at_once
    layer = client.map(
        compute,
        list(part),
        key=[(f"read-{work.job}", number, i) for i in range(len(part))],
        work=shared,
        pure=False,
    )
    level = 0
    while len(layer) > 1:
        level += 1
        layer = [
            client.submit(
                join,
                layer[first : first + at_once],
                shared,
                key=(f"join-{work.job}", number, level, first),
                pure=False,
            )
            for first in range(0, len(layer), at_once)
        ]
    future: Future = layer[0]
    return future


def _itself(work: Work) -> Work:
    return work
