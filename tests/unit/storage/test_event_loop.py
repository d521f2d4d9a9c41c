"""Threads wait for an event loop, or for each other, until interrupted."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
from fsspec.asyn import get_loop

import mrcdist
from mrcdist.storage.event_loop import POLL_SECONDS, ReadingThreads, result_of, wait_for


async def late(result: int) -> int:
    await asyncio.sleep(0.1)
    return result


async def failing() -> None:
    raise TimeoutError("mine")


def test_wait_for_passes_on_results_and_errors() -> None:
    assert wait_for(late(3), get_loop(), poll=0.01) == 3
    with pytest.raises(TimeoutError, match="mine"):
        wait_for(failing(), get_loop(), poll=0.01)


def test_long_waits_are_split_into_short_ones() -> None:
    """On Windows, Ctrl-C takes effect only after a wait."""
    waits = []

    class Waiting(Future[int]):
        def result(self, timeout: float | None = None) -> int:
            waits.append(timeout)
            if len(waits) == 2:
                self.set_result(3)
            return super().result(0)

    assert result_of(Waiting(), get_loop()) == 3
    assert waits == [POLL_SECONDS] * 2


def test_waiting_for_the_own_event_loop_is_an_error() -> None:
    async def plan() -> Any:
        return mrcdist.plan_mrc("http://127.0.0.1:9/a.mrc", metadata_file=None)

    asked = asyncio.run_coroutine_threadsafe(plan(), get_loop())
    with pytest.raises(mrcdist.ReadError, match="from a coroutine of the event loop"):
        asked.result(20)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_threads_are_joined_unless_the_block_is_interrupted(
    error: type[BaseException],
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ended: list[int] = []

    def read() -> None:
        begun.set()
        go_on.wait(0.2 if error is ValueError else 30)
        ended.append(1)
        threads.check()
        ended.append(2)

    with pytest.raises(error), ReadingThreads(1) as threads:  # noqa: PT012
        reading, waiting = threads.submit(read), threads.submit(read)
        begun.wait()
        raise error
    assert ended == ([1] if error is ValueError else [])
    go_on.set()
    with pytest.raises(CancelledError):
        reading.result(30)
    assert waiting.cancelled()
