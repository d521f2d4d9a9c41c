"""Signals that end a job."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import click
import pytest

from mrcdist.cli.cluster import stopping


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
