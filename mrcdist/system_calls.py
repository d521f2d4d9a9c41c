"""System calls that some operating systems lack, each with its substitute."""

from __future__ import annotations

import errno
import importlib
import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any


def run_after_fork(function: Callable[[], object]) -> None:
    """Run a function in each forked process; without fork there is nothing to do."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


class ForkSafeLock:
    """A lock that is free in a forked process, where the thread that held it is not there."""

    def __init__(self) -> None:
        self._renew()
        run_after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def allocate(descriptor: int, size: int) -> None:
    """Give a new file its size and its space on the disk; the size alone where that is all."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def write_at(descriptor: int, raw: Any, start: int) -> None:
    """Write all bytes from byte `start` on; nobody else may use the descriptor meanwhile."""
    view = memoryview(raw).cast("B")
    while view.nbytes:
        if hasattr(os, "pwrite"):
            written = os.pwrite(descriptor, view, start)
        else:
            os.lseek(descriptor, start, os.SEEK_SET)
            written = os.write(descriptor, view)
        view, start = view[written:], start + written


def lock_file(descriptor: int) -> None:
    """Take the kernel's lock on an open file, until it is closed.

    Raises BlockingIOError if another process has it, any other OSError if this filesystem or
    operating system has no such lock.
    """
    try:
        fcntl: Any = importlib.import_module("fcntl")
    except ImportError:
        raise OSError(errno.ENOTSUP, "no flock on this operating system") from None
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def prefetch_map(mapped: mmap.mmap, ranges: Sequence[tuple[int, int]]) -> None:
    """Have ranges of a map (start, length) read ahead; a start is a multiple of the page size."""
    if hasattr(mapped, "madvise") and hasattr(mmap, "MADV_WILLNEED"):
        for start, length in ranges:
            mapped.madvise(mmap.MADV_WILLNEED, start, length)


def prefetch_file(descriptor: int, ranges: Sequence[tuple[int, int]]) -> None:
    """Have ranges of a file (start, length) read ahead."""
    if hasattr(os, "posix_fadvise"):
        will_need: int = getattr(os, "POSIX_FADV_WILLNEED", 3)
        for start, length in ranges:
            os.posix_fadvise(descriptor, start, length, will_need)


def is_cached(descriptor: int, starts: Sequence[int]) -> bool:
    """Whether bytes of a file are in the page cache; False if that is unknown."""
    no_wait = getattr(os, "RWF_NOWAIT", None)  # Linux
    if no_wait is None or not hasattr(os, "preadv"):
        return False
    byte = bytearray(1)
    try:
        for start in starts:
            os.preadv(descriptor, [byte], start, no_wait)
    except OSError:  # would have to wait for the disk, or not supported by the filesystem
        return False
    return True


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C in this thread, and in threads and processes that it starts meanwhile."""
    block: Any = getattr(signal, "SIG_BLOCK", None)
    set_mask: Any = getattr(signal, "SIG_SETMASK", None)
    if block is None or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would unblock the signal later
    before = signal.pthread_sigmask(block, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(set_mask, before)


def send_to_main_thread(number: int, main_thread: int) -> None:
    """Send a signal to the main thread, which may be waiting in a system call."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main_thread, number)
    else:
        signal.raise_signal(number)
