"""Progress on standard error, shown after two seconds."""

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


def test_short_operations_show_no_progress():
    log = io.StringIO()
    with Progress("reading", 4, stream=log, patience=3600) as progress:
        for _ in range(4):
            progress.advance()
    assert log.getvalue() == ""


def test_long_operations_show_percentages():
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


def test_control_characters_in_a_label_are_escaped():
    log = io.StringIO()
    with Progress("reading \x1b[2Ja.mrc", 1, stream=log, patience=0) as progress:
        progress.advance()
    assert log.getvalue() == "reading \\x1b[2Ja.mrc: 100 %\n"


def test_completed_tasks_of_dask_are_counted():
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
    """Progress in bytes also shows the speed and the remaining time."""

    def test_progress_log_has_a_line_per_interval(self):
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
        assert lines[0].endswith("  mean: 30 %  300.00 MiB of 0.98 GiB, 10.00 MiB/s, 70.00 s left")
        assert lines[-1].endswith("  mean: 100 %  0.98 GiB of 0.98 GiB, 10.00 MiB/s")
        assert not set("\r\033") & set(log.getvalue())

    def test_terminal_shows_a_progress_bar(self):
        screen, clock = Terminal(), Clock()
        with Progress("mean", 100, in_bytes=True, stream=screen, patience=0, clock=clock) as bar:
            clock.now = 1
            bar.advance(50)
        line = f"\r\033[Kmean  [{'#' * 15}{'.' * 15}] 50 %  50 B of 100 B, 50 B/s, 1.00 s left\n"
        assert screen.getvalue() == line

    def test_progress_bar_is_redrawn_within_a_percent(self):
        screen, clock = Terminal(), Clock()
        progress = Progress("mean", 10**6, in_bytes=True, stream=screen, patience=0, clock=clock)
        for _ in range(10):
            clock.now += 0.5
            progress.advance(10)
        assert screen.getvalue().count("\r") == 1 + 4

    def test_initial_steps_do_not_count_for_the_speed(self):
        log, clock = io.StringIO(), Clock()
        progress = Progress(
            "", 1000, initial=800, in_bytes=True, interval=30, stream=log, patience=0, clock=clock
        )
        clock.now = 100
        progress.advance(100)
        assert log.getvalue().endswith(": 90 %  900 B of 0.98 kiB, 1 B/s, 100.00 s left\n")

    def test_remaining_time_is_left_out_before_the_first_step(self):
        log = io.StringIO()
        Progress("", 100, in_bytes=True, interval=0, stream=log, patience=0).advance(0)
        assert log.getvalue().endswith(": 0 %  0 B of 100 B, 0 B/s\n")


def test_progress_without_standard_error_prints_nothing(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    with Progress("reading", 1, patience=0) as progress:
        progress.advance()


class SignallingStream(io.StringIO):
    """A terminal or a log with an event that is set when something is written."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal
        self.written = threading.Event()

    def isatty(self):
        return self.terminal

    def write(self, text):
        length = super().write(text)
        self.written.set()
        return length


class TestWaiting:
    """Operations without steps, such as waiting for a response."""

    def test_short_waits_print_nothing(self):
        messages = []
        with waiting(lambda: "waiting", log=messages.append, patience=3600):
            pass
        assert messages == []

    def test_waiting_message_is_created_when_it_is_printed(self):
        messages, printed = [], threading.Event()
        message = "nothing yet"

        def log(text):
            messages.append(text)
            printed.set()

        with waiting(lambda: message, log=log, patience=0.1):
            message = "refused"
            assert printed.wait(60)
        assert messages == ["refused"]

    def impatient(self, seconds, function, timer=threading.Timer):
        return timer(seconds / 200, function)

    def test_slow_response_of_a_store_is_reported_on_a_terminal(self, monkeypatch):
        terminal = SignallingStream(terminal=True)
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setattr("threading.Timer", self.impatient)
        assert Location("s3://b/x.mrc").retried(lambda: terminal.written.wait(60))
        assert terminal.getvalue() == "no answer from s3://b/x.mrc yet, waiting for up to 120 s\n"

    def test_calls_expected_to_take_long_print_nothing(self, monkeypatch):
        terminal = SignallingStream(terminal=True)
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setattr("threading.Timer", self.impatient)
        call = functools.partial(terminal.written.wait, 0.2)
        assert not Location("s3://b/x.mrc").retried(call, long=True)
        assert terminal.getvalue() == ""

    def test_waiting_without_a_terminal_starts_no_thread(self, monkeypatch):
        """On workers, a thread per request took half of the CPU time."""
        log, threads = SignallingStream(terminal=False), []
        monkeypatch.setattr("sys.stderr", log)
        monkeypatch.setattr("threading.Thread.start", threads.append)
        with waiting(lambda: "waiting", patience=0.01):
            time.sleep(0.05)
        assert (threads, log.getvalue()) == ([], "")


class TestLongReads:
    """Progress of reading, copying and following sections, shown without delay."""

    @pytest.fixture(autouse=True)
    def _no_patience(self, monkeypatch):
        for module in ("api", "discover.mrc_file", "storage.layers"):
            immediate = functools.partial(Progress, patience=0)
            monkeypatch.setattr(f"mrcdist.{module}.Progress", immediate)

    def test_reading_a_whole_remote_file_shows_progress(self, memory_file, capsys):
        numbers = counting((8, 4, 5), "int16")
        url = memory_file(mrc_bytes(numbers))
        [ds] = mrcdist.read_mrc(url, distributed=False, chunks=(2, -1, -1))
        np.testing.assert_array_equal(ds["data"], numbers)
        lines = [f"reading any.mrc: {percent} %\n" for percent in (25, 50, 75, 100)]
        assert capsys.readouterr().err == "".join(lines)

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

    def test_following_mrcz_sections_shows_progress(self, tmp_path, memory_file, capsys):
        mrcz = pytest.importorskip("mrcz")
        numbers = np.random.default_rng(0).integers(0, 9, (8, 32, 32), np.int16)
        mrcz.writeMRC(numbers, str(tmp_path / "any.mrcz"), compressor="zstd")
        url = memory_file((tmp_path / "any.mrcz").read_bytes(), "any.mrcz")
        [ds] = mrcdist.read_mrc(url)
        assert "following compressed sections: 100 %" in capsys.readouterr().err
        np.testing.assert_array_equal(ds["data"].compute(), numbers)
