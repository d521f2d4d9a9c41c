"""Ctrl-C and SIGTERM: how a job ends when it is told to."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from mrcdist.cli.console import say
from mrcdist.system_calls import send_to_main_thread

__all__ = ["Terminated", "status_of", "stopping"]


class Terminated(BaseException):
    """SIGTERM, raised as an exception so that cleanup code runs."""


def status_of(stop: BaseException) -> int:
    """Return the exit status for what a signal raised, as in a shell: 130 or 143."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def stopping(ctx: click.Context, otherwise: str = "") -> Iterator[None]:
    """Stop cleanly on Ctrl-C and on SIGTERM, which batch systems send before they kill a job.

    A second signal stops immediately. A signal that comes while this begins or ends is left to the
    command group. `otherwise` is where the job stands, unless notes of the exception say it.
    """
    # Python allows handlers in the main thread only; elsewhere whoever runs us decides.
    handled = threading.current_thread() is threading.main_thread()
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    later: list[threading.Timer] = []
    try:
        sys.unraisablehook = _send_again_or(hook, later)
        if handled:
            signal.signal(signal.SIGTERM, _terminate)
        yield
    except BaseException as error:
        stop = _stop_behind(error)
        if stop is None:
            raise
        words = ["ended by SIGTERM" if isinstance(stop, Terminated) else "interrupted"]
        words += getattr(error, "__notes__", [otherwise] * bool(otherwise))
        say(f"\n{'; '.join(words)}", err=True)
        ctx.exit(status_of(stop))
    finally:
        sys.unraisablehook = hook
        for timer in later:  # what it would stop is over
            timer.cancel()
        if handled:
            signal.signal(signal.SIGTERM, before)


def _stop_behind(error: BaseException) -> BaseException | None:
    """Return what a signal raised, be it that something else failed on the way out."""
    seen: BaseException | None = error
    while not isinstance(seen, KeyboardInterrupt | Terminated | None):
        seen = seen.__context__
    return seen


def _terminate(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated


def _send_again_or(
    hook: Callable[[sys.UnraisableHookArgs], Any], later: list[threading.Timer]
) -> Callable[[sys.UnraisableHookArgs], Any]:
    """Send a signal again whose exception Python ignores, as in `__del__` and weak references.

    The timers that will do so are appended to `later`.
    """
    main = threading.main_thread().ident or 0

    def send_again(ignored: sys.UnraisableHookArgs) -> None:
        if isinstance(ignored.exc_value, Terminated):
            signal.signal(signal.SIGTERM, _terminate)
            number = signal.SIGTERM
        elif isinstance(ignored.exc_value, KeyboardInterrupt):
            number = signal.SIGINT
        else:
            hook(ignored)
            return
        # Later, and from another thread: here it would be ignored, too.
        timer = threading.Timer(0.01, send_to_main_thread, (number, main))
        later.append(timer)
        timer.start()

    return send_again
