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

# Longest single wait in seconds. Waits are short because on Windows Ctrl-C does not interrupt them,
# and because on no system does the end of the program interrupt a waiting thread.
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

    After the block has failed, threads start no further work.
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

    Ctrl-C ends the program if `KeyboardInterrupt` has propagated out of its main module. At a
    prompt or in a callback, the exception does not end the program.
    """
    interrupted = issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt)
    prompted = sys.flags.inspect or hasattr(sys, "ps1")  # followed by a prompt
    traceback = getattr(sys, "last_traceback", None)
    outermost = traceback is None or traceback.tb_frame.f_back is None
    if interrupted and outermost and not prompted:
        end_waiting()


# Python calls registered functions in reverse order: this one before the one that joins the threads
# of pools. RuntimeError: this module is being imported by a thread after the main thread has ended.
if hasattr(threading, "_register_atexit"):
    with suppress(RuntimeError):
        threading._register_atexit(_at_exit)
