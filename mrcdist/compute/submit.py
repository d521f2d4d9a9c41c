"""Compute the parts of a pass on a cluster, or in threads: only results are sent, not frames."""

from __future__ import annotations

import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future
from distributed.protocol import pickle

from mrcdist.compute.schedule import Part
from mrcdist.compute.tasks import Ledger, PartialResult, Work, compute, join, merge_ledgers
from mrcdist.storage.event_loop import ReadingThreads

# Bytes of shared work sent with all tasks together; distributed warns about graphs of 10 MB.
_MAX_SENT = 2**23
# Bytes of results that are gathered together.
_MAX_GATHERED = 2**26
# Seconds between two checks of the cluster while nothing finishes.
_CHECK_INTERVAL = 1.0


def compute_parts(
    client: Client,
    work: Work,
    parts: Mapping[int, Part],
    save: Callable[[int, Any], None],
    *,
    check: Callable[[], None] = lambda: None,
    gather_delay: float = 0.1,
) -> Ledger:
    """Compute parts in order, and pass number and values of each to `save` as soon as it is done.

    While nothing finishes, `check` is called about once per second: it raises an exception if the
    cluster is lost. If a task fails, all parts finished until then have been saved. The bytes read
    by the workers are returned.

    A finished result waits `gather_delay` seconds for others, to be gathered with one message
    through the scheduler: many small messages would take longer than a short pass itself.
    """
    job = uuid.uuid4().hex[:8]
    shared: bytes | Future = pickle.dumps(work)
    if len(shared) * sum(map(len, parts.values())) > _MAX_SENT:
        # As a task, not scattered: it is repeated if the worker that holds it is lost. Not for
        # small work: the scheduler prefers workers that already hold the dependencies of a task,
        # and would send all tasks of a short job to one worker.
        shared = client.submit(pickle.loads, shared, key=(f"work-{job}", 0), pure=False)
    running: dict[Any, tuple[Future, int]] = {}
    finished: SimpleQueue[Future] = SimpleQueue()
    ledger: Ledger = {}
    largest = 0  # bytes of a result
    try:
        # The only references to the futures: workers keep a result until there are none.
        running |= {
            future.key: (future, number)
            for number, future in zip(parts, _submit(client, shared, work, job, parts), strict=True)
        }
        for key in running:
            running[key][0].add_done_callback(finished.put)
        while running:
            # One at a time until the size of a result is known.
            count = min(len(running), max(_MAX_GATHERED // largest, 1)) if largest else 1
            for key, piece in _gather(client, finished, count, check, gather_delay):
                _, number = running.pop(key)
                ledger = merge_ledgers((ledger, piece.ledger))
                largest = max(largest, sum(each.nbytes for each in piece.values))
                save(number, piece.values)
    finally:
        # Tasks of a failed job must not continue on a shared cluster, although the exception still
        # refers to their futures.
        for future in (future for future, _ in running.values()):
            future.release()
        if isinstance(shared, Future):
            shared.release()
    return ledger


def _gather(
    client: Client,
    finished: SimpleQueue[Future],
    count: int,
    check: Callable[[], None],
    delay: float,
) -> Iterator[tuple[Any, PartialResult]]:
    """Wait for a result, and up to `count` in all that follow soon; yield them with their keys."""
    futures: list[Future] = []
    while not futures:
        check()
        with suppress(Empty):
            futures.append(finished.get(timeout=_CHECK_INTERVAL))
    deadline = time.monotonic() + delay
    with suppress(Empty):
        while len(futures) < count and futures[-1].status == "finished":
            futures.append(finished.get(timeout=max(deadline - time.monotonic(), 0)))
    # Only the last one can have failed; the others are yielded first.
    failed = [futures.pop()] if futures[-1].status == "error" else []
    for future, piece in zip(futures, client.gather(futures), strict=True):
        yield future.key, piece
    for future in failed:
        future.result()  # raises


def _submit(
    client: Client, shared: bytes | Future, work: Work, job: str, parts: Mapping[int, Part]
) -> list[Future]:
    """Submit the tasks of parts, and tasks that join their results; return a future per part."""
    bound: dict[str, Any] = {}
    arguments: dict[str, Any] = {"work": shared}
    if isinstance(shared, bytes):
        # Bound to the function: distributed turns a large keyword argument into a task whose key is
        # the argument's name, and therefore the same in all jobs.
        bound, arguments = arguments, bound
    # All tasks in one message, as each costs client and scheduler some milliseconds.
    tasks = iter(
        client.map(
            partial(compute, **bound),
            [task for part in parts.values() for task in part],
            key=[
                (f"read-{job}", number, i)
                for number, part in parts.items()
                for i in range(len(part))
            ],
            pure=False,
            **arguments,
        )
    )
    at_once = work.max_joined
    futures = []
    for number, part in parts.items():
        pieces = list(itertools.islice(tasks, len(part)))
        while len(pieces) > 1:
            pieces = [
                client.submit(
                    partial(join, **bound),
                    pieces[first : first + at_once],
                    key=(f"join-{job}", number, len(pieces), first),
                    pure=False,
                    **arguments,
                )
                for first in range(0, len(pieces), at_once)
            ]
        futures += pieces
    return futures


def compute_in_threads(
    work: Work,
    parts: Mapping[int, Part],
    save: Callable[[int, Any], None],
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
                # Only a few at a time, as each result may be as large as a frame.
                for task in itertools.islice(waiting, 2 * threads - len(running)):
                    running.append(pool.submit(compute, task, work, check=pool.check))
                pieces.append(running.popleft().result())
                if len(pieces) > work.max_joined:
                    pieces = [join(pieces, work)]
            piece = join(pieces, work)
            pieces.clear()
            ledger = merge_ledgers((ledger, piece.ledger))
            save(number, piece.values)
    return ledger
