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

from mrcdist.cli import main
from mrcdist.cli.group import stopping
from mrcdist.errors import MrcdistError

# Modules that handle signals.
TRACED = ("group.py", "console.py", "contextlib.py")


class SignalInFinalizer:
    """Raises a signal in `__del__`, where Python ignores exceptions."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Set Python's handler: a shell may ignore the signal, and packages set their own handlers."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def end_and_wait(number: signal.Signals) -> None:
    with stopping(click.Context(click.Command("mean")), "nothing is kept"):
        ending = SignalInFinalizer(number)
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


def test_resent_signal_does_not_arrive_after_the_job() -> None:
    with stopping(click.Context(click.Command("mean"))):
        ending = SignalInFinalizer(signal.SIGINT)
        del ending
    time.sleep(0.1)  # ten times the delay with which a signal is sent again


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_error_during_cleanup_does_not_hide_the_signal(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """For example, a connection that fails when it is closed."""

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


def test_error_is_not_treated_as_a_signal() -> None:
    def fail() -> None:
        with stopping(click.Context(click.Command("mean"))):
            raise MrcdistError("the scheduler is gone")

    with pytest.raises(MrcdistError, match="scheduler"):
        fail()


class Killed(BaseException):
    """Stands for the end of a process without a handler of SIGTERM."""


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="Python 3.13 handles a signal that a trace function raises later, at pytest's own lines",
)
class TestSignalAtEachLine:
    """A signal at any line of the command line: an exit status, never a traceback."""

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
        """Send a signal at a line; return the end of the command and whether the line ran."""
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
        except BaseException as error:  # noqa: BLE001 any error
            return type(error).__name__, left <= 0
        finally:
            sys.settrace(before)
        raise AssertionError("a command ends with an exit status")

    def ends(self, command: str, number: signal.Signals) -> list[object]:
        """Return how a command ends for a signal at the first, second, third line, …"""
        found = []
        for line in itertools.count(1):
            end, reached = self.ended(command, number, line)
            found.append(end)
            if not reached:
                break
        return found

    def test_sigterm_kills_the_process_or_ends_it_with_143(self, command: str) -> None:
        assert set(self.ends(command, signal.SIGTERM)) == {0, 143, "Killed"}

    def test_ctrl_c_ends_with_130_except_at_the_first_and_last_lines(self, command: str) -> None:
        found = self.ends(command, signal.SIGINT)
        first = found.index(130)
        assert first < 10
        assert set(found[:first]) == {"KeyboardInterrupt"}
        assert set(found[first:-2]) <= {0, 130}


def test_errors_in_finalizers_other_than_signals_are_reported(
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
