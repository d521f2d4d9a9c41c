"""Calls that an operating system may lack: what is done without them is tried here, on any."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import mrcdist
from mrcdist import system_calls
from tests.support.mrc_files import counting, mrc_bytes

# Functions that Windows does not have, and where they are; macOS lacks some of them.
ABSENT = {
    os: ("posix_fadvise", "posix_fallocate", "preadv", "pwrite", "register_at_fork"),
    signal: ("pthread_kill", "pthread_sigmask"),
}
# The same in a fresh process, before mrcdist is imported but after what it needs; no flock either.
LIKE_WINDOWS = "import mmap, os, signal, sys\nimport dask.array, distributed, s3fs\n" + "".join(
    f"vars({module.__name__}).pop({name!r}, None)\n"
    for module, names in ABSENT.items()
    for name in names
)
LIKE_WINDOWS += "sys.modules['fcntl'] = None\nvars(mmap).pop('MADV_WILLNEED', None)\n"


@pytest.fixture(params=["as it is", "like Windows"])
def _system(request, monkeypatch):
    """This operating system, and one with none of these calls."""
    if request.param == "as it is":
        return
    for module, names in ABSENT.items():
        for name in names:
            monkeypatch.delattr(module, name, raising=False)
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    monkeypatch.delattr(mmap, "MADV_WILLNEED", raising=False)
    monkeypatch.setitem(sys.modules, "fcntl", None)


@pytest.fixture
def file(tmp_path):
    """An open file of 64 KiB with numbers."""
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

    def test_bytes_are_written_to_their_place(self, file):
        for start in (40_000, 8, 65_536):
            system_calls.write_at(file.fileno(), np.full(3, 7, "<u4"), start)
        file.seek(0)
        found = np.frombuffer(file.read(), "<u4")
        expected = np.arange(16387, dtype="<u4")
        for start in (40_000, 8, 65_536):
            expected[start // 4 : start // 4 + 3] = 7
        np.testing.assert_array_equal(found, expected)

    def test_prefetching_changes_nothing(self, file):
        ranges = [(0, 100), (mmap.PAGESIZE, 5000)]
        system_calls.prefetch_file(file.fileno(), ranges)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            system_calls.prefetch_map(mapped, ranges)
            assert mapped[:8] == b"\0\0\0\0\1\0\0\0"

    def test_whether_bytes_are_cached_is_known_or_false(self, file):
        assert system_calls.is_cached(file.fileno(), [0, 65_535]) in (True, False)

    def test_a_signal_reaches_the_main_thread(self):
        got = []
        before = signal.signal(signal.SIGINT, lambda *_: got.append("interrupt"))
        try:
            main = threading.main_thread().ident
            sender = threading.Thread(
                target=system_calls.send_to_main_thread, args=(signal.SIGINT, main)
            )
            sender.start()
            sender.join()
            assert got == ["interrupt"]
        finally:
            signal.signal(signal.SIGINT, before)

    def test_blocks_of_threads_end_with_the_block(self):
        with system_calls.interrupts_blocked():
            pass
        if hasattr(signal, "pthread_sigmask"):
            assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="threads block no signals here")
def test_interrupts_are_blocked_meanwhile():
    with system_calls.interrupts_blocked():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_system_without_flock_says_so(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(OSError, match="no flock") as caught:
        system_calls.lock_file(file.fileno())
    assert caught.value.errno == errno.ENOTSUP


def test_files_are_read_and_written_on_a_system_with_none_of_these_calls(tmp_path):
    numbers = counting((6, 40, 50), "uint16")
    (tmp_path / "a.mrc").write_bytes(mrc_bytes(numbers))
    code = LIKE_WINDOWS + (
        "import mrcdist\n"
        "[ds] = mrcdist.read_mrc('a.mrc', chunks=(2, -1, -1))\n"
        "mrcdist.write_mrc('b.mrc', ds['data'][::2, 3:])\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    [again] = mrcdist.read_mrc(tmp_path / "b.mrc")
    np.testing.assert_array_equal(again["data"].compute(), numbers[::2, 3:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_lock_that_a_thread_holds_is_free_in_a_forked_process():
    code = """
import os, threading
from mrcdist.system_calls import ForkSafeLock
lock, held = ForkSafeLock(), threading.Event()
def hold():
    with lock:
        held.set()
        threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
if pid := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
threading.Timer(20, os._exit, (1,)).start()  # rather than wait for ever
with lock:
    os._exit(0)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
