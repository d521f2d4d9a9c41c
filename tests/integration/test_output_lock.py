"""Locks on outputs held by another process on the same host, dead or alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from mrcdist.batch.lock import OutputLock
from mrcdist.errors import ArgumentError
from tests.support.processes import ROOT


@pytest.fixture
def output(tmp_path):
    return tmp_path / "bf.npy"


def acquire(output, messages=None, **options):
    report = [].append if messages is None else messages.append
    return OutputLock(output, report, **{"heartbeat": 0.05, "timeout": 0.5, **options})


HOLD = """
import signal, sys, time
from pathlib import Path
from mrcdist.batch.lock import OutputLock
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if the shell ignores it
with OutputLock(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(output):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, output],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_error_for_a_second_job_on_the_same_host_has_the_pid_of_the_first(output, holder):
    with pytest.raises(ArgumentError, match="is in use") as refused, acquire(output):
        pass
    assert refused.value.code == "destination-busy"
    assert f"process {holder.pid} on " in refused.value.cause


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_lock_of_a_job_that_died_on_the_same_host_is_acquired_at_once(output, holder, number):
    holder.send_signal(number)
    holder.wait()
    messages = []
    with acquire(output, messages, timeout=600):
        pass
    assert messages == []


def test_suspended_job_on_the_same_host_keeps_its_lock(output, holder):
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(ArgumentError, match="is in use"), acquire(output):
        pass
    holder.send_signal(signal.SIGCONT)


def test_outputs_in_one_folder_have_separate_locks(output, holder):
    with acquire(output.with_name("other.npy")):
        pass
