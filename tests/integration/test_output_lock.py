"""The lock on an output that another process of this host holds, or held."""

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


def lock(output, said=None, *, beat=0.05, silence=0.5):
    return OutputLock(
        output, [].append if said is None else said.append, beat=beat, silence=silence
    )


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


def test_second_job_on_the_same_host_is_refused_and_hears_of_the_first(output, holder):
    with pytest.raises(ArgumentError, match="is in use") as refused, lock(output):
        pass
    assert refused.value.code == "destination-busy"
    assert f"process {holder.pid} on " in refused.value.cause


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_job_that_died_on_the_same_host_holds_nobody_up(output, holder, number):
    holder.send_signal(number)
    holder.wait()
    said = []
    with lock(output, said, silence=600):
        pass
    assert said == []


def test_suspended_job_on_the_same_host_keeps_its_lock(output, holder):
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(ArgumentError, match="is in use"), lock(output):
        pass
    holder.send_signal(signal.SIGCONT)


def test_two_outputs_of_one_folder_have_two_locks(output, holder):
    with lock(output.with_name("other.npy")):
        pass
