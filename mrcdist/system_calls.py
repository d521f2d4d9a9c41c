"""System calls that some operating systems lack, with substitutes."""

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
    """Run a function in each forked process, if the operating system supports fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


class ForkSafeLock:
    """Lock that is free in a forked process, which lacks the thread that may have held it."""

    def __init__(self, make: Callable[[], Any] = threading.Lock) -> None:
        self._make = make
        self._renew()
        run_after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = self._make()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def allocate(descriptor: int, size: int) -> None:
    """Allocate disk space for a new file; where that is not supported, only set its size."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def write_at(descriptor: int, raw: Any, start: int) -> None:
    """Write all bytes at offset `start`; no other thread may use it at the same time."""
    view = memoryview(raw).cast("B")
    while view.nbytes:
        if hasattr(os, "pwrite"):
            written = os.pwrite(descriptor, view, start)
        else:
            os.lseek(descriptor, start, os.SEEK_SET)
            written = os.write(descriptor, view)
        view, start = view[written:], start + written


def lock_file(descriptor: int) -> None:
    """Lock an open file until it is closed.

    Raises BlockingIOError if another process holds the lock, or another OSError if the filesystem
    or the operating system does not support locks.
    """
    try:
        fcntl: Any = importlib.import_module("fcntl")
    except ImportError:
        raise OSError(errno.ENOTSUP, "no flock on this operating system") from None
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def prefetch_map(mapped: mmap.mmap, ranges: Sequence[tuple[int, int]]) -> None:
    """Read ranges (start, length) of a map ahead; starts are multiples of the page size."""
    if hasattr(mapped, "madvise") and hasattr(mmap, "MADV_WILLNEED"):
        for start, length in ranges:
            mapped.madvise(mmap.MADV_WILLNEED, start, length)


def prefetch_file(descriptor: int, ranges: Sequence[tuple[int, int]]) -> None:
    """Read ranges (start, length) of a file ahead."""
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
    """Block Ctrl-C in this thread, and in the threads and processes started in the block."""
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
