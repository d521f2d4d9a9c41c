"""Only one job at a time holds the lock on an output, and no dead one does."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import threading
import time

import pytest

from mrcdist.batch.lock import OutputLock
from mrcdist.errors import ArgumentError


@pytest.fixture
def output(tmp_path):
    return tmp_path / "bf.npy"


def lock(output, messages=None, **options):
    report = [].append if messages is None else messages.append
    return OutputLock(output, report, **{"heartbeat": 0.05, "timeout": 0.5, **options})


def lock_file(output):
    return output.with_name(".bf.npy.lock")


def leave(output, **changes):
    """Write the lock file of a job that died on another host."""
    holder = {"host": "node7", "kernel": "other", "pid": 17, "since": "2024-01-01 10:00:00"}
    lock_file(output).write_text(json.dumps({**holder, **changes}))


def test_released_lock_leaves_no_file(output, tmp_path):
    for _ in range(2):
        with lock(output):
            assert lock_file(output).exists()
        assert list(tmp_path.iterdir()) == []


def test_lock_of_a_job_that_died_on_another_host_is_taken_over_after_the_timeout(output):
    leave(output)
    messages, begun = [], time.monotonic()
    with lock(output, messages, timeout=0.5):
        assert time.monotonic() - begun >= 0.5
        assert json.loads(lock_file(output).read_text())["pid"] == os.getpid()
    assert len(messages) == 1
    assert (
        "belongs to process 17 on node7, since 2024-01-01 10:00:00: waiting for 0 s" in messages[0]
    )
    assert not lock_file(output).exists()


def test_lock_of_a_running_job_on_another_host_is_refused(output):
    leave(output)
    ended = threading.Event()

    def live():
        while not ended.wait(0.05):
            os.utime(lock_file(output))

    alive = threading.Thread(target=live)
    alive.start()
    try:
        with pytest.raises(ArgumentError, match="process 17 on node7"), lock(output, timeout=30):
            pass
    finally:
        ended.set()
        alive.join()
    assert json.loads(lock_file(output).read_text())["host"] == "node7"


def test_lock_released_on_another_host_while_waiting_is_acquired(output):
    leave(output)
    later = threading.Timer(0.3, lock_file(output).unlink)
    later.start()
    with lock(output, timeout=600):
        assert json.loads(lock_file(output).read_text())["pid"] == os.getpid()
    later.join()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 3}'])
def test_lock_of_an_unknown_holder_is_taken_over_after_the_timeout(output, text):
    lock_file(output).write_text(text)
    begun = time.monotonic()
    with lock(output, timeout=0.3):
        assert time.monotonic() - begun >= 0.3


def test_holder_updates_the_modification_time(output):
    with lock(output, heartbeat=0.02):
        first = lock_file(output).stat().st_mtime_ns
        deadline = time.monotonic() + 30
        while lock_file(output).stat().st_mtime_ns == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


class TestFilesystemWithoutLocks:
    @pytest.fixture(autouse=True, params=["the filesystem has none", "Windows"])
    def _no_flock(self, request, monkeypatch):
        def flock(*_):
            raise OSError(errno.ENOSYS, "not implemented")

        if request.param == "Windows":
            monkeypatch.setitem(sys.modules, "fcntl", None)
        else:
            monkeypatch.setattr(fcntl, "flock", flock)

    def test_running_job_keeps_its_lock(self, output):
        with (
            lock(output, heartbeat=0.05),
            pytest.raises(ArgumentError, match=f"process {os.getpid()} on "),
            lock(output, timeout=30),
        ):
            pass

    def test_lock_of_a_job_that_died_on_the_same_host_is_taken_over_after_the_timeout(self, output):
        with lock(output):
            mine = lock_file(output).read_text()
        lock_file(output).write_text(mine)
        begun = time.monotonic()
        with lock(output, timeout=0.3):
            assert time.monotonic() - begun >= 0.3


def test_only_one_of_many_jobs_holds_the_lock_at_a_time(output):
    inside, most, times = 0, 0, 0
    counting = threading.Lock()

    def work():
        nonlocal inside, most, times
        for _ in range(40):
            try:
                with lock(output, timeout=0.2):
                    with counting:
                        inside += 1
                        times += 1
                        most = max(most, inside)
                    time.sleep(0.001)
                    with counting:
                        inside -= 1
            except ArgumentError:
                time.sleep(0.001)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert times > 8
    assert most == 1


@pytest.mark.parametrize("what", ["folder", "link"])
def test_anything_else_with_the_name_of_the_lock_file_is_left_unchanged(output, what):
    if what == "folder":
        lock_file(output).mkdir()
    else:
        lock_file(output).symlink_to("elsewhere")
    with pytest.raises(ArgumentError, match="nothing can be written") as refused, lock(output):
        pass
    assert str(lock_file(output)) in refused.value.cause


def test_error_for_a_missing_folder_has_the_message_of_the_system(tmp_path):
    with (
        pytest.raises(ArgumentError, match="No such file or directory"),
        lock(tmp_path / "none" / "bf.npy"),
    ):
        pass
