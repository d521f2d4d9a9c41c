"""Whoever waits for longer than two seconds is told how far it is, on standard error."""

from __future__ import annotations

import functools
import io
import threading
import time

import dask.array as da
import numpy as np
import pytest

import mrcdist
from mrcdist.progress import Progress, TaskProgress, waiting
from mrcdist.storage.location import Location
from tests.support.mrc_files import counting, mrc_bytes


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_that_is_done_soon_says_nothing():
    log = io.StringIO()
    with Progress("reading", 4, stream=log, patience=3600) as progress:
        for _ in range(4):
            progress.advance()
    assert log.getvalue() == ""


def test_progress_that_takes_long_says_how_far_it_is():
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        with Progress("reading", 8, stream=stream, patience=0) as progress:
            for _ in range(8):
                progress.advance()
    percents = [line.split()[1] for line in log.getvalue().splitlines()]
    assert percents == ["12", "25", "50", "75", "100"]
    assert "\r" not in log.getvalue()
    assert terminal.getvalue().endswith("100 %\n")
    assert terminal.getvalue().count("\r") == 8


def test_names_of_files_in_a_label_cannot_steer_a_terminal():
    log = io.StringIO()
    with Progress("reading \x1b[2Ja.mrc", 1, stream=log, patience=0) as progress:
        progress.advance()
    assert log.getvalue() == "reading \\x1b[2Ja.mrc: 100 %\n"


def test_tasks_of_dask_are_counted_as_they_end():
    log = io.StringIO()
    array = da.ones((4, 3), chunks=(1, 3))
    with TaskProgress("adding", stream=log, patience=0):
        assert array.sum().compute(scheduler="sync") == 12
    assert array.sum().compute(scheduler="sync") == 12
    lines = log.getvalue().splitlines()
    assert 2 <= len(lines) <= 5
    assert lines[-1] == "adding: 100 %"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class TestBytes:
    """Progress that is counted in bytes shows the speed and the time left too."""

    def test_a_log_gets_a_line_now_and_then(self):
        log, clock = io.StringIO(), Clock()
        size = 10 * 2**20
        with Progress(
            "mean", 100 * size, in_bytes=True, interval=30, stream=log, patience=0, clock=clock
        ) as progress:
            for _ in range(100):
                clock.now += 1
                progress.advance(size)
        lines = log.getvalue().splitlines()
        assert len(lines) == 4
        assert lines[0].endswith("  mean: 30 %  300.00 MiB of 0.98 GiB, 10.00 MiB/s, 70 s left")
        assert lines[-1].endswith("  mean: 100 %  0.98 GiB of 0.98 GiB, 10.00 MiB/s")
        assert not set("\r\033") & set(log.getvalue())

    def test_a_terminal_gets_a_bar(self):
        screen, clock = Terminal(), Clock()
        with Progress("mean", 100, in_bytes=True, stream=screen, patience=0, clock=clock) as bar:
            clock.now = 1
            bar.advance(50)
        line = f"\r\033[Kmean  [{'#' * 15}{'.' * 15}] 50 %  50 B of 100 B, 50 B/s, 1 s left\n"
        assert screen.getvalue() == line

    def test_the_bar_goes_on_within_a_percent(self):
        screen, clock = Terminal(), Clock()
        progress = Progress("mean", 10**6, in_bytes=True, stream=screen, patience=0, clock=clock)
        for _ in range(10):
            clock.now += 0.5
            progress.advance(10)
        assert screen.getvalue().count("\r") == 1 + 4

    def test_parts_of_an_earlier_run_do_not_count_for_the_speed(self):
        log, clock = io.StringIO(), Clock()
        progress = Progress(
            "", 1000, kept=800, in_bytes=True, interval=30, stream=log, patience=0, clock=clock
        )
        clock.now = 100
        progress.advance(100)
        assert log.getvalue().endswith(": 90 %  900 B of 0.98 kiB, 1 B/s, 100 s left\n")

    def test_nothing_is_promised_before_anything_is_done(self):
        log = io.StringIO()
        Progress("", 100, in_bytes=True, interval=0, stream=log, patience=0).advance(0)
        assert log.getvalue().endswith(": 0 %  0 B of 100 B, 0 B/s, unknown time left\n")


