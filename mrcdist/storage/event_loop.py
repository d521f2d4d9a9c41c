"""Waiting for coroutines of a store's event loop from threads, until Ctrl-C ends the program."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")

# Longest wait in seconds: on Windows, Ctrl-C does not interrupt a wait, and the end of the program
# interrupts no thread anywhere.
POLL_SECONDS = 0.5
_ended = False


def wait_for(
    call: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop, poll: float = POLL_SECONDS
) -> _T:
    """Run a coroutine in the event loop of another thread; return its result as `result_of`."""
    return result_of(asyncio.run_coroutine_threadsafe(call, loop), loop, poll)


def result_of(
    running: Future[_T], loop: asyncio.AbstractEventLoop, poll: float = POLL_SECONDS
) -> _T:
    """Return the result of what was begun in an event loop of another thread, or cancel it.

    `RuntimeError` says that this is the thread of the loop, which would wait for itself for ever,
    `CancelledError` that Ctrl-C is ending the program.
    """
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:  # this is no coroutine
        here = None
    try:
        if here is loop:
            raise RuntimeError("called from a coroutine of the event loop that would do the work")
        while not has_ended():
            try:
                return running.result(poll)
            except TimeoutError:
                if running.done():  # then it may be the coroutine's own
                    return running.result()
        raise CancelledError
    finally:
        running.cancel()


class ReadingThreads(ThreadPoolExecutor):
    """Threads that read, for a block; its end waits for them, unless it is interrupted.

    Once the block has failed they begin nothing more.
    """

    _failed = False

    def check(self) -> None:
        """Raise `CancelledError` in a thread whose result nobody waits for."""
        if self._failed:
            raise CancelledError

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for what is running. A thread may wait for a store: Ctrl-C does not."""
        self._failed = kind is not None
        self.shutdown(wait=kind is None or issubclass(kind, Exception), cancel_futures=True)


def end_waiting() -> None:
    """Let all threads that wait go: an interrupted program is about to end.

    Python waits for the threads of pools when it ends, and these for stores that do not answer.
    """
    global _ended
    _ended = True


def has_ended() -> bool:
    """Whether nobody waits for results any more: Ctrl-C is ending the program."""
    return _ended


def _end() -> None:
    """Let threads go if Ctrl-C ends the program. Without Ctrl-C, their work is wanted.

    It does if `KeyboardInterrupt` left the program, not a line at a prompt or a callback.
    """
    interrupted = issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt)
    prompted = sys.flags.inspect or hasattr(sys, "ps1")  # a prompt came after it
    traceback = getattr(sys, "last_traceback", None)
    outermost = traceback is None or traceback.tb_frame.f_back is None
    if interrupted and outermost and not prompted:
        end_waiting()


# Python runs these functions in reverse: ours before that of its pools, which waits for threads. A
# thread that comes here when the main thread is gone comes too late, and nothing is let go.
if hasattr(threading, "_register_atexit"):
    with suppress(RuntimeError):
        threading._register_atexit(_end)
