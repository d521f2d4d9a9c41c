"""Waiting for coroutines of a store's event loop from threads, interruptible by Ctrl-C."""

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
    """Return the result of a call that runs in the event loop of another thread, or cancel it.

    Raises
    ------
    RuntimeError
        This is the thread of the event loop, which would wait for itself forever.
    CancelledError
        Ctrl-C is ending the program.
    """
    try:
        current = asyncio.get_running_loop()
    except RuntimeError:  # not called from a coroutine
        current = None
    try:
        if current is loop:
            raise RuntimeError("called from a coroutine of the event loop that would do the work")
        while not has_ended():
            try:
                return running.result(poll)
            except TimeoutError:
                if running.done():  # raised by the coroutine itself
                    return running.result()
        raise CancelledError
    finally:
        running.cancel()


class ReadingThreads(ThreadPoolExecutor):
    """Thread pool for a ``with`` block, at the end of which threads are joined unless interrupted.

    Once the block has failed, threads begin nothing more.
    """

    _failed = False

    def check(self) -> None:
        """Raise `CancelledError` in a thread if the block has failed."""
        if self._failed:
            raise CancelledError

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for running calls, except after Ctrl-C, since they may be waiting for a store."""
        self._failed = kind is not None
        self.shutdown(wait=kind is None or issubclass(kind, Exception), cancel_futures=True)


def end_waiting() -> None:
    """End all waits, because an interrupted program is about to end.

    At exit, Python joins the threads of pools, which may be waiting for stores that do not respond.
    """
    global _ended
    _ended = True


def has_ended() -> bool:
    """Whether Ctrl-C is ending the program, so that no results are needed."""
    return _ended


def _at_exit() -> None:
    """End all waits if Ctrl-C is ending the program; otherwise results are still needed.

    That is so if `KeyboardInterrupt` propagated out of the program, not out of a line at a prompt
    or a callback.
    """
    interrupted = issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt)
    prompted = sys.flags.inspect or hasattr(sys, "ps1")  # there was a prompt after it
    traceback = getattr(sys, "last_traceback", None)
    outermost = traceback is None or traceback.tb_frame.f_back is None
    if interrupted and outermost and not prompted:
        end_waiting()


# Python calls these functions in reverse order: ours before that of its pools, which joins threads.
# A thread that imports this module after the main thread has ended is too late to register it.
if hasattr(threading, "_register_atexit"):
    with suppress(RuntimeError):
        threading._register_atexit(_at_exit)
