"""Substitutes for calls that an operating system may lack, tested on any system."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import sys
import threading

import numpy as np
import pytest

from mrcdist import system_calls

# Module → functions that Windows lacks; macOS lacks some of them.
MISSING_ON_WINDOWS = {
    os: ("posix_fadvise", "posix_fallocate", "preadv", "pwrite", "register_at_fork"),
    signal: ("pthread_kill", "pthread_sigmask"),
}


@pytest.fixture(params=["native", "like Windows"])
def _system(request, monkeypatch):
    """Run with the calls of this operating system, and without those that Windows lacks."""
    if request.param == "native":
        return
    for module, names in MISSING_ON_WINDOWS.items():
        for name in names:
            monkeypatch.delattr(module, name, raising=False)
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    monkeypatch.delattr(mmap, "MADV_WILLNEED", raising=False)
    monkeypatch.setitem(sys.modules, "fcntl", None)


@pytest.fixture
def file(tmp_path):
    """An open file of 64 KiB."""
    path = tmp_path / "numbers"
    path.write_bytes(np.arange(16384, dtype="<u4").tobytes())
    with path.open("r+b", buffering=0) as opened:
        yield opened


@pytest.mark.usefixtures("_system")
class TestOnEachSystem:
    def test_allocated_file_has_its_size_and_zeros(self, tmp_path):
        path = tmp_path / "new"
        with path.open("xb") as file:
            system_calls.allocate(file.fileno(), 10_000)
        assert path.read_bytes() == bytes(10_000)

    def test_bytes_are_written_at_an_offset(self, file):
        for start in (40_000, 8, 65_536):
            system_calls.write_at(file.fileno(), np.full(3, 7, "<u4"), start)
        file.seek(0)
        found = np.frombuffer(file.read(), "<u4")
        expected = np.arange(16387, dtype="<u4")
        for start in (40_000, 8, 65_536):
            expected[start // 4 : start // 4 + 3] = 7
        np.testing.assert_array_equal(found, expected)

    def test_prefetching_does_not_change_the_bytes(self, file):
        ranges = [(0, 100), (mmap.PAGESIZE, 5000)]
        system_calls.prefetch_file(file.fileno(), ranges)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            system_calls.prefetch_map(mapped, ranges)
            assert mapped[:8] == b"\0\0\0\0\1\0\0\0"

    def test_cached_bytes_are_detected_or_reported_as_not_cached(self, file):
        assert system_calls.is_cached(file.fileno(), [0, 65_535]) in (True, False)

    def test_signal_reaches_the_main_thread(self):
        received = []
        before = signal.signal(signal.SIGINT, lambda *_: received.append("interrupt"))
        try:
            main = threading.main_thread().ident
            sender = threading.Thread(
                target=system_calls.send_to_main_thread, args=(signal.SIGINT, main)
            )
            sender.start()
            sender.join()
            assert received == ["interrupt"]
        finally:
            signal.signal(signal.SIGINT, before)

    def test_interrupts_are_unblocked_at_the_end_of_the_block(self):
        with system_calls.interrupts_blocked():
            pass
        if hasattr(signal, "pthread_sigmask"):
            assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs pthread_sigmask")
def test_interrupts_are_blocked_in_the_block():
    with system_calls.interrupts_blocked():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_missing_flock_is_an_os_error(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(OSError, match="no flock") as caught:
        system_calls.lock_file(file.fileno())
    assert caught.value.errno == errno.ENOTSUP
