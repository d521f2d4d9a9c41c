"""Coroutines of a store's event loop, awaited in threads until Ctrl-C ends the program."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from importlib import import_module
from typing import Any, TypeVar

__all__ = ["begin", "end_at_exit", "wait_for"]

_T = TypeVar("_T")

_running: weakref.WeakSet[Future[Any]] = weakref.WeakSet()
_lock = threading.Lock()
_interrupted = False
_ended = False


def begin(call: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> Future[_T]:
    """Run a coroutine in an event loop of another thread."""
    running = asyncio.run_coroutine_threadsafe(call, loop)
    with _lock:
        _running.add(running)
        ended = _ended
    if ended:
        running.cancel()
    return running


def wait_for(call: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> _T:
    """Return the result of a coroutine in an event loop of another thread."""
    running = begin(call, loop)
    try:
        return running.result()
    finally:
        running.cancel()


def end_at_exit() -> None:
    """Let the end of the program cancel what is running: it was interrupted."""
    global _interrupted
    _interrupted = True


def _end() -> None:
    """Cancel what is running if Ctrl-C ends the program.

    Python waits for the threads of pools when it ends, and these for stores that do not answer.
    Without Ctrl-C, their work is wanted.
    """
    global _ended
    if not (_interrupted or getattr(sys, "last_type", None) is KeyboardInterrupt):
        return
    with _lock:
        _ended = True
        running = list(_running)
    for future in running:
        future.cancel()


# Python runs these functions in reverse: ours before that of its pools, which waits for threads.
import_module("concurrent.futures.thread")
if hasattr(threading, "_register_atexit"):
    threading._register_atexit(_end)
