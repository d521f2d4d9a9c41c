"""Signals that end a job."""

from __future__ import annotations

import itertools
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click
import pytest

from mrcdist.cli.group import main, stopping
from mrcdist.errors import MrcdistError

# Where signals are handled.
TRACED = ("group.py", "console.py", "contextlib.py")


class Ending:
    """Gets a signal where Python ignores exceptions."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Python's own handler: a shell may have had it ignored, and packages set theirs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def end_and_wait(number: signal.Signals) -> None:
    with stopping(click.Context(click.Command("mean")), "nothing is kept"):
        ending = Ending(number)
        del ending
        time.sleep(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_a_finalizer_is_not_lost(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(click.exceptions.Exit) as ended:
        end_and_wait(number)
    assert ended.value.exit_code == 128 + number
    assert capsys.readouterr().err.endswith("; nothing is kept\n")


def test_signal_that_was_ignored_stops_nothing_that_comes_after_the_job() -> None:
    with stopping(click.Context(click.Command("mean"))):
        ending = Ending(signal.SIGINT)
        del ending
    time.sleep(0.1)  # here it would come, ten times as late as it is sent again


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_error_on_the_way_out_does_not_hide_the_signal(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """A connection that fails as it is closed, say."""

    def fail_while_stopped() -> None:
        with stopping(click.Context(click.Command("mean"))):
            try:
                signal.raise_signal(number)
            finally:
                raise MrcdistError("the scheduler is gone") from None

    with pytest.raises(click.exceptions.Exit) as ended:
        fail_while_stopped()
    assert ended.value.exit_code == 128 + number
    assert "scheduler" not in capsys.readouterr().err


def test_error_is_no_signal() -> None:
    def fail() -> None:
        with stopping(click.Context(click.Command("mean"))):
            raise MrcdistError("the scheduler is gone")

    with pytest.raises(MrcdistError, match="scheduler"):
        fail()


class Killed(BaseException):
    """What the system does to a process without a handler of SIGTERM."""


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="Python 3.13 handles a signal that a trace function raises later, at pytest's own lines",
)
class TestSignalAtEachLine:
    """From the first line of the command line to the last: an exit status, never a traceback."""

    @pytest.fixture
    def command(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        @click.command()
        @click.pass_context
        def work(ctx: click.Context) -> None:
            with stopping(ctx, "nothing is kept"):
                pass

        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setitem(main.commands, "work", work)
        yield "work"
        signal.signal(signal.SIGTERM, before)

    def ended(self, command: str, number: signal.Signals, line: int) -> tuple[object, bool]:
        """Run a command that gets a signal at a line; return its end, and whether it came to it."""
        left = line

        def kill(*_: object) -> None:
            raise Killed

        def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
            nonlocal left
            if Path(frame.f_code.co_filename).name not in TRACED:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    sys.settrace(None)
                    signal.raise_signal(number)
            return trace

        before = sys.gettrace()
        signal.signal(signal.SIGTERM, kill)
        sys.settrace(trace)
        try:
            main([command])
        except SystemExit as end:
            return end.code, left <= 0
        except BaseException as error:  # noqa: BLE001 that is what is looked for
            return type(error).__name__, left <= 0
        finally:
            sys.settrace(before)
        raise AssertionError("a command ends with an exit status")

    def ends(self, command: str, number: signal.Signals) -> list[object]:
        """Return how a command ends that gets the signal at the first, second, third line …"""
        found = []
        for line in itertools.count(1):
            end, reached = self.ended(command, number, line)
            found.append(end)
            if not reached:
                break
        return found

    def test_sigterm_ends_it_as_the_system_does_or_with_143(self, command: str) -> None:
        assert set(self.ends(command, signal.SIGTERM)) == {0, 143, "Killed"}

    def test_ctrl_c_ends_it_with_130_but_for_its_first_and_last_lines(self, command: str) -> None:
        found = self.ends(command, signal.SIGINT)
        first = found.index(130)
        assert first < 10
        assert set(found[:first]) == {"KeyboardInterrupt"}
        assert set(found[first:-2]) <= {0, 130}


def test_other_errors_of_finalizers_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing:
        def __del__(self) -> None:
            raise ZeroDivisionError

    seen = []
    monkeypatch.setattr("sys.unraisablehook", lambda ignored: seen.append(ignored.exc_type))
    with stopping(click.Context(click.Command("mean"))):
        failing = Failing()
        del failing
    assert seen == [ZeroDivisionError]
