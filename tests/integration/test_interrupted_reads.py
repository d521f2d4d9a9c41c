"""Ctrl-C ends a program whose store does not respond, without waiting for it."""

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

# No request times out before the test ends.
LONG_TIMEOUTS = {"DASK_MRCDIST__STALL": "900", "DASK_MRCDIST__DEADLINE": "900"}
LAZY = "import mrcdist as m; m.read_mrc({url!r}, metadata_file=None)[0]['data'].compute()"
SUBMITTED = """
import time
from concurrent.futures import ThreadPoolExecutor
import mrcdist as m
plan = m.plan_mrc({url!r}, metadata_file=None)
def read():
    time.sleep(0.3)  # the main thread has ended
    print(plan.source[...].sum())

reading = ThreadPoolExecutor(2).submit(read)
"""
AT_A_PROMPT = "raise KeyboardInterrupt\n"
IN_A_CONSOLE = """
import code
code.InteractiveInterpreter().runsource("raise KeyboardInterrupt")
"""
IN_A_COMMAND = """
from mrcdist.cli import inspect, main
def interrupted(**_):
    raise KeyboardInterrupt
inspect.plan_from_options = interrupted
try:
    main(["info", {url!r}])
except SystemExit as ended:
    assert ended.code == 130
"""
CLI = [sys.executable, "-m", "mrcdist.cli"]
NUMBERS = np.arange(64 * 64 * 64, dtype=np.uint16).reshape(64, 64, 64)


@pytest.fixture
def stalling() -> Iterator[tuple[Gate, str]]:
    """A file on a web server that sends little more than the header."""
    with (
        file_server(mrc_bytes(NUMBERS), pieces=8) as url,
        gate(("127.0.0.1", int(urlsplit(url).port or 0))) as door,
    ):
        yield door, "http://{}:{}/movie.mrc".format(*door.address)


def start(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **LONG_TIMEOUTS, "PYTHONPATH": str(ROOT)}
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
def test_ctrl_c_ends_a_program_that_waits_for_a_store(
    stalling: tuple[Gate, str], tmp_path: Path, words: list[str], status: int
) -> None:
    door, url = stalling
    door.shut_after(6_000)
    with start(*(word.format(url=url, out=tmp_path / "a.png") for word in words)) as program:
        while not door.is_shut and program.poll() is None:
            time.sleep(0.02)
        program.send_signal(signal.SIGINT)
        try:
            assert program.wait(timeout=60) == status
        finally:
            program.kill()
    assert door.is_shut


@pytest.mark.parametrize(
    ("words", "before"),
    [
        ([], ""),
        (["-i"], AT_A_PROMPT),
        ([], IN_A_CONSOLE),
        ([], IN_A_COMMAND),
    ],
    ids=["nothing", "prompt", "console", "command"],
)
def test_threads_of_a_program_that_was_not_interrupted_read_to_the_end(
    stalling: tuple[Gate, str], words: list[str], before: str
) -> None:
    """Python joins them when it exits; an earlier Ctrl-C that was handled does not affect them."""
    _, url = stalling
    code = (before + SUBMITTED).format(url=url)
    program = subprocess.run(
        [sys.executable, *words, *([] if words else ["-c", code])],
        input=code,
        env={**os.environ, **LONG_TIMEOUTS, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert program.stdout == f"{NUMBERS.sum()}\n", program.stderr


def test_threads_can_start_reading_after_the_main_thread_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "movie.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))
    late = SUBMITTED.replace("plan = ", "# ").replace("plan.", f"m.plan_mrc({str(path)!r}).")
    with start(sys.executable, "-W", "ignore", "-c", late) as program:
        assert program.communicate(timeout=60) == (f"{NUMBERS.sum()}\n", "")


def test_python_joins_pool_threads_after_calling_functions_registered_at_exit():
    """Our function at exit relies on this order; `threading._register_atexit` is private."""
    code = (
        "import threading, time; from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "begun, ended = threading.Event(), threading.Event()\n"
        "pool = Pool(1); threading._register_atexit(ended.set)\n"
        "pool.submit(lambda: (begun.set(), print(ended.wait(60)))); begun.wait()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"True"]
