"""The lock on an output: one holder at a time, and none that is dead."""

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


def lock(output, said=None, *, beat=0.05, silence=0.5):
    return OutputLock(
        output, [].append if said is None else said.append, beat=beat, silence=silence
    )


def lock_file(output):
    return output.with_name(".bf.npy.lock")


def leave(output, **changes):
    """What a job on another host leaves when it dies."""
    holder = {"host": "node7", "kernel": "other", "pid": 17, "since": "2024-01-01 10:00:00"}
    lock_file(output).write_text(json.dumps({**holder, **changes}))


def test_nothing_remains_of_a_lock_that_is_given_back(output, tmp_path):
    for _ in range(2):
        with lock(output):
            assert lock_file(output).exists()
        assert list(tmp_path.iterdir()) == []


def test_job_that_died_on_another_host_is_waited_for_and_then_replaced(output):
    leave(output)
    said, begun = [], time.monotonic()
    with lock(output, said, silence=0.5):
        assert time.monotonic() - begun >= 0.5
        assert json.loads(lock_file(output).read_text())["pid"] == os.getpid()
    assert len(said) == 1
    assert "left by process 17 on node7, since 2024-01-01 10:00:00: waiting for 0 s" in said[0]
    assert not lock_file(output).exists()


def test_job_that_lives_on_another_host_is_not_disturbed(output):
    leave(output)
    ended = threading.Event()

    def live():
        while not ended.wait(0.05):
            os.utime(lock_file(output))

    alive = threading.Thread(target=live)
    alive.start()
    try:
        with pytest.raises(ArgumentError, match="process 17 on node7"), lock(output, silence=30):
            pass
    finally:
        ended.set()
        alive.join()
    assert json.loads(lock_file(output).read_text())["host"] == "node7"


def test_job_that_ends_on_another_host_meanwhile_makes_way(output):
    leave(output)
    later = threading.Timer(0.3, lock_file(output).unlink)
    later.start()
    with lock(output, silence=600):
        assert json.loads(lock_file(output).read_text())["pid"] == os.getpid()
    later.join()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 3}'])
def test_lock_of_an_unknown_holder_is_watched_too(output, text):
    lock_file(output).write_text(text)
    begun = time.monotonic()
    with lock(output, silence=0.3):
        assert time.monotonic() - begun >= 0.3


def test_holder_gives_signs_of_life(output):
    with lock(output, beat=0.02):
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

    def test_second_job_sees_that_the_first_one_lives(self, output):
        with (
            lock(output, beat=0.05),
            pytest.raises(ArgumentError, match=f"process {os.getpid()} on "),
            lock(output, silence=30),
        ):
            pass

    def test_job_that_died_on_the_same_host_is_replaced_after_a_while(self, output):
        with lock(output):
            mine = lock_file(output).read_text()
        lock_file(output).write_text(mine)
        begun = time.monotonic()
        with lock(output, silence=0.3):
            assert time.monotonic() - begun >= 0.3


def test_only_one_of_many_jobs_holds_the_lock_at_a_time(output):
    inside, most, times = 0, 0, 0
    counting = threading.Lock()

    def work():
        nonlocal inside, most, times
        for _ in range(40):
            try:
                with lock(output, silence=0.2):
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
def test_something_else_in_the_place_of_the_lock_is_left_alone(output, what):
    if what == "folder":
        lock_file(output).mkdir()
    else:
        lock_file(output).symlink_to("elsewhere")
    with pytest.raises(ArgumentError, match="nothing can be written") as refused, lock(output):
        pass
    assert str(lock_file(output)) in refused.value.cause


def test_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(ArgumentError, match="No such file or directory"),
        lock(tmp_path / "none" / "bf.npy"),
    ):
        pass