def test_a_program_without_a_console_is_told_nothing(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    with Progress("reading", 1, patience=0) as progress:
        progress.advance()


class Spoken(io.StringIO):
    """A terminal or a log that tells when something was written."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal
        self.said = threading.Event()

    def isatty(self):
        return self.terminal

    def write(self, text):
        written = super().write(text)
        self.said.set()
        return written


class TestWaiting:
    """For what has no steps: an answer that does not come."""

    def test_an_answer_that_comes_soon_says_nothing(self):
        told = []
        with waiting(lambda: "waiting", say=told.append, patience=3600):
            pass
        assert told == []

    def test_a_wait_is_named_as_it_is_when_it_is_said(self):
        told, said = [], threading.Event()
        words = "nothing yet"
        with waiting(lambda: words, say=lambda text: (told.append(text), said.set()), patience=0.1):
            words = "refused"
            assert said.wait(60)
        assert told == ["refused"]

    def test_an_answer_that_does_not_come_is_said_on_a_terminal(self, monkeypatch):
        terminal = Spoken(terminal=True)
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setattr(
            "mrcdist.storage.retry.waiting", functools.partial(waiting, patience=0.01)
        )
        assert Location("s3://b/x.mrc").retried(lambda: terminal.said.wait(60))
        assert terminal.getvalue() == "no answer from s3://b/x.mrc yet, waiting for up to 120 s\n"

    def test_a_call_that_may_well_take_long_says_nothing(self, monkeypatch):
        terminal = Spoken(terminal=True)
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setattr(
            "mrcdist.storage.retry.waiting", functools.partial(waiting, patience=0.01)
        )
        call = functools.partial(terminal.said.wait, 0.2)
        assert not Location("s3://b/x.mrc").retried(call, long=True)
        assert terminal.getvalue() == ""

    def test_a_log_is_not_told_of_waiting_and_no_thread_is_started_for_it(self, monkeypatch):
        """Workers write to logs: a thread per request took them half of their CPU time."""
        log, begun = Spoken(terminal=False), []
        monkeypatch.setattr("sys.stderr", log)
        monkeypatch.setattr("threading.Thread.start", begun.append)
        with waiting(lambda: "waiting", patience=0.01):
            time.sleep(0.05)
        assert (begun, log.getvalue()) == ([], "")


class TestLongReads:
    """Reading, copying and following sections, as if each took long."""

    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch):
        for module in ("api", "discover.mrc_file", "storage.layers"):
            told = functools.partial(Progress, patience=0)
            monkeypatch.setattr(f"mrcdist.{module}.Progress", told)

    def test_reading_all_of_a_remote_file_shows_progress(self, memory_file, capsys):
        numbers = counting((8, 4, 5), "int16")
        url = memory_file(mrc_bytes(numbers))
        [ds] = mrcdist.read_mrc(url, distributed=False, chunks=(2, -1, -1))
        np.testing.assert_array_equal(ds["data"], numbers)
        told = "".join(f"reading any.mrc: {percent} %\n" for percent in (25, 50, 75, 100))
        assert capsys.readouterr().err == told

    def test_reading_a_single_chunk_shows_no_progress(self, memory_file, capsys):
        numbers = counting((8, 4, 5), "int16")
        [ds] = mrcdist.read_mrc(memory_file(mrc_bytes(numbers)), distributed=False)
        np.testing.assert_array_equal(ds["data"], numbers)
        assert capsys.readouterr().err == ""

    def test_copying_a_file_to_a_cache_shows_progress(self, tmp_path, memory_file, capsys):
        numbers = counting((8, 4, 5), "int16")
        options = {"simplecache": {"cache_storage": str(tmp_path / "cache")}}
        url = f"simplecache::{memory_file(mrc_bytes(numbers))}"
        [ds] = mrcdist.read_mrc(url, storage_options=options)
        np.testing.assert_array_equal(ds["data"].compute(), numbers)
        assert "copying any.mrc: 100 %" in capsys.readouterr().err

    def test_following_the_sections_of_mrcz_shows_progress(self, tmp_path, memory_file, capsys):
        mrcz = pytest.importorskip("mrcz")
        numbers = np.random.default_rng(0).integers(0, 9, (8, 32, 32), np.int16)
        mrcz.writeMRC(numbers, str(tmp_path / "any.mrcz"), compressor="zstd")
        url = memory_file((tmp_path / "any.mrcz").read_bytes(), "any.mrcz")
        [ds] = mrcdist.read_mrc(url)
        assert "following compressed sections: 100 %" in capsys.readouterr().err
        np.testing.assert_array_equal(ds["data"].compute(), numbers)
