"""Fresh processes that lack some system calls, or that fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import mrcdist
from tests.support.mrc_files import counting, mrc_bytes

# Functions that Windows lacks, by module; macOS lacks some of them.
ABSENT = {
    os: ("posix_fadvise", "posix_fallocate", "preadv", "pwrite", "register_at_fork"),
    signal: ("pthread_kill", "pthread_sigmask"),
}


# Code that removes them, and flock, after mrcdist's dependencies have been imported.
LIKE_WINDOWS = "import mmap, os, signal, sys\nimport dask.array, distributed, s3fs\n" + "".join(
    f"vars({module.__name__}).pop({name!r}, None)\n"
    for module, names in ABSENT.items()
    for name in names
)
LIKE_WINDOWS += "sys.modules['fcntl'] = None\nvars(mmap).pop('MADV_WILLNEED', None)\n"


def test_files_are_read_and_written_without_system_calls_that_windows_lacks(tmp_path):
    numbers = counting((6, 40, 50), "uint16")
    (tmp_path / "a.mrc").write_bytes(mrc_bytes(numbers))
    code = LIKE_WINDOWS + (
        "import mrcdist\n"
        "[ds] = mrcdist.read_mrc('a.mrc', chunks=(2, -1, -1))\n"
        "mrcdist.write_mrc('b.mrc', ds['data'][::2, 3:])\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    [written] = mrcdist.read_mrc(tmp_path / "b.mrc")
    np.testing.assert_array_equal(written["data"].compute(), numbers[::2, 3:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="requires os.fork")
def test_fork_safe_lock_held_by_a_thread_is_free_in_a_forked_process():
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
