"""Ctrl-C ends a program whose store does not answer, without waiting for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.support.gate import Gate, gate
from tests.support.mrc_files import mrc_bytes
from tests.support.processes import ROOT
from tests.support.serving import file_server

# No attempt at a request ends by itself before the test.
PATIENT = {"DASK_MRCDIST__STALL": "900", "DASK_MRCDIST__DEADLINE": "900"}
LAZY = "import mrcdist as m; m.read_mrc({url!r}, metadata_file=None)[0]['data'].compute()"
SUBMITTED = """
from concurrent.futures import ThreadPoolExecutor
import mrcdist as m
plan = m.plan_mrc({url!r}, metadata_file=None)
ThreadPoolExecutor(2).submit(lambda: print(plan.source[...].sum()))
"""
CLI = [sys.executable, "-m", "mrcdist.cli"]
NUMBERS = np.arange(64 * 64 * 64, dtype=np.uint16).reshape(64, 64, 64)


@pytest.fixture
def stalling() -> Iterator[tuple[Gate, str]]:
    """A file on a web server, the header and hardly more of which arrives."""
    with (
        file_server(mrc_bytes(NUMBERS), pieces=8) as url,
        gate(("127.0.0.1", int(urlsplit(url).port or 0))) as door,
    ):
        yield door, "http://{}:{}/movie.mrc".format(*door.address)


def begun(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **PATIENT, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([sys.executable, "-c", LAZY], -signal.SIGINT),
        ([*CLI, "preview", "{url}", "--metadata-file", "none", "-o", "{out}"], 130),
        ([*CLI, "info", *(f"{{url}}?{n}" for n in range(12)), "--metadata-file", "none"], 130),
    ],
    ids=["script", "preview", "list of files"],
)
def test_program_ends(
    stalling: tuple[Gate, str], tmp_path: Path, words: list[str], status: int
) -> None:
    door, url = stalling
    door.shut_after(6_000)
    with begun(*(word.format(url=url, out=tmp_path / "a.png") for word in words)) as program:
        while not door.is_shut and program.poll() is None:
            time.sleep(0.02)
        program.send_signal(signal.SIGINT)
        try:
            assert program.wait(timeout=60) == status
        finally:
            program.kill()
    assert door.is_shut


def test_threads_that_nobody_interrupts_read_to_the_end(stalling: tuple[Gate, str]) -> None:
    """Python waits for them, although the program has nothing else to do."""
    _, url = stalling
    with begun(sys.executable, "-c", SUBMITTED.format(url=url)) as program:
        assert program.communicate(timeout=60)[0] == f"{NUMBERS.sum()}\n"


def test_threads_of_pools_are_waited_for_after_our_function():
    """So it can let go of what they wait for; `threading._register_atexit` is private."""
    code = (
        "import threading, time; from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "begun, ended = threading.Event(), threading.Event()\n"
        "pool = Pool(1); threading._register_atexit(ended.set)\n"
        "pool.submit(lambda: (begun.set(), print(ended.wait(60)))); begun.wait()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"True"]
